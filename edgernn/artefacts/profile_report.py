"""ProfileReport: everything that was measured of one model, for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgernn_runtime.errors import DataError
from edgernn_runtime.profiling import OperatorTime, Profile, Soak, TracedStep, Variant


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """Everything that was measured of one model.

    Attributes:
        name: What the page calls it.
        profile: Latency, cold start, memory and the floor.
        macs: Multiplications with an addition in one step; None where they could not be counted.
        traced: What ONNX Runtime's own trace says; None if it was not asked for.
        operators: The time of operators by place; empty likewise.
        soak: How memory grew over a long run; None likewise.
        variants: Threads and spinning; empty likewise.
    """

    name: str
    profile: Profile
    macs: int | None = None
    traced: TracedStep | None = None
    operators: tuple[OperatorTime, ...] = ()
    soak: Soak | None = None
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftCurve:
    """How far a candidate's outputs lie from its source's along one stream.

    Attributes:
        name: What the page calls the candidate.
        steps: The steps compared.
        window: The steps of a window.
        largest: The largest difference in each window; None where it is not finite.
        max_abs: The largest difference of all; None likewise.
        kl_nats: The mean divergence of a step; None for models without tokens, or likewise.
    """

    name: str
    steps: int
    window: int
    largest: tuple[float | None, ...] = field(repr=False)
    max_abs: float | None
    kl_nats: float | None


def drift_curves(name: str, record: object) -> tuple[DriftCurve, ...]:
    """Return the curves in what `edgernn verify --json` printed, or in the `drift.json` of its report.

    Args:
        name: What to call the candidate, where the record does not say.
        record: The parsed JSON.

    Raises:
        DataError: If it is something else.
    """
    try:
        candidates: Mapping[str, Any] = (
            record["candidates"] if isinstance(record, dict) and "candidates" in record else {name: record}
        )
        return tuple(_curve(name, each) for name, each in candidates.items())
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"{name} must hold what `edgernn verify --json` prints, and does not: "
            f"{type(error).__name__} at {error}; run that command again, and keep its stdout"
        ) from error


def _curve(name: str, record: Mapping[str, Any]) -> DriftCurve:
    forced = record["teacher_forced"]
    growth = forced["growth"]
    return DriftCurve(
        name=name,
        steps=int(record["steps"]),
        window=int(growth["window"]),
        largest=tuple(None if value is None else float(value) for value in growth["largest"]),
        max_abs=_optional(forced["max_abs"]),
        kl_nats=_optional(forced["kl_nats"]),
    )


def _optional(value: float | None) -> float | None:
    return None if value is None else float(value)


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return names that tell paths apart: as few of their last parts as it takes, and a number where they are equal.

    >>> short_names([Path("runs/a/model.onnx"), Path("runs/b/model.onnx")])
    ('a/model.onnx', 'b/model.onnx')
    """
    deepest = max((len(path.parts) for path in paths), default=1)
    for depth in range(1, deepest + 1):
        names = tuple("/".join(path.parts[-depth:]) for path in paths)
        if len(set(names)) == len(set(paths)):
            break
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    )
