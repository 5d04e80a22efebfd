"""The JSON form of what was measured."""

from collections.abc import Iterable
from dataclasses import asdict

from edgernn_runtime.profiling.measuring import Profile
from edgernn_runtime.profiling.operators import OperatorTime, TracedStep, copies
from edgernn_runtime.profiling.soaking import Soak
from edgernn_runtime.profiling.sweeping import Variant


def to_json(measured: Profile) -> dict[str, object]:
    """Return a profile under the keys of the command line's `--json`."""
    return {
        "path": str(measured.path),
        "engine": measured.engine,
        "provider": measured.provider,
        "threads": measured.threads,
        "steps": measured.steps,
        "step_us": asdict(measured.step_us),
        "jitter_us": measured.jitter_us,
        "steps_per_s": 1e6 / measured.step_us.mean,
        "cold_start_ms": measured.cold.total_ms,
        "load_ms": measured.cold.load_ms,
        "first_step_ms": measured.cold.first_step_ms,
        "peak_rss_bytes": measured.cold.peak_rss_bytes,
        "weight_bytes": measured.weight_bytes,
        "floor_us": measured.floor_us,
        "floor_ratio": measured.floor_ratio,
        "rtf": measured.rtf,
        "deadline": None if measured.deadline is None else asdict(measured.deadline),
        "nodes": dict(measured.nodes),
    }


def operators_to_json(step: TracedStep, rows: Iterable[OperatorTime]) -> dict[str, object]:
    """Return the time of a step while it was traced, its operators, and what ONNX Runtime put in to move tensors."""
    return {
        "traced_step_us": step.us,
        "rows": [asdict(row) for row in rows],
        "copies": [asdict(copy) for copy in copies(step.nodes)],
    }


def soak_to_json(measured: Soak) -> dict[str, object]:
    """Return how memory grew; bytes are null where the system does not say."""
    return asdict(measured)


def sweep_to_json(variants: Iterable[Variant]) -> list[dict[str, object]]:
    """Return the variants of one model."""
    return [asdict(variant) for variant in variants]
