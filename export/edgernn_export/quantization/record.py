"""The record of a quantization: all figures of a report, under the keys of the command line's `--json`."""

from dataclasses import asdict
from typing import Final

import numpy as np

from edgernn_export.drift.record import forced_record
from edgernn_export.quality import Quality
from edgernn_export.quantization.activation import Activation
from edgernn_export.quantization.calibration import Calibration
from edgernn_export.quantization.quantizer import QuantizeReport

_BINS: Final = 64


def to_record(report: QuantizeReport) -> dict[str, object]:
    """Return a report as JSON takes it."""
    return {
        "path": str(report.path),
        "precision": report.precision,
        "method": report.method,
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "quantized_nodes": [asdict(node) for node in report.nodes],
        "quality": asdict(report.quality),
        "drift": {"steps": report.drift.steps, **forced_record(report.drift)},
        "relowered": report.relowered,
        "left": list(report.left),
        "unjudged": list(report.unjudged),
        "calibration": None if report.calibration is None else _calibration(report.calibration),
        "sensitivities": [asdict(each) for each in report.sensitivities],
        "frontier": [{**asdict(point), "quality": _short(point.quality)} for point in report.frontier],
        "float_p50_us": report.float_p50_us,
    }


def _short(quality: Quality) -> dict[str, object]:
    return {name: getattr(quality, name) for name in ("metric", "after", "relative", "interval", "upper", "kl_nats")}


def _calibration(calibration: Calibration) -> dict[str, object]:
    return {
        "steps": calibration.steps,
        "growing": list(calibration.growing),
        "inputs": {name: _activation(each) for name, each in calibration.inputs.items()},
        "states": {name: _activation(each) for name, each in calibration.states.items()},
    }


def _activation(activation: Activation) -> dict[str, object]:
    """Return the range, the peaks over time, and a histogram of 64 bins from `-limit` to `limit`."""
    histogram = activation.histogram
    return {
        "low": histogram.low,
        "high": histogram.high,
        "peaks": activation.peaks.tolist(),
        "limit": histogram.limit,
        "counts": np.add.reduce(histogram.counts.reshape(_BINS, -1), axis=1).tolist(),
    }
