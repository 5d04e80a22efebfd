"""`edgernn verify`: a step model against its source, or against another step model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import new_table, print_json, print_table, print_text
from edgernn.cli.options import Data, Json, ModelFile
from edgernn.cli.tokens import find_tokens
from edgernn_runtime.errors import DataError, GateError, ParityError

if TYPE_CHECKING:
    from edgernn_export.verification import FreeRunning, VerifyReport
    from edgernn_runtime import Engine


def verify(
    model: ModelFile,
    against: Annotated[Path, typer.Option(help="A run folder, or another step model.", metavar="RUN|MODEL")],
    steps: Annotated[int, typer.Option(min=2, help="Steps of each comparison.")] = 10_000,
    data: Data = None,
    max_drift: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Fail if an output differs by more, teacher-forced (default: 1e-3 if both are float32).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the shared sampling noise.")] = 0,
    json: Json = False,
) -> None:
    """Compare a model with its run, or with another model.

    Along one long stream, teacher-forced and free-running.
    """
    from edgernn_export.verification import FLOAT_TOLERANCE
    from edgernn_export.verification import verify as compare

    candidate = _open_checked(model)
    source = _source(against)
    tokens = find_tokens(candidate.spec, folder=against if against.is_dir() else model.parent, data=data, limit=steps)
    if tokens.size < steps:
        raise DataError(
            f"the text has {tokens.size} tokens, fewer than the {steps} steps; lower --steps, or give --data"
        )
    floats = candidate.spec.precision == source.spec.precision == "float32"
    tolerance = FLOAT_TOLERANCE if max_drift is None and floats else max_drift
    report = compare(source, candidate, list(tokens), tolerance=tolerance, seed=seed)
    if json:
        print_json(_to_json(report))
    else:
        _print(report)
    if not report.passed:
        forced = report.teacher_forced
        found = f"{model} differs from {against} by {forced.max_abs:.2e} at most, the limit is {tolerance:g}"
        worst = "" if forced.worst_state is None else f"; the state to look at is {forced.worst_state}"
        raise (ParityError if max_drift is None else GateError)(found + worst)


def _open_checked(path: Path) -> "Engine":
    """Return a model file as an engine; its weights must be those that its id names."""
    from edgernn_export.metadata import read_model
    from edgernn_runtime.engines.ort import OrtEngine

    engine = OrtEngine(path)
    read_model(path)
    return engine


def _source(against: Path) -> "Engine":
    if not against.is_dir():
        return _open_checked(against)
    import torch

    from edgernn.training import Run
    from edgernn_export import TorchEngine

    torch.set_num_threads(1)
    return TorchEngine(Run.open(against).step_module())


def _to_json(report: "VerifyReport") -> dict[str, object]:
    forced = report.teacher_forced
    free = None
    if report.greedy is not None and report.sampled is not None:
        runs = (report.greedy, report.sampled)
        divergences = [run.first_divergence for run in runs if run.first_divergence is not None]
        free = {
            "first_divergence": min(divergences, default=None),
            "agreement": min(run.agreement for run in runs),
            "greedy": asdict(report.greedy),
            "sampled": asdict(report.sampled),
        }
    return {
        "steps": report.steps,
        "teacher_forced": {
            "max_abs": forced.max_abs,
            "mean_abs": forced.mean_abs,
            "kl_nats": forced.kl_nats,
            "first_divergence": forced.first_divergence,
            "states": [asdict(state) for state in forced.states],
        },
        "free_running": free,
        "worst_state": forced.worst_state,
        "passed": report.passed,
    }


def _print(report: "VerifyReport") -> None:
    from edgernn_export.verification import FLOAT_TOLERANCE

    forced = report.teacher_forced
    kl = "" if forced.kl_nats is None else f", KL {forced.kl_nats:.2e} nats a step"
    distance = f"largest difference {forced.max_abs:.2e}, mean {forced.mean_abs:.2e}"
    print_text(f"{report.steps} steps, teacher-forced: {distance}{kl}")
    limit = FLOAT_TOLERANCE if report.tolerance is None else report.tolerance
    table = new_table("state", "largest difference", f"above {limit:g} at step")
    for state in forced.states:
        table.add_row(state.name, f"{state.max_abs:.2e}", "-" if state.diverged is None else str(state.diverged))
    print_table(table)
    for name, run in (("greedy", report.greedy), ("sampled with shared noise", report.sampled)):
        if run is not None:
            print_text(f"free-running, {name}: {_describe(run)}")
    if report.tolerance is not None:
        print_text(f"{'passed' if report.passed else 'failed'}: the limit is {report.tolerance:g}")
    else:
        print_text("no limit was set (--max-drift)")


def _describe(run: "FreeRunning") -> str:
    if run.first_divergence is None:
        return f"the same token at every one of {run.steps} steps"
    first = f"first other token at step {run.first_divergence} (margin {run.margin:.2e})"
    return f"{first}, {run.agreement:.1%} of tokens equal"
