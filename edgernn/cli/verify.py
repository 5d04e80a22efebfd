"""`edgernn verify`: a step model against its source, or against another step model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import new_table, print_json, print_message, print_table, print_text
from edgernn.cli.options import Data, Engine, EngineChoice, Force, Json, RunnablePath, engine_name
from edgernn.cli.recordings import find_recording
from edgernn_runtime.errors import GateError, InputError, ParityError

if TYPE_CHECKING:
    from edgernn_export import StepModule
    from edgernn_export.drift.free_running import FreeRunning
    from edgernn_export.drift.likeness import Likeness
    from edgernn_export.drift.report import VerifyReport
    from edgernn_runtime import Engine as StepEngine


def verify(
    model: RunnablePath,
    against: Annotated[
        str,
        typer.Option(
            help="A run folder, another step model, the one that MODEL was compiled from, or the torch module that "
            "MODEL was lifted from.",
            metavar="RUN|MODEL|MODULE:FACTORY",
        ),
    ],
    weights: Annotated[Path | None, typer.Option(help="A .safetensors or .pt file for MODULE:FACTORY.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of each comparison.")] = 10_000,
    data: Data = None,
    engine: Engine = None,
    max_drift: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Fail if an output differs by more, teacher-forced, at a step in 1,000 if it draws in "
            "its graph (default: 1e-3 if both are float32).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the shared sampling noise.")] = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            help="A folder for drift.png, drift.html and drift.json; needs edgernn[report].", metavar="FOLDER"
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compare a model with its run, or with another model.

    Along one long stream, teacher-forced and free-running.
    """
    from edgernn.artefacts.drift import check_drift_report, write_drift_report
    from edgernn_export.drift.record import to_record
    from edgernn_export.drift.teacher_forced import FLOAT_TOLERANCE
    from edgernn_export.verification import verify as compare

    if report is not None:
        check_drift_report(report, overwrite=force)
    candidate = _open_checked(model, engine)
    source = _source(against, model, weights)
    run = _run_of(Path(against), model)
    recording = find_recording(candidate.spec, model, run=run, data=data, limit=steps)
    if len(recording) < steps:
        print_message(f"there are {len(recording)} steps to measure on; they are fed again until there are {steps}")
        recording = recording.repeated(steps)
    floats = candidate.spec.precision == source.spec.precision == "float32"
    tolerance = FLOAT_TOLERANCE if max_drift is None and floats else max_drift
    measured = compare(source, candidate, recording, tolerance=tolerance, seed=seed)
    if report is not None:
        write_drift_report(report, {model.absolute().name: measured}, overwrite=force)
        print_message(f"the drift report lies in {report}")
    if json:
        print_json(to_record(measured))
    else:
        _print(measured, "token" if candidate.spec.vocabulary else "frame")
    if not measured.passed:
        found = f"{model} differs from {against} by {measured.teacher_forced.max_abs:.2e} at most"
        raise (ParityError if max_drift is None else GateError)(
            f"{found}, the limit is {tolerance:g}{_worst(measured)}"
        )


def _open_checked(path: Path, engine: EngineChoice | None = None) -> "StepEngine":
    """Return a model as an engine; the weights of every file must be those that its id names."""
    from edgernn_export.metadata import read_model
    from edgernn_runtime.bundle_spec import read_bundle
    from edgernn_runtime.engines.opening import Opening, is_native, open_engine

    opened = open_engine(path, Opening(engine_name(engine)))
    if is_native(path):
        return opened
    for file in [path / stage.file for stage in read_bundle(path).stages.values()] if path.is_dir() else [path]:
        read_model(file)
    return opened


def _run_of(against: Path, model: Path) -> Path | None:
    """Return the run whose data measure, where it is not the one that the model lies in: that of what it is against."""
    folders = [against] if (model.absolute().parent / "run.json").is_file() else [against, against.absolute().parent]
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _source(against: str, model: Path, weights: Path | None) -> "StepEngine":
    """Return what a model is compared with."""
    path = Path(against)
    if weights is not None and (":" not in against or path.exists()):
        raise InputError("--weights is for MODULE:FACTORY")
    if (path / "bundle.json").is_file() or (not path.is_dir() and (path.exists() or ":" not in against)):
        return _open_checked(path)
    import torch

    from edgernn_export import TorchEngine

    torch.set_num_threads(1)
    if path.is_dir():
        return _trained(path, model)
    return TorchEngine(_lifted_again(against, model, weights))


