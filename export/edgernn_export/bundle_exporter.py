"""Exporting a model in several graphs: a folder with a model file for each stage and a `bundle.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgernn_export.bundle_files import check_bundle_target, write_bundle
from edgernn_export.exporter import TOLERANCE, ExportReport, exported
from edgernn_export.step import StepModule
from edgernn_runtime.bundle_spec import BundleSpec, Link, Stage, check_bundle
from edgernn_runtime.engines.staged import joined_spec
from edgernn_runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class StagedModules:
    """A model in several step modules.

    Attributes:
        steps: The modules by the names of their stages.
        every: When each steps, as in `Stage.every`; those that are not named step at every step.
        links: What passes between them.
    """

    steps: Mapping[str, StepModule]
    every: Mapping[str, int | None]
    links: tuple[Link, ...]

    @property
    def spec(self) -> BundleSpec:
        """The bundle that they become, each stage in a file of its name."""
        stages = {name: Stage(f"{name}.onnx", self.every.get(name, 1)) for name in self.steps}
        return BundleSpec(stages, self.links)


def export_bundle(
    modules: StagedModules, folder: str | Path, *, overwrite: bool = False, tolerance: float = TOLERANCE
) -> Mapping[str, ExportReport]:
    """Write a model in several graphs as a bundle, each graph checked as `export` does.

    Args:
        modules: The step modules, and what passes between them.
        folder: The folder; it is made if it is not there.
        overwrite: Whether existing files may be replaced.
        tolerance: The largest absolute difference that is allowed in any output.

    Returns:
        What was written, by stage.

    Raises:
        InputError: If a stage's name is no name of a file.
        SpecError: If the links do not fit the stages.
        ExportError, ParityError, OutputError: As `export` does; nothing is written then.
    """
    target, bundle = Path(folder), modules.spec
    for name in modules.steps:
        if not name or Path(name).name != name:
            raise InputError(f"a stage cannot be called {name!r}, which is no name of a file")
    specs = {name: step.spec for name, step in modules.steps.items()}
    check_bundle(bundle, specs)
    joined_spec(bundle, {name: specs[name] for name in bundle.along})
    check_bundle_target(target, bundle, overwrite=overwrite)
    made = {name: exported(step, tolerance=tolerance) for name, step in modules.steps.items()}
    write_bundle(target, bundle, {name: content for name, (content, _, _) in made.items()}, overwrite=overwrite)
    return {
        name: ExportReport(target / bundle.stages[name].file, len(content), spec, passes)
        for name, (content, spec, passes) in made.items()
    }
