"""Bundle files: writing the folder of a model in several graphs."""

from collections.abc import Mapping
from pathlib import Path

from edgernn_export.metadata import check_model_target
from edgernn_runtime.bundle_spec import BUNDLE_FILE, BundleSpec, bundle_to_json
from edgernn_runtime.errors import OutputError
from edgernn_runtime.files import check_target, write_bytes


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
