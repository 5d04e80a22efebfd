"""Exporting a model in several graphs: a folder with a model file for each stage and a `bundle.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgernn_export.exporter import TOLERANCE, ExportReport, export
from edgernn_export.step import StepModule
from edgernn_runtime.bundle import BUNDLE_FILE, Link, bundle_to_json, check_links
from edgernn_runtime.errors import InputError
from edgernn_runtime.files import check_target, write_bytes


def export_bundle(
    stages: Mapping[str, StepModule],
    links: Sequence[Link],
    folder: str | Path,
    *,
    overwrite: bool = False,
    tolerance: float = TOLERANCE,
) -> Mapping[str, ExportReport]:
    """Write the stages of a model as a bundle, each checked as `export` does.

    Args:
        stages: Step modules by the names of their stages.
        links: What passes between them.
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
    target = Path(folder)
    for name in stages:
        if not name or Path(name).name != name:
            raise InputError(f"a stage cannot be called {name!r}, which is no name of a file")
    check_links({name: step.spec for name, step in stages.items()}, links)
    target.mkdir(parents=True, exist_ok=True)
    check_target(target / BUNDLE_FILE, overwrite=overwrite)
    files = {name: f"{name}.onnx" for name in stages}
    reports = {
        name: export(step, target / files[name], overwrite=overwrite, tolerance=tolerance)
        for name, step in stages.items()
    }
    write_bytes(target / BUNDLE_FILE, bundle_to_json(files, links).encode(), overwrite=overwrite)
    return reports
