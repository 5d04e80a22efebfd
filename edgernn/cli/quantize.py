"""`edgernn quantize`: a step model with weights in fewer bits."""

from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Data, Force, Json, ModelFile
from edgernn.cli.tokens import find_tokens


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
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens to measure quality on at most.")] = 40_000,
    force: Force = False,
    json: Json = False,
) -> None:
    """Store weights in fewer bits, and measure the cost."""
    from edgernn_export.metadata import check_model_target, read_model
    from edgernn_export.perplexity import perplexity
    from edgernn_export.quantization.quantizer import quantize as quantize_file

    spec = read_model(model)[1]
    target = output or model.with_suffix(f".{precision}.onnx")
    check_model_target(target, overwrite=force)
    tokens = find_tokens(spec, folder=model.parent, data=data, limit=max_tokens)
    report = quantize_file(
        model,
        target,
        precision=precision.value,
        sequence=list(tokens[:1000]),
        metric=partial(perplexity, tokens=tokens),
        metric_name="perplexity",
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
    change = f"{quality.before:.4f} -> {quality.after:.4f} ({quality.relative:+.2%})"
    print_text(f"perplexity {change} on {tokens.size - 1:,} tokens")
    drift = report.drift
    distance = f"largest difference {drift.max_abs:.2e}, KL {drift.kl_nats or 0:.2e} nats a step"
    print_text(f"drift over {drift.steps} steps: {distance}")
