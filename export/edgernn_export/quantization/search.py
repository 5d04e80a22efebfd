"""Search: the mix of precisions with the fewest bytes whose loss stays within a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgernn_export.quality import Judge, Quality
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import Progress
from edgernn_export.quantization.formats import INT4, INT8, Blocked, Plan
from edgernn_export.quantization.sensitivity import Sensitivity
from edgernn_export.quantization.source import Source
from edgernn_runtime.errors import GateError

_PRODUCT: Final = (INT4, INT8, None)
_TABLE: Final = (INT8, None)
_UNJUDGED: Final = (INT8,)
"""What a matrix may be stored as, smallest and fastest first; None is float32. Nothing is known of the unjudged."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One mix of precisions that was measured.

    Attributes:
        plan: The formats of the weights.
        bytes: The size of its files.
        quality: What it costs.
        kept: Whether its loss stays within the budget with 99.9% confidence.
    """

    plan: Plan
    bytes: int
    quality: Quality
    kept: bool


class Search:
    """Looks for the fastest mix of precisions within a budget. The same source, data and budget give the same mix.

    Bytes stand for time: a step reads each weight once, and ONNX Runtime multiplies fewer bits in less time. The
    search begins with every matrix in the fewest bits and gives more to the one that costs most for its bytes, until
    the loss is within the budget; then it takes back what turns out not to be needed.
    """

    def __init__(self, source: Source, builder: Builder, judge: Judge, budget: float, progress: Progress) -> None:
        """Prepare to search; `budget` is the largest loss, as a share."""
        self._source = source
        self._builder = builder
        self._judge = judge
        self._budget = budget
        self._progress = progress
        self._weights = source.weights
        self._ladders: Mapping[str, tuple[Blocked | None, ...]] = {
            name: (_PRODUCT if each.kind == "product" else _TABLE) if source.judged(name) else _UNJUDGED
            for name, each in self._weights.items()
        }
        self._measured: dict[tuple[int, ...], Candidate] = {}

    @property
    def frontier(self) -> tuple[Candidate, ...]:
        """What was measured and is not worse than something smaller, smallest first."""
        found: list[Candidate] = []
        for each in sorted(self._measured.values(), key=lambda each: (each.bytes, each.quality.upper)):
            if not found or each.quality.upper < found[-1].quality.upper:
                found.append(each)
        return tuple(found)

    def run(self, sensitivities: Sequence[Sensitivity]) -> Candidate:
        """Return the mix.

        Raises:
            GateError: If only float32 stays within the budget.
        """
        order = self._order(sensitivities)
        levels = dict.fromkeys(self._weights, 0)
        raised: list[str] = []
        found = self._measure(levels)
        while not found.kept:
            name = self._next(order, levels)
            if name is None:
                raise GateError(self._how_near())
            levels[name] += 1
            raised.append(name)
            found = self._measure(levels)
        for name in sorted(set(raised[:-1]), key=lambda name: (-self._weights[name].array.size, name)):
            lower = {**levels, name: levels[name] - 1}
            tried = self._measure(lower)
            if tried.kept:
                levels, found = lower, tried
        return found

    def _order(self, sensitivities: Sequence[Sensitivity]) -> list[str]:
        """Return the weights, the one whose next format buys most for its bytes first."""
        damage = {name: sum(each.damage for each in sensitivities if each.weight == name) for name in self._weights}
        return sorted(self._weights, key=lambda name: (-damage[name] / self._weights[name].array.size, name))

    def _next(self, order: Sequence[str], levels: Mapping[str, int]) -> str | None:
        """Return the weight to give more bits: all are int8 before one is float32, and one always stays quantized."""
        for name in order:
            if self._form(name, levels[name]) == INT4:
                return name
        left = [name for name in order if levels[name] + 1 < len(self._ladders[name])]
        return left[0] if len(left) > 1 else None

    def _form(self, name: str, level: int) -> Blocked | None:
        return self._ladders[name][level]

    def _measure(self, levels: Mapping[str, int]) -> Candidate:
        key = tuple(levels.values())
        if key not in self._measured:
            self._progress("searching", len(self._measured), 3 * len(levels))
            forms = {name: self._form(name, level) for name, level in levels.items()}
            plan = {name: form for name, form in forms.items() if form is not None}
            contents = self._builder.build(plan, "mixed")
            quality = self._judge.quality(self._source.opened(contents))
            size = sum(map(len, contents.values()))
            self._measured[key] = Candidate(plan, size, quality, quality.upper <= self._budget)
        return self._measured[key]

    def _how_near(self) -> str:
        nearest = min(self._measured.values(), key=lambda each: each.quality.upper)
        names = {form.name for form in nearest.plan.values()}
        return (
            f"no mix of precisions keeps the loss within {100 * self._budget:.3g}%; the nearest, with weights in "
            f"{' and '.join(sorted(names))}, costs {100 * nearest.quality.relative:+.3g}%, and "
            f"{100 * nearest.quality.upper:+.3g}% cannot be ruled out; allow more, or measure on more data"
        )
