"""Forms: what a model may be written as, and what each costs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn_export.metadata import read_model
from edgernn_export.quality import Judge, Quality
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import Progress
from edgernn_export.quantization.formats import Precision, plan_of
from edgernn_export.quantization.search import Search
from edgernn_export.quantization.sensitivity import sensitivities
from edgernn_export.quantization.source import Contents, Source
from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import GateError

FLOAT: Final = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What a model may be written as.

    Attributes:
        source: The model.
        contents: The contents of its files.
        lowering: Which operators its cells are: `cell` or `fused`.
        precision: How its weights are stored.
        quality: What it costs; None for the source itself.
        kept: Whether its loss stays within the budget with 99.9% confidence.
    """

    source: Source
    contents: Contents
    lowering: str
    precision: str
    quality: Quality | None
    kept: bool

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(map(len, self.contents.values()))

    def opened(self, *, threads: int, spinning: bool) -> Engine:
        """Return an engine of it with a number of threads, idle ones spinning or not."""
        return self.source.opened(self.contents, threads=threads, spinning=spinning)


class Forms:
    """Makes the forms of a model that are tried. Mutable.

    Attributes:
        made: The forms so far, the source first.
    """

    def __init__(self, source: Source, builder: Builder, judge: Judge, budget: float, progress: Progress) -> None:
        """Begin without forms; `budget` is the largest loss, as a share."""
        self._source = source
        self._builder = builder
        self._judge = judge
        self._budget = budget
        self._progress = progress
        self.made: list[Form] = []

    def add_floats(self, fused: Path | None) -> None:
        """Add the source, and its other lowering where it has one."""
        contents = {stage: graph.content for stage, graph in self._source.graphs.items()}
        lowering = "fused" if self._source.relowered else "cell"
        self.made.append(Form(self._source, contents, lowering, FLOAT, None, kept=True))
        if self._source.relowered:
            self._add("cell", FLOAT, self._source.cell_contents())
        elif fused is not None:
            read_model(fused)
            self._add("fused", FLOAT, {"": fused.read_bytes()})

    def add_quantized(self) -> None:
        """Add both kinds of int8, int4, and the mix that a search finds between them where int4 costs too much."""
        kinds: tuple[Precision, ...] = ("int8", "int8-portable", "int4")
        kept = False
        for done, precision in enumerate(kinds):
            self._progress("quality", done, len(kinds))
            contents = self._builder.build(plan_of(precision, self._source), precision)
            kept = self._add("cell", precision, contents)
        if kept:
            return
        search = Search(self._source, self._builder, self._judge, self._budget, self._progress)
        try:
            found = search.run(sensitivities(self._source, self._builder, self._judge, self._progress))
        except GateError:
            return
        self._add("cell", "mixed", self._builder.build(found.plan, "mixed"), found.quality)

    def _add(self, lowering: str, precision: str, contents: Contents, judged: Quality | None = None) -> bool:
        """Judge a form, if it was not before; return whether it keeps the budget."""
        quality = judged or self._judge.quality(self._source.opened(contents))
        kept = quality.upper <= self._budget
        self.made.append(Form(self._source, contents, lowering, precision, quality, kept=kept))
        return kept