def _trained(folder: Path, model: Path) -> "StepEngine":
    """Return the model of a run in torch, or the stage of it that a model file in a bundle holds."""
    from edgernn.training import Run
    from edgernn_export import StagedModules, TorchEngine
    from edgernn_runtime.engines.staged import StagedEngine

    modules = Run.open(folder).step_modules()
    if not isinstance(modules, StagedModules):
        return TorchEngine(modules)
    if model.is_dir():
        return StagedEngine(modules.spec, {name: TorchEngine(step) for name, step in modules.steps.items()})
    stage = model.name.partition(".")[0]
    if stage not in modules.steps:
        raise InputError(f"{folder} has no stage {stage}; it has {', '.join(modules.steps)}")
    return TorchEngine(modules.steps[stage])


def _lifted_again(against: str, model: Path, weights: Path | None) -> "StepModule":
    """Return the step of a torch module, lifted as a model was."""
    from edgernn.factory import make_module
    from edgernn_export import LiftOptions, lift
    from edgernn_export.metadata import read_example, read_model

    proto, spec, _ = read_model(model)
    example = read_example(proto)
    if not example:
        raise InputError(f"{model} was not lifted from a torch module; compare it with its run, or another model")
    options = LiftOptions(
        frames_per_step=spec.frames_per_step,
        allow_delay=spec.delay_steps > 0,
        batch=spec.batch,
        generative=spec.feedback is not None,
        start=None if spec.feedback is None else spec.feedback.start,
        rate_hz=spec.rate_hz,
    )
    return lift(make_module(against, weights), example, options)


def _print(report: "VerifyReport", what: str) -> None:
    from edgernn_export.drift.teacher_forced import FLOAT_TOLERANCE

    forced = report.teacher_forced
    kl = "" if forced.kl_nats is None else f", KL {forced.kl_nats:.2e} nats a step"
    distance = f"largest difference {forced.max_abs:.2e}, mean {forced.mean_abs:.2e}"
    print_text(f"{report.steps} steps, teacher-forced: {distance}{kl}")
    limit = FLOAT_TOLERANCE if report.tolerance is None else report.tolerance
    if forced.redrawn is not None:
        print_text(f"it draws in its graph: from equal states, {forced.redrawn} steps differ by more than {limit:g}")
    table = new_table("state", "largest difference", "of its largest value", f"above {limit:g} at step")
    for state in forced.states:
        diverged = "-" if state.diverged is None else str(state.diverged)
        table.add_row(state.name, f"{state.max_abs:.2e}", f"{state.relative:.2%}", diverged)
    print_table(table)
    for name, run in (("greedy", report.greedy), ("sampled with shared noise", report.sampled)):
        if run is not None:
            print_text(f"free-running, {name}: {_describe(run, what)}")
    if report.sampled is not None and report.sampled.likeness is not None:
        _print_likeness(report.sampled.likeness)
    if report.tolerance is not None:
        print_text(f"{'passed' if report.passed else 'failed'}: the limit is {report.tolerance:g}")
    else:
        print_text("no limit was set (--max-drift)")


def _print_likeness(likeness: "Likeness") -> None:
    """Print how far the sampled streams are apart, and what that says."""
    table = new_table("sampled streams", "from the source", "source, other seed", "limit")
    for distance in likeness.distances:
        bounds = ["-" if number is None else f"{number:.4f}" for number in (distance.yardstick, distance.limit)]
        table.add_row(distance.title, f"{distance.candidate:.4f}", *bounds)
    print_table(table)
    verdict = {
        True: "the streams part, and are as alike as two of the source: nothing shows another distribution",
        False: "the streams part, and are farther apart than two of the source: the distributions differ",
        None: "the model samples nothing, so no other stream of the source says how far apart is far",
    }
    print_text(verdict[likeness.same])


def _describe(run: "FreeRunning", what: str) -> str:
    """Return a sentence on how two models generate; `what` is `token` or `frame`."""
    if run.first_divergence is None:
        return f"the same {what} at every one of {run.steps} steps"
    margin = "" if run.margin is None else f", margin {run.margin:.2e}"
    there = "" if run.tokens is None else f" ({run.tokens[1]} for {run.tokens[0]}{margin})"
    return f"first other {what} at step {run.first_divergence}{there}, {run.agreement:.1%} of {what}s equal"


def _worst(report: "VerifyReport") -> str:
    """Return which state to look at, nothing for a model without any."""
    worst = report.teacher_forced.worst
    if worst is None:
        return ""
    return f"; the state to look at is {worst.name}, {worst.relative:.2%} of its largest value apart"
