"""BundleSpec: what a model in several graphs says of itself; the content of a `bundle.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Final

from edgernn_runtime.errors import ModelFileError, SpecError
from edgernn_runtime.spec import Spec, TensorSpec

BUNDLE_FILE: Final = "bundle.json"
BUNDLE_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One graph of a bundle, and when it steps.

    Attributes:
        file: The name of its model file in the bundle's folder.
        every: 1 for a stage that steps at each step of the bundle; n for one that steps at each n-th, the first
            included; 0 for one that steps once, before the first; None for one that has a stream of its own, which
            the caller feeds beforehand, such as an encoder.
    """

    file: str
    every: int | None = 1


@dataclass(frozen=True, slots=True)
class Link:
    """What passes from one stage to another.

    Where the source has a stream of its own, or steps once, the target begins with its last output: as one of its
    states, or in one of its inputs. Where both step along, the target's input holds the source's last output. A
    target that steps less often than its source takes what was sampled from the source's fed-back output: the
    values of all of its steps since, in one input.

    Attributes:
        source: The stage that computes it.
        output: The name of its output.
        target: The stage that takes it.
        input: The name of the state, or of the input.
    """

    source: str
    output: str
    target: str
    input: str


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """The stages of a model, and what passes between them.

    Attributes:
        stages: The stages by name. Those that step together do so in this order, the slower ones first; the last
            one that steps at every step gives the outputs of the bundle, and is its voice.
        links: What passes between them.
    """

    stages: Mapping[str, Stage]
    links: tuple[Link, ...] = ()

    @property
    def voice(self) -> str:
        """The stage whose outputs are those of the bundle."""
        return [name for name, stage in self.stages.items() if stage.every == 1][-1]

    @property
    def along(self) -> tuple[str, ...]:
        """The stages that the bundle itself steps, in the order in which they step."""
        along = [(name, stage.every) for name, stage in self.stages.items() if stage.every is not None]
        once = [name for name, every in along if every == 0]
        slower_first = sorted((each for each in along if each[1]), key=lambda each: -(each[1] or 0))
        others = [name for name, _ in slower_first if name != self.voice]
        return (*once, *others, self.voice)

    def gathers(self, link: Link) -> bool:
        """Return whether a link's target takes the values that were sampled since its last step."""
        source, target = self.stages[link.source].every, self.stages[link.target].every
        return bool(source and target and target > source)


def bundle_to_json(bundle: BundleSpec) -> str:
    """Return a bundle as the text of its `bundle.json`."""
    stages = {name: asdict(stage) for name, stage in bundle.stages.items()}
    content = {"version": BUNDLE_VERSION, "stages": stages, "links": [asdict(link) for link in bundle.links]}
    return json.dumps(content, indent=2) + "\n"


def read_bundle(folder: Path) -> BundleSpec:
    """Return what the `bundle.json` in a folder says.

    Raises:
        ModelFileError: If it cannot be read.
        SpecError: If it is no bundle, of another version, or names a file outside the folder.
    """
    path = folder / BUNDLE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if folder.is_dir() and not path.exists():
            raise ModelFileError(f"{folder} is a folder without a {BUNDLE_FILE}, not a model") from error
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is no JSON: {error}") from error
    try:
        version = content["version"]
        if version != BUNDLE_VERSION:
            raise SpecError(f"{path} has version {version!r}; this code reads version {BUNDLE_VERSION}")
        bundle = BundleSpec(
            {name: Stage(**stage) for name, stage in content["stages"].items()},
            tuple(Link(**link) for link in content["links"]),
        )
    except (AttributeError, TypeError, KeyError) as error:
        raise SpecError(f"{path} is no bundle: {error}") from error
    if not all(isinstance(part, str) for link in bundle.links for part in astuple(link)):
        raise SpecError(f"{path} is no bundle: a link must be four names")
    _check_names(path, bundle)
    return bundle


def _check_names(path: Path, bundle: BundleSpec) -> None:
    """Check what a `bundle.json` names: stages that are there, files in its own folder, and numbers of steps."""
    for link in bundle.links:
        for name in (link.source, link.target):
            if name not in bundle.stages:
                raise SpecError(f"a link names {name}, which is no stage; there are {', '.join(bundle.stages)}")
    for name, stage in bundle.stages.items():
        if not isinstance(stage.file, str) or Path(stage.file).name != stage.file:
            raise SpecError(f"{path} keeps the stage {name} in {stage.file!r}; it must lie in the bundle's own folder")
        if not isinstance(stage.every, int | None) or isinstance(stage.every, bool) or (stage.every or 0) < 0:
            raise SpecError(f"{path} steps the stage {name} every {stage.every!r}; it must be a number from 0, or null")


