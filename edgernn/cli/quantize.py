"""`edgernn quantize`: a step model with weights in fewer bits, and what that costs."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.budget import Budget, read_budget
from edgernn.cli.console import (
    new_table,
    print_json,
    print_message,
    print_table,
    print_text,
    print_warning,
    progress_bar,
)
from edgernn.cli.material import find_material
from edgernn.cli.options import (
    Calibration,
    Data,
    Force,
    Json,
    MaxLoss,
    MaxTokens,
    MetricName,
    ModelPath,
    default_target,
    find_metric,
)
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export import QuantizeReport
    from edgernn_export.quality import Quality


class PrecisionChoice(StrEnum):
    """How weights are stored."""

    INT8 = "int8"
    INT4 = "int4"
    INT8_PORTABLE = "int8-portable"
    FP16 = "fp16"
    MIXED = "mixed"


class MethodChoice(StrEnum):
    """How weights are rounded."""

    GPTQ = "gptq"
    CLIPPED = "clipped"
    HQQ = "hqq"
    NEAREST = "nearest"


def quantize(
    model: ModelPath,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="How weights are stored; mixed searches within --max-loss.")
    ] = PrecisionChoice.INT8,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file or folder (default: MODEL's name with the precision in it)."),
    ] = None,
    data: Data = None,
    calibration: Calibration = None,
    method: Annotated[MethodChoice, typer.Option(help="How weights are rounded.")] = MethodChoice.GPTQ,
    metric: MetricName = None,
    max_loss: MaxLoss = None,
    max_drift: Annotated[
        float | None, typer.Option(min=0, help="Write nothing if an output differs by more, fed the same inputs.")
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Only store weights small; float32 again once the model is loaded.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Also measure what each weight matrix costs alone.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="A folder for quantization.json and the drift plots; needs edgernn[report].", metavar="FOLDER"
        ),
    ] = None,
    max_tokens: MaxTokens = 40_000,
    force: Force = False,
    json: Json = False,
) -> None:
    """Store weights in fewer bits, and measure the cost.

    The model is calibrated along live streams of training data where precision or method need it, and measured on
    data that are held out. More loss than --max-loss, or more drift than --max-drift, is exit code 3, and nothing is
    written.
    """
    from edgernn.artefacts.quantization import check_quantization_report, write_quantization_report
    from edgernn_export.quality import metric_of
    from edgernn_export.quantization.quantizer import quantize as quantize_model
    from edgernn_export.quantization.record import to_record
    from edgernn_export.quantization.source import Source

    budget = None if max_loss is None else read_budget(max_loss)
    _check_settings(precision, budget, max_drift=max_drift, expand=expand)
    model = model if model.name else model.absolute()
    target = output or default_target(model, precision)
    source = Source.open(model)
    source.check_target(target, overwrite=force)
    if report is not None:
        check_quantization_report(report, overwrite=force)
    own_metric = find_metric(metric)
    spec = source.engine().spec
    material = find_material(
        spec,
        model,
        data=data,
        calibration=calibration,
        limit=max_tokens,
        needed=_needs_calibration(precision, method, sensitivity=sensitivity),
        promised=budget is not None,
    )
    kind = "custom" if own_metric is not None else metric_of(spec, material.recording)
    with progress_bar() as progress:
        done = quantize_model(
            model,
            target,
            precision=precision.value,
            recording=material.recording,
            calibration=material.calibration,
            stage_calibrations=material.stages,
            method=method.value,
            metric=own_metric,
            max_loss=None if budget is None else budget.loss_for(kind),
            max_drift=max_drift,
            expand=expand,
            sensitivity=sensitivity,
            overwrite=force,
            progress=progress,
        )
    for state in () if done.calibration is None else done.calibration.growing:
        print_warning(f"{state} kept growing while the model was calibrated; a long stream may leave what was met")
    for operator in done.left:
        print_warning(f"{operator} runs over several steps inside one, so it stays float32")
    for stage in done.unjudged:
        print_warning(
            f"{stage} has streams of its own, of which these figures say nothing; quantize its file to judge it"
        )
    if report is not None:
        write_quantization_report(report, done, source.engine(), material.recording, overwrite=force)
        print_message(f"the report lies in {report}")
    if json:
        print_json(to_record(done))
    else:
        _print(done)


def _check_settings(
    precision: PrecisionChoice, budget: Budget | None, *, max_drift: float | None, expand: bool
) -> None:
    """Check what is wrong whatever the model and the data are, before any work; an InputError names the option."""
    if max_drift is not None and not math.isfinite(max_drift):
        raise InputError(f"--max-drift must be finite, got {max_drift}")
    if precision is PrecisionChoice.MIXED and budget is None:
        raise InputError("--precision mixed is searched within a budget; give one with --max-loss, as in 0.5%")
    if expand and precision is PrecisionChoice.INT8_PORTABLE:
        raise InputError("--expand is not for int8-portable weights; use --precision int8, int4 or fp16")


def _needs_calibration(precision: PrecisionChoice, method: MethodChoice, *, sensitivity: bool) -> bool:
    """Return whether a quantization must know what weights meet."""
    from edgernn_export.quantization.methods import needs_moments

    if precision is PrecisionChoice.INT8_PORTABLE:
        return True
    return needs_moments(method.value) and (precision is not PrecisionChoice.FP16 or sensitivity)


def _describe(quality: "Quality") -> str:
    """Return a sentence on what a form of a model costs."""
    steps = f"on {quality.steps:,} steps"
    if quality.metric == "snr_db":
        ratio = "infinite" if math.isinf(quality.after) else f"{quality.after:.1f} dB"
        return f"signal-to-noise ratio of the outputs {ratio}, largest difference {quality.max_abs:.1e}, {steps}"
    name = {"nats": "nats per step", "custom": "metric"}.get(quality.metric, quality.metric)
    loss = f"loss {quality.relative:+.2%} of the likelihood" if quality.metric == "nats" else f"{quality.relative:+.2%}"
    low, high = quality.interval or (None, None)
    sure = "" if low is None else f", 95% interval {low:+.2%} to {high:+.2%}"
    return f"{name} {quality.before:.4f} -> {quality.after:.4f} ({loss}{sure}) {steps}"


def _print(report: "QuantizeReport") -> None:
    if report.relowered:
        print_text("the fused cells became plain products and activations first")
    worst = max(node.max_error for node in report.nodes)
    print_text(
        f"{report.path}: {report.bytes_after:,} bytes ({report.bytes_after / report.bytes_before:.2f} of "
        f"{report.bytes_before:,}), {len(report.nodes)} weight matrices quantized, largest weight error {worst:.1e}"
    )
    print_text(_describe(report.quality))
    drift = report.drift
    kl = "" if report.quality.kl_nats is None else f", KL {report.quality.kl_nats:.2e} nats a step"
    print_text(f"drift over {drift.steps} steps: largest difference {drift.max_abs:.2e}{kl}")
    if report.sensitivities:
        _print_sensitivities(report)
    if report.frontier:
        _print_frontier(report)


def _print_sensitivities(report: "QuantizeReport") -> None:
    table = new_table("rounded alone", "to", "loss", "KL nats a step")
    for each in report.sensitivities:
        kl = "-" if each.kl_nats is None else f"{each.kl_nats:.2e}"
        table.add_row(each.part, each.format, f"{each.relative:+.3%}", kl)
    print_table(table)


def _print_frontier(report: "QuantizeReport") -> None:
    names = list(report.frontier[0].formats)
    table = new_table("", *(f"[{i}]" for i in range(1, len(names) + 1)), "bytes", "p50 us", "loss", "99.9% sure below")
    for point in report.frontier:
        formats = [point.formats[name] for name in names]
        quality = point.quality
        figures = (f"{point.bytes:,}", f"{point.p50_us:.1f}", f"{quality.relative:+.3%}", f"{quality.upper:+.3%}")
        table.add_row("chosen" if point.chosen else "", *formats, *figures)
    floats = (f"{report.bytes_before:,}", f"{report.float_p50_us:.1f}", "0", "0")
    table.add_row("source", *["float32"] * len(names), *floats)
    print_table(table)
    for i, name in enumerate(names, 1):
        print_text(f"[{i}] {name}")
