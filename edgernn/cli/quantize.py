"""`edgernn quantize`: a step model with weights in fewer bits."""

from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Data, Force, Json, ModelPath
from edgernn.cli.recordings import find_recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgernn_export import Recording
    from edgernn_export.quantization.quantizer import Quality
    from edgernn_runtime import Engine

_DRIFT_STEPS: Final = 1000


class PrecisionChoice(StrEnum):
    """How weights are stored."""

    INT8 = "int8"
    INT4 = "int4"


def quantize(
    model: ModelPath,
    precision: Annotated[PrecisionChoice, typer.Option(help="How weights are stored.")] = PrecisionChoice.INT8,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file or folder (default: MODEL's name with the precision in it)."),
    ] = None,
    data: Data = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens or steps to measure quality on at most.")] = 40_000,
    force: Force = False,
    json: Json = False,
) -> None:
    """Store weights in fewer bits, and measure the cost."""
    from edgernn_export.metadata import check_model_target
    from edgernn_export.quantization.bundle_quantizer import quantize_bundle
    from edgernn_export.quantization.quantizer import quantize as quantize_file
    from edgernn_runtime.engines.opening import open_engine

    model = model if model.name else model.absolute()
    engine = open_engine(model)
    target = output or model.with_name(f"{model.name if model.is_dir() else model.stem}.{precision}{model.suffix}")
    if not model.is_dir():
        check_model_target(target, overwrite=force)
    recording = find_recording(engine.spec, model, data=data, limit=max_tokens)
    metric, metric_name = _metric(engine, recording)
    report = (quantize_bundle if model.is_dir() else quantize_file)(
        model,
        target,
        precision=precision.value,
        recording=recording.head(_DRIFT_STEPS),
        metric=metric,
        metric_name=metric_name,
        overwrite=force,
    )
    quality = report.quality
    if json:
        print_json(
            {
                "path": str(report.path),
                "precision": report.precision,
                "bytes_before": report.bytes_before,
                "bytes_after": report.bytes_after,
                "quantized_nodes": [asdict(node) for node in report.nodes],
                "quality": {**asdict(quality), "relative": quality.relative},
                "drift": {
                    "steps": report.drift.steps,
                    "max_abs": report.drift.max_abs,
                    "kl_nats": report.drift.kl_nats,
                },
            }
        )
        return
    worst = max(report.nodes, key=lambda node: node.max_error)
    print_text(
        f"{report.path}: {report.bytes_after:,} bytes ({report.bytes_after / report.bytes_before:.2f} of "
        f"{report.bytes_before:,}), {len(report.nodes)} products quantized, "
        f"largest weight error {worst.max_error:.1e}"
    )
    print_text(_describe(quality, len(recording)))
    drift = report.drift
    kl = "" if drift.kl_nats is None else f", KL {drift.kl_nats:.2e} nats a step"
    print_text(f"drift over {drift.steps} steps: largest difference {drift.max_abs:.2e}{kl}")


def _metric(engine: "Engine", recording: "Recording") -> "tuple[Callable[[Engine], float], str]":
    """Return the figure of quality of a model, and its name.

    The perplexity of tokens, the negative log-likelihood of other targets, else the outputs' SNR in dB.
    """
    from edgernn_export.likelihood import mean_nats, perplexity
    from edgernn_export.signal_quality import run_stream, snr_db

    if recording.targets is not None and engine.spec.distribution != "none":
        if engine.spec.vocabulary:
            return partial(perplexity, recording=recording), "perplexity"
        return partial(mean_nats, recording=recording), "nats"
    reference = run_stream(engine, recording)
    return lambda other: snr_db(run_stream(other, recording), reference), "snr_db"


def _describe(quality: "Quality", steps: int) -> str:
    """Return a sentence on what quantization cost."""
    if quality.metric == "perplexity":
        change = f"{quality.before:.4f} -> {quality.after:.4f} ({quality.after / quality.before - 1:+.2%})"
        return f"perplexity {change} on {steps:,} tokens"
    if quality.metric == "nats":
        more = quality.after - quality.before
        return f"nats per step {quality.before:.4f} -> {quality.after:.4f} ({more:+.4f}) on {steps:,} steps"
    return f"signal-to-noise ratio of the outputs {quality.after:.1f} dB over {steps:,} steps"
