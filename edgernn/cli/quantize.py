"""`edgernn quantize`: a step model with weights in fewer bits."""

from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Data, Force, Json, ModelFile
from edgernn.cli.sequences import find_sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgernn_runtime import Engine, Spec
    from edgernn_runtime.engine import Array

_DRIFT_STEPS: Final = 1000


class PrecisionChoice(StrEnum):
    """How weights are stored."""

    INT8 = "int8"
    INT4 = "int4"


def quantize(
    model: ModelFile,
    precision: Annotated[PrecisionChoice, typer.Option(help="How weights are stored.")] = PrecisionChoice.INT8,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file (default: MODEL's name with the precision in it).")
    ] = None,
    data: Data = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens or steps to measure quality on at most.")] = 40_000,
    force: Force = False,
    json: Json = False,
) -> None:
    """Store weights in fewer bits, and measure the cost."""
    from edgernn_export.metadata import check_model_target, read_model
    from edgernn_export.quantization.quantizer import quantize as quantize_file

    spec = read_model(model)[1]
    target = output or model.with_suffix(f".{precision}.onnx")
    check_model_target(target, overwrite=force)
    sequence = find_sequence(spec, folder=model.parent, data=data, limit=max_tokens)
    metric, metric_name = _metric(model, spec, sequence)
    report = quantize_file(
        model,
        target,
        precision=precision.value,
        sequence=sequence[:_DRIFT_STEPS],
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
    if spec.vocabulary:
        change = f"{quality.before:.4f} -> {quality.after:.4f} ({quality.relative:+.2%})"
        print_text(f"perplexity {change} on {len(sequence) - 1:,} tokens")
    else:
        print_text(f"signal-to-noise ratio of the outputs {quality.after:.1f} dB over {len(sequence):,} steps")
    drift = report.drift
    kl = "" if drift.kl_nats is None else f", KL {drift.kl_nats:.2e} nats a step"
    print_text(f"drift over {drift.steps} steps: largest difference {drift.max_abs:.2e}{kl}")


def _metric(model: Path, spec: "Spec", sequence: "list[Array]") -> "tuple[Callable[[Engine], float], str]":
    """Return the figure of quality of a model, and its name: perplexity of tokens, else the outputs' SNR in dB."""
    from edgernn_export.perplexity import perplexity
    from edgernn_export.signal_quality import run_stream, snr_db
    from edgernn_runtime.engines.ort import OrtEngine

    if spec.vocabulary:
        return partial(perplexity, tokens=np.array(sequence)), "perplexity"
    reference = run_stream(OrtEngine(model), sequence)
    return lambda engine: snr_db(run_stream(engine, sequence), reference), "snr_db"
