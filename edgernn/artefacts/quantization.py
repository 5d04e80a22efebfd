"""Quantization reports: every figure as JSON, beside the drift plots of what was written."""

import json
from pathlib import Path
from typing import Final

from edgernn.artefacts.drift import check_drift_report, write_drift_report
from edgernn_export import Recording
from edgernn_export.finite import finite
from edgernn_export.quantization.quantizer import DRIFT_STEPS, QuantizeReport
from edgernn_export.quantization.record import to_record
from edgernn_export.verification import verify
from edgernn_runtime import Engine
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.files import check_target, write_bytes

QUANTIZATION_FILE: Final = "quantization.json"


def check_quantization_report(folder: Path, *, overwrite: bool) -> None:
    """Check that a report can be written; errors as in `check_drift_report`."""
    check_drift_report(folder, overwrite=overwrite)
    if folder.is_dir():
        check_target(folder / QUANTIZATION_FILE, overwrite=overwrite)


def write_quantization_report(
    folder: Path, report: QuantizeReport, source: Engine, recording: Recording, *, overwrite: bool
) -> None:
    """Write `quantization.json`, and the drift along 10,000 steps as plots, a page and JSON.

    Args:
        folder: Where to write; it is made if it is missing.
        report: What was quantized.
        source: The model that it was quantized from.
        recording: What both are fed.
        overwrite: Whether existing files may be replaced.

    Raises:
        OutputError: If a file cannot be written; OutputExistsError if one exists.
    """
    drift = verify(source, open_engine(report.path), recording.repeated(DRIFT_STEPS), tolerance=None)
    write_drift_report(folder, {report.precision: drift}, overwrite=overwrite)
    content = json.dumps(finite(to_record(report)), indent=1) + "\n"
    write_bytes(folder / QUANTIZATION_FILE, content.encode(), overwrite=overwrite)
