"""Exporting a model in several graphs: a folder with a model file for each stage and a `bundle.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgernn_export.exporter import TOLERANCE, ExportReport, export
from edgernn_export.metadata import check_model_target
from edgernn_export.step import StepModule
from edgernn_runtime.bundle_spec import BUNDLE_FILE, BundleSpec, Link, Stage, bundle_to_json, check_bundle
from edgernn_runtime.engines.staged import joined_spec
from edgernn_runtime.errors import InputError, OutputError
from edgernn_runtime.files import check_target, write_bytes


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
        ExportError, ParityError, OutputError: As `export` does; `bundle.json` is written last.
    """
    target, bundle = Path(folder), modules.spec
    for name in modules.steps:
        if not name or Path(name).name != name:
            raise InputError(f"a stage cannot be called {name!r}, which is no name of a file")
    specs = {name: step.spec for name, step in modules.steps.items()}
    check_bundle(bundle, specs)
    joined_spec(bundle, {name: specs[name] for name in bundle.along})
    check_bundle_target(target, bundle, overwrite=overwrite)
    reports = {
        name: export(step, target / bundle.stages[name].file, overwrite=overwrite, tolerance=tolerance)
        for name, step in modules.steps.items()
    }
    write_bytes(target / BUNDLE_FILE, bundle_to_json(bundle).encode(), overwrite=overwrite)
    return reports


def check_bundle_target(folder: Path, bundle: BundleSpec, *, overwrite: bool) -> None:
    """Make a bundle's folder, and check that every file of it may be written.

    Raises:
        OutputExistsError: If one exists and `overwrite` is false.
        OutputError: If the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} could not be made: {error.strerror or error}") from error
    check_target(folder / BUNDLE_FILE, overwrite=overwrite)
    for stage in bundle.stages.values():
        check_model_target(folder / stage.file, overwrite=overwrite)
