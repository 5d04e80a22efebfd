"""`edgernn export`: a run becomes one self-describing ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Force, Json


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file (default RUN/model.onnx).")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Export a run as a step model, checked against torch."""
    from edgernn.training import Run
    from edgernn_export import export as export_step

    report = export_step(Run.open(run).step_module(), output or run / "model.onnx", overwrite=force)
    spec = report.spec
    assert spec.parity is not None  # noqa: S101, an export always measures it
    if json:
        print_json(
            {
                "path": str(report.path),
                "bytes": report.bytes,
                "states": [state.input for state in spec.states],
                "opset": spec.producer.opset,
                "lowering": spec.lowering,
                "parity": {"steps": spec.parity.steps, "max_abs": spec.parity.max_abs},
                "passes": list(report.passes),
            }
        )
        return
    print_text(
        f"{report.path}: {report.bytes:,} bytes, {len(spec.states)} state tensors, equal to torch within "
        f"{spec.parity.max_abs:.1e} over {spec.parity.steps} steps"
    )
