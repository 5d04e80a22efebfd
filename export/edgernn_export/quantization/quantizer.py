"""Quantize: a model with weights in fewer bits, what that costs, and a promise that it costs no more."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn_export.drift.teacher_forced import TeacherForced, teacher_forced
from edgernn_export.quality import Judge, Metric, Quality
from edgernn_export.quantization.builder import Builder, QuantizedNode
from edgernn_export.quantization.calibration import Calibration, Progress, calibrate
from edgernn_export.quantization.formats import PRECISIONS, Plan, Precision, plan_of
from edgernn_export.quantization.methods import METHODS, Method
from edgernn_export.quantization.search import Search
from edgernn_export.quantization.sensitivity import Sensitivity, sensitivities
from edgernn_export.quantization.source import Contents, Source
from edgernn_export.recording import Recording
from edgernn_export.timing import step_latencies
from edgernn_runtime.errors import GateError, InputError, QuantizationError

DRIFT_STEPS: Final = 10_000

_TIMED_STEPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Point:
    """A mix of precisions on the frontier of size, speed and quality.

    Attributes:
        formats: The formats of the weights by name; `float32` for those that were left.
        bytes: The size of its files.
        p50_us: The median latency of its step at batch 1, one thread, in microseconds.
        quality: What it costs.
        chosen: Whether it is the one that was written.
    """

    formats: Mapping[str, str]
    bytes: int
    p50_us: float
    quality: Quality
    chosen: bool


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What a quantization wrote.

    Attributes:
        path: The file, or the bundle's folder.
        precision: The precision of its weights.
        method: How products were rounded.
        bytes_before: Size of the source's files.
        bytes_after: Size of the files.
        nodes: The weights that were quantized.
        quality: What it costs.
        drift: The distance to the source along the recording, both fed the same inputs.
        relowered: Whether the source's fused cells became plain products and activations first.
        left: Fused cells that could not, and stay float32, by operator.
        unjudged: Stages of a bundle with streams of their own, of which its quality says nothing; never int4.
        calibration: What weights and states met; None if there was nothing to calibrate with.
        sensitivities: What each matrix costs alone; empty if that was not asked for.
        frontier: The mixes that a search found, smallest first; empty without a search.
        float_p50_us: The median latency of the source's step, timed beside the frontier; None without one.
    """

    path: Path
    precision: Precision
    method: Method
    bytes_before: int
    bytes_after: int
    nodes: tuple[QuantizedNode, ...]
    quality: Quality
    drift: TeacherForced
    relowered: bool
    left: tuple[str, ...]
    unjudged: tuple[str, ...]
    calibration: Calibration | None
    sensitivities: tuple[Sensitivity, ...]
    frontier: tuple[Point, ...]
    float_p50_us: float | None


