"""The JSON form of a report, one for scripts and files."""

import math

from edgernn_export.drift.curve import Curve
from edgernn_export.drift.free_running import FreeRunning
from edgernn_export.drift.likeness import Likeness, Moments
from edgernn_export.drift.report import VerifyReport
from edgernn_export.drift.teacher_forced import StateDrift, TeacherForced

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def to_record(report: VerifyReport) -> dict[str, Json]:
    """Return a report as a JSON object; NaN and infinity are null, and curves have 6 digits."""
    return {
        "steps": report.steps,
        "teacher_forced": forced_record(report.teacher_forced),
        "free_running": _free_running(report),
        "worst_state": report.teacher_forced.worst_state,
        "same_distribution": report.same_distribution,
        "tolerance": report.tolerance,
        "passed": report.passed,
    }


def forced_record(forced: TeacherForced) -> dict[str, Json]:
    """Return what a teacher-forced comparison found, as a JSON object."""
    return {
        "max_abs": _finite(forced.max_abs),
        "mean_abs": _finite(forced.mean_abs),
        "kl_nats": None if forced.kl_nats is None else _finite(forced.kl_nats),
        "first_divergence": forced.first_divergence,
        "redrawn": forced.redrawn,
        "states": [_state(state) for state in forced.states],
        "growth": _curve(forced.growth),
        "kl_growth": None if forced.kl_growth is None else _curve(forced.kl_growth),
    }


def _state(state: StateDrift) -> Json:
    return {
        "name": state.name,
        "max_abs": _finite(state.max_abs),
        "magnitude": state.magnitude,
        "relative": _finite(state.relative),
        "diverged": state.diverged,
        "growth": _curve(state.growth),
    }


def _free_running(report: VerifyReport) -> Json:
    if report.greedy is None or report.sampled is None:
        return None
    runs = (report.greedy, report.sampled)
    divergences = [run.first_divergence for run in runs if run.first_divergence is not None]
    return {
        "first_divergence": min(divergences, default=None),
        "agreement": min(run.agreement for run in runs),
        "greedy": _run(report.greedy),
        "sampled": _run(report.sampled),
    }


def _run(run: FreeRunning) -> Json:
    return {
        "steps": run.steps,
        "first_divergence": run.first_divergence,
        "tokens": None if run.tokens is None else list(run.tokens),
        "margin": run.margin,
        "agreement": run.agreement,
        "agreements": {"window": run.agreements.window, "mean": _numbers(run.agreements.mean)},
        "same_distribution": run.same_distribution,
        "likeness": None if run.likeness is None else _likeness(run.likeness),
    }


def _likeness(likeness: Likeness) -> Json:
    names = ("source", "candidate", "yardstick")
    return {
        "distances": {
            distance.name: {
                "candidate": _finite(distance.candidate),
                "yardstick": None if distance.yardstick is None else _finite(distance.yardstick),
                "slack": distance.slack,
                "limit": None if distance.limit is None else _finite(distance.limit),
                "within": distance.within,
            }
            for distance in likeness.distances
        },
        "moments": {name: _moments(each) for name, each in zip(names, likeness.moments, strict=False)} or None,
    }


def _moments(moments: Moments) -> Json:
    return {
        "mean": _numbers(moments.mean),
        "deviation": _numbers(moments.deviation),
        "autocorrelation": _numbers(moments.autocorrelation),
    }


def _curve(curve: Curve) -> Json:
    return {"window": curve.window, "largest": _numbers(curve.largest), "mean": _numbers(curve.mean)}


def _numbers(values: tuple[float, ...]) -> Json:
    return [_finite(float(f"{value:.6g}")) for value in values]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
