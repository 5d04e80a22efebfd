"""Exporting a model in several graphs: a folder with a model file for each stage and a `bundle.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgernn_export.exporter import TOLERANCE, ExportReport, exported
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


def check_bundle_target(folder: Path, bundle: BundleSpec, *, overwrite: bool) -> None:
    """Check that a bundle may be written to a folder, before any work is spent on it.

    Raises:
        OutputExistsError: If a file of it exists and `overwrite` is false.
        OutputError: If there is a file where the folder should be.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the bundle")
    if folder.is_dir():
        check_target(folder / BUNDLE_FILE, overwrite=overwrite)
        for stage in bundle.stages.values():
            check_model_target(folder / stage.file, overwrite=overwrite)


def write_bundle(folder: Path, bundle: BundleSpec, models: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write the model files of a bundle, and its `bundle.json` last; one that is replaced is removed first.

    So a folder with a `bundle.json` holds stages that belong together, whatever interrupts the writing.

    Raises:
        OutputError: If something cannot be written; OutputExistsError if it exists and `overwrite` is false.
    """
    check_bundle_target(folder, bundle, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BUNDLE_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} could not be made: {error.strerror or error}") from error
    for name, content in models.items():
        write_bytes(folder / bundle.stages[name].file, content, overwrite=overwrite)
    write_bytes(folder / BUNDLE_FILE, bundle_to_json(bundle).encode(), overwrite=overwrite)