def quantize(
    source: str | Path,
    target: str | Path,
    *,
    precision: Precision,
    recording: Recording,
    calibration: Recording | None = None,
    stage_calibrations: Mapping[str, Recording] | None = None,
    method: Method = "gptq",
    metric: Metric | None = None,
    max_loss: float | None = None,
    max_drift: float | None = None,
    expand: bool = False,
    sensitivity: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> QuantizeReport:
    """Write a model with its weights, and the activations they meet, in fewer bits.

    States, and the arithmetic that updates them, stay float32.

    Args:
        source: A float32 step model, or a bundle's folder.
        target: The file or folder to write.
        precision: `int8` and `int4` weights with int8 activations; `int8-portable` with standard operators only;
            `fp16` weights; `mixed`, the smallest mix of int4, int8 and float32 that keeps `max_loss`.
        recording: What quality and drift are measured on.
        calibration: What the float32 model is fed to learn what its weights meet; no part of the recording.
        stage_calibrations: The same for stages of a bundle that have streams of their own, by stage.
        method: How products are rounded; `clipped` and `gptq` need the calibration.
        metric: A loss of one's own; see `Judge`.
        max_loss: The largest loss, as a share; its 99.9% confidence bound must stay below.
        max_drift: The largest absolute difference of an output, both fed the recording as one stream.
        expand: Whether weights are only stored in fewer bits, and float32 once the model is loaded.
        sensitivity: Whether to measure what each matrix costs alone.
        overwrite: Whether an existing file may be replaced.
        progress: Called with what is being done, and how far it is.

    Raises:
        ModelFileError: If the source is no model; SpecError if it is no step model.
        QuantizationError: If the source is quantized already, nothing in it can be, a weight is NaN or
            infinite, a calibration is missing, the outputs become NaN, or source and target are one file.
        InputError: If a recording does not fit, or a setting is out of range.
        GateError: If the loss or the drift is more than allowed; nothing is written.
        OutputError: If the file cannot be written; OutputExistsError if it exists.
    """
    path, output = Path(source), Path(target)
    _check_settings(precision, method, max_loss=max_loss, max_drift=max_drift, expand=expand)
    model = Source.open(path)
    model.check_target(output, overwrite=overwrite)
    before = model.engine()
    recording.check(before.spec)
    met = None if calibration is None else calibrate(model, calibration, stages=stage_calibrations, progress=progress)
    builder = Builder(model, met, method=method, expand=expand)
    judge = Judge(before, recording, metric)
    found = sensitivities(model, builder, judge, progress) if sensitivity or precision == "mixed" else ()
    if precision == "mixed" and max_loss is not None:
        made = _searched(model, builder, Search(model, builder, judge, max_loss, progress), found)
    else:
        made = _planned(model, builder, judge, precision)
    drift = teacher_forced(before, model.opened(made.contents), recording.head(DRIFT_STEPS))
    _check_gates(made.quality, drift, max_loss=max_loss, max_drift=max_drift)
    model.write(output, made.contents, overwrite=overwrite)
    return QuantizeReport(
        path=output,
        precision=precision,
        method=method,
        bytes_before=model.size,
        bytes_after=sum(map(len, made.contents.values())),
        nodes=builder.nodes(made.plan),
        quality=made.quality,
        drift=drift,
        relowered=model.relowered,
        left=model.left,
        unjudged=model.unjudged,
        calibration=met,
        sensitivities=found,
        frontier=made.frontier,
        float_p50_us=made.float_p50_us,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """A form that is to be written, before it is; its fields are those of the report."""

    plan: Plan
    contents: Contents
    quality: Quality
    frontier: tuple[Point, ...] = ()
    float_p50_us: float | None = None


def _planned(source: Source, builder: Builder, judge: Judge, precision: Precision) -> _Made:
    """Return the form that a precision prescribes."""
    plan = plan_of(precision, source)
    contents = builder.build(plan, precision)
    return _Made(plan, contents, judge.quality(source.opened(contents)))


def _searched(source: Source, builder: Builder, search: Search, found: tuple[Sensitivity, ...]) -> _Made:
    """Return the mix of precisions that a search finds, its frontier timed beside the source."""
    chosen = search.run(found)
    candidates = search.frontier if chosen in search.frontier else (*search.frontier, chosen)
    engines = [source.engine(), *(source.opened(builder.build(each.plan, "mixed")) for each in candidates)]
    latencies = step_latencies(engines, steps=_TIMED_STEPS)
    frontier = tuple(
        Point(_formats(source, each.plan), each.bytes, latency.p50, each.quality, each is chosen)
        for each, latency in zip(candidates, latencies[1:], strict=True)
    )
    return _Made(chosen.plan, builder.build(chosen.plan, "mixed"), chosen.quality, frontier, latencies[0].p50)


def _formats(source: Source, plan: Plan) -> Mapping[str, str]:
    return {name: plan[name].name if name in plan else "float32" for name in source.weights}


def _check_settings(
    precision: Precision, method: Method, *, max_loss: float | None, max_drift: float | None, expand: bool
) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision}")
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method}")
    for name, limit in (("max_loss", max_loss), ("max_drift", max_drift)):
        if limit is not None and not 0 <= limit < math.inf:
            raise InputError(f"{name} must be 0 or more, and finite, got {limit}")
    if precision == "mixed" and max_loss is None:
        raise InputError("mixed precision is searched within a budget; give one with max_loss, as in 0.005")
    if expand and precision == "int8-portable":
        raise InputError("int8-portable weights are not expanded at load; use int8, int4 or fp16")


def _check_gates(quality: Quality, drift: TeacherForced, *, max_loss: float | None, max_drift: float | None) -> None:
    apart = [quality.max_abs, drift.max_abs, *(state.max_abs for state in drift.states)]
    if not all(map(math.isfinite, apart)):
        raise QuantizationError("the quantized model's outputs or states become NaN or infinite; nothing was written")
    if max_loss is not None and not quality.upper <= max_loss:
        sure = f", and {100 * quality.upper:+.3g}% cannot be ruled out" if quality.upper > quality.relative else ""
        raise GateError(
            f"the loss is {100 * quality.relative:+.3g}%{sure}; the limit is {100 * max_loss:.3g}%, nothing was written"
        )
    if max_drift is not None and not drift.max_abs <= max_drift:
        worst = "" if drift.worst_state is None else f"; the state to look at is {drift.worst_state}"
        raise GateError(
            f"the outputs drift apart by {drift.max_abs:.2e} over {drift.steps} steps; the limit is {max_drift:g}, "
            f"nothing was written{worst}"
        )
