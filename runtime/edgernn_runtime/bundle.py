"""Bundle: a model in several graphs, such as an encoder and a decoder, and what passes between them.

A folder with a `bundle.json` and one model file for each stage; `docs/format.md` describes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgernn_runtime.errors import InputError, ModelFileError, SpecError
from edgernn_runtime.model import Model, load
from edgernn_runtime.providers import ProviderRequest
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import State
from edgernn_runtime.stream import Stream

BUNDLE_FILE: Final = "bundle.json"
BUNDLE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Link:
    """An output of one stage that another begins with: one of its states, or an input beside its main one.

    Attributes:
        source: The stage that computes it.
        output: The name of its output.
        target: The stage that begins with it.
        input: The name of the state, or of the input.
    """

    source: str
    output: str
    target: str
    input: str


class Bundle:
    """The stages of a model, immutable and shared by threads. `load_bundle` makes one from a folder."""

    __slots__ = ("_links", "_stages")

    def __init__(self, stages: Mapping[str, Model], links: Sequence[Link]) -> None:
        """Join stages.

        Raises:
            SpecError: If a link names no stage, output, state or input, or what it joins differs in shape or dtype.
        """
        check_links({name: model.spec for name, model in stages.items()}, links)
        self._stages, self._links = MappingProxyType(dict(stages)), tuple(links)

    @property
    def stages(self) -> Mapping[str, Model]:
        """The models by the names of their stages."""
        return self._stages

    @property
    def links(self) -> tuple[Link, ...]:
        """What passes between them."""
        return self._links

    def stream(self, stage: str, after: Mapping[str, Stream] = MappingProxyType({}), *, seed: int = 0) -> Stream:
        """Return a new stream of a stage, which begins with what the stages before it computed last.

        Args:
            stage: The stage.
            after: Streams of the stages that are linked to it, by their names, each at the step that counts.
            seed: The seed of the noise that samples tokens.

        Raises:
            InputError: If there is no such stage, or a stream that it begins with is missing.
        """
        if stage not in self._stages:
            raise InputError(f"the bundle has no stage {stage}; it has {', '.join(self._stages)}")
        model = self._stages[stage]
        links = [link for link in self._links if link.target == stage]
        missing = [link.source for link in links if link.source not in after]
        if missing:
            raise InputError(f"{stage} begins with what {missing[0]} computed; give its stream")
        values = {link.input: after[link.source].output(link.output) for link in links}
        initial = model.initial_state()
        names = [state.input for state in model.spec.states]
        arrays = tuple(
            values[name][None] if name in values else array for name, array in zip(names, initial.arrays, strict=True)
        )
        stream = model.stream(state=State(model.model_id, arrays, seed=seed))
        for name, value in values.items():
            if name not in names:
                stream.set_input(name, value)
        return stream


def load_bundle(
    folder: str | Path, *, providers: str | Sequence[ProviderRequest] = ("cpu",), threads: int = 1
) -> Bundle:
    """Return the bundle in a folder; `providers` and `threads` are as in `load`, for every stage.

    Raises:
        ModelFileError: If there is no bundle, or a model file is missing or damaged.
        SpecError: If the bundle is newer than this code, or its links do not fit its models.
        ProviderError: As `load` does.
    """
    path = Path(folder) / BUNDLE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelFileError(f"{path} is no JSON: {error}") from error
    try:
        version, stages = content["version"], dict(content["stages"])
        links = [Link(**link) for link in content["links"]]
    except (TypeError, KeyError, ValueError) as error:
        raise SpecError(f"{path} is no bundle: {error}") from error
    if version != BUNDLE_VERSION:
        raise SpecError(f"{path} has version {version}; this code reads version {BUNDLE_VERSION}")
    for name, file in stages.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise SpecError(f"{path} keeps the stage {name} in {file!r}; it must lie in the bundle's own folder")
    models = {name: load(path.parent / file, providers=providers, threads=threads) for name, file in stages.items()}
    return Bundle(models, links)


def bundle_to_json(stages: Mapping[str, str], links: Sequence[Link]) -> str:
    """Return a bundle as JSON: the files of its stages, and what passes between them."""
    content = {"version": BUNDLE_VERSION, "stages": dict(stages), "links": [asdict(link) for link in links]}
    return json.dumps(content, indent=2) + "\n"


def check_links(stages: Mapping[str, Spec], links: Sequence[Link]) -> None:
    """Raise a SpecError that names the first link that does not fit the stages."""
    for link in links:
        for stage in (link.source, link.target):
            if stage not in stages:
                raise SpecError(f"a link names {stage}, which is no stage; there are {', '.join(stages)}")
        source, target = stages[link.source], stages[link.target]
        outputs = {each.name: (each.dtype, each.sized(1)[1:]) for each in source.outputs}
        states = {each.input: (each.dtype, each.sized(1)[1:]) for each in target.states}
        others = {each.name: (each.dtype, each.sized(1)[1:]) for each in target.inputs if each != target.main_input}
        if link.output not in outputs:
            raise SpecError(f"{link.source} has no output {link.output}; it has {', '.join(outputs)}")
        begins = {**states, **others}
        if link.input not in begins:
            raise SpecError(f"{link.target} has no state or further input {link.input}; it has {', '.join(begins)}")
        if outputs[link.output] != begins[link.input]:
            raise SpecError(
                f"{link.source}.{link.output} is {_described(*outputs[link.output])}, but "
                f"{link.target}.{link.input} is {_described(*begins[link.input])}"
            )


def _described(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape)}"