def check_bundle(bundle: BundleSpec, specs: Mapping[str, Spec]) -> None:
    """Raise a SpecError that names the first link or stage that does not fit the models, `specs` by stage."""
    if not any(stage.every == 1 for stage in bundle.stages.values()):
        raise SpecError("a bundle needs a stage that steps at every step")
    for link in bundle.links:
        for stage in (link.source, link.target):
            if stage not in specs:
                raise SpecError(f"a link names {stage}, which is no stage; there are {', '.join(specs)}")
        _check_times(bundle, link)
        _check_tensors(bundle, link, specs[link.source], specs[link.target])
    _check_begun(bundle, specs)
    linked = [(link.target, link.input) for link in bundle.links]
    if len(set(linked)) < len(linked):
        stage, name = next(each for each in linked if linked.count(each) > 1)
        raise SpecError(f"two links end at {stage}.{name}")


def _check_begun(bundle: BundleSpec, specs: Mapping[str, Spec]) -> None:
    """Check that an input of the bundle begins with one output alone, also where several stages share it."""
    begun: dict[str, tuple[str, str]] = {}
    for link in bundle.links:
        shared = link.input in {tensor.name for tensor in specs[link.target].inputs}
        if bundle.stages[link.source].every is None and shared:
            first = begun.setdefault(link.input, (link.source, link.output))
            if first != (link.source, link.output):
                raise SpecError(f"stages share the input {link.input}, which would begin with two outputs")


def _check_times(bundle: BundleSpec, link: Link) -> None:
    """Check that the source has something for the target when it steps."""
    source, target = bundle.stages[link.source].every, bundle.stages[link.target].every
    if target is None:
        raise SpecError(f"{link.target} has a stream of its own, so it cannot take what {link.source} gives")
    order = bundle.along
    if target == 0 and source is not None and (source or order.index(link.source) >= order.index(link.target)):
        raise SpecError(f"{link.target} steps once, before {link.source} has stepped")
    if source and target:
        if max(source, target) % min(source, target):
            raise SpecError(
                f"{link.source} steps every {source} and {link.target} every {target}; "
                "one must be a multiple of the other"
            )
        if order.index(link.source) > order.index(link.target) and not bundle.gathers(link):
            raise SpecError(f"{link.target} steps before {link.source}, so it cannot take what {link.source} gives")
        if bundle.gathers(link) and (source != 1 or link.source != bundle.voice):
            raise SpecError(f"{link.target} can take only what {bundle.voice} sampled, not {link.source}")


def _check_tensors(bundle: BundleSpec, link: Link, source: Spec, target: Spec) -> None:
    """Check that what a link joins is there, and of one dtype and shape."""
    outputs = {each.name: _form(each) for each in source.outputs}
    inputs = {each.name: _form(each) for each in target.inputs}
    at_begin = not (bundle.stages[link.source].every and bundle.stages[link.target].every)
    states = {each.input: (each.dtype, each.sized(1)[1:]) for each in target.states} if at_begin else {}
    taken = {**states, **inputs}
    if link.output not in outputs:
        raise SpecError(f"{link.source} has no output {link.output}; it has {', '.join(outputs)}")
    if link.input not in taken:
        raise SpecError(f"{link.target} has no state or input {link.input} to link; it has {', '.join(taken)}")
    given = outputs[link.output]
    if bundle.gathers(link):
        if source.feedback is None or link.output != source.feedback.output:
            raise SpecError(f"{link.target}.{link.input} takes what is sampled, and {link.output} is not")
        dtype, shape = _form(source.main_input)
        given = dtype, (bundle.stages[link.target].every or 1, *shape)
    if given != taken[link.input]:
        raise SpecError(
            f"{link.source}.{link.output} is {_described(*given)}, but "
            f"{link.target}.{link.input} is {_described(*taken[link.input])}"
        )


def _form(tensor: TensorSpec) -> tuple[str, tuple[int, ...]]:
    return tensor.dtype, tensor.sized(1)[1:]


def _described(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape)}"
