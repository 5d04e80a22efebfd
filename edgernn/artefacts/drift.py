"""Drift reports: how far candidates are from one source, as a picture, a page and JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgernn_export.drift.record import to_record
from edgernn_export.drift.report import VerifyReport
from edgernn_runtime.errors import InputError, MissingExtraError, OutputError
from edgernn_runtime.files import check_target, make_folder, write_bytes

DRIFT_FILES: Final = ("drift.png", "drift.html", "drift.json")
"""The files of a report, in the order in which they are written."""


def check_drift_report(folder: Path, *, overwrite: bool) -> None:
    """Check that a report can be written, before any work is spent on its content.

    Args:
        folder: Where it will lie; made by `write_drift_report` if it is missing.
        overwrite: Whether existing files may be replaced.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OutputError: If the folder is a file, or lies in one; OutputExistsError if a file of the report exists.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("drift reports need matplotlib; install edgernn[report]") from error
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise OutputError(f"{nearest} is a file, so {folder} cannot be a folder for the report; name another")
    if nearest == folder:
        for name in DRIFT_FILES:
            check_target(folder / name, overwrite=overwrite)


def write_drift_report(folder: Path, reports: Mapping[str, VerifyReport], *, overwrite: bool) -> None:
    """Write `drift.png`, `drift.html` and `drift.json`, all candidates in each.

    `drift.json` comes last; what it holds of a candidate is what `edgernn verify --json` prints.

    Args:
        folder: Where to write; it is made if it is missing.
        reports: What was measured of each candidate, by the name to show, all against one source.
        overwrite: Whether existing files may be replaced.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        InputError: If there is no report.
        OutputError: If a file cannot be written; OutputExistsError if one exists.
    """
    if not reports:
        raise InputError("a drift report needs a candidate at least, got none")
    check_drift_report(folder, overwrite=overwrite)
    from edgernn.artefacts.drift_figure import drift_figure, picture  # noqa: PLC0415, matplotlib is an optional extra
    from edgernn.artefacts.drift_page import drift_page  # noqa: PLC0415, likewise

    figure = drift_figure(reports)
    record = {"candidates": {name: to_record(report) for name, report in reports.items()}}
    contents = (
        picture(figure, "png"),
        drift_page(reports, picture(figure, "svg").decode()).encode(),
        (json.dumps(record, ensure_ascii=False) + "\n").encode(),
    )
    make_folder(folder)
    for name, content in zip(DRIFT_FILES, contents, strict=True):
        write_bytes(folder / name, content, overwrite=overwrite)
