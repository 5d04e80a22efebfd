"""`edgernn train TASK`: train a model and leave a run folder. The options are the fields of the task's settings."""

import inspect
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edgernn.cli.console import messages, print_json, print_message, print_text, print_warning
from edgernn.cli.options import Json, given
from edgernn_runtime.errors import DataError, InputError, MissingExtraError

if TYPE_CHECKING:
    from edgernn.tasks.settings import Setting, Settings
    from edgernn.tasks.task import AnyTask, Data
    from edgernn.training import Run, Trainer, TrainingResult

EXIT_INTERRUPT = 130

_CHANGEABLE = ("max_steps", "max_seconds", "threads", "json", "output", "resume")

Output = Annotated[Path, typer.Option("-o", "--output", help="The run folder.")]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="Threads of torch (default: its own choice).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]


class _Tasks(TyperGroup):
    """The installed tasks as commands; each is loaded when it is asked for."""

    def list_commands(self, _: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of the tasks."""
        from edgernn.tasks import task_names

        return list(task_names())

    def get_command(self, _: typer.Context, name: str) -> Any:  # type: ignore[override]  # noqa: ANN401, typer's own
        """Return the command of a task; None if there is none of that name."""
        from edgernn.tasks import find_task, task_names

        return _command(find_task(name)) if name in task_names() else None


app = typer.Typer(cls=_Tasks, help="Train a model and leave a run folder.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _train() -> None:
    """Train a model and leave a run folder."""


def _command(task: "AnyTask") -> object:
    """Return the command that trains a task."""

    def command(
        context: typer.Context,
        *,
        output: Path,
        threads: int | None,
        resume: bool,
        json: bool,
        **values: object,
    ) -> None:
        _run(task, context, output, values, threads=threads, resume=resume, json=json)

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            inspect.Parameter("output", keyword, annotation=Output),
            *_options(task.settings),
            inspect.Parameter("threads", keyword, default=None, annotation=Threads),
            inspect.Parameter("resume", keyword, default=False, annotation=Resume),
            inspect.Parameter("json", keyword, default=False, annotation=Json),
        ]
    )
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    text = f"{task.summary}\n\nCtrl-C leaves a run that --resume continues."
    single.command(task.name, help=text, short_help=task.summary)(command)
    made: object = get_command(single)
    return made


def _options(settings: "type[Settings]") -> list[inspect.Parameter]:
    """Return an option for each field of a task's settings, the task's own first."""
    from edgernn.tasks.settings import Settings, described

    shared = described(Settings)
    parts = described(settings)
    defaults = {field.name: field.default for field in fields(settings)}
    ordered = sorted(parts, key=lambda name: name in shared and name != "data")
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=Annotated[cast("Any", parts[name][0]), _option(parts[name][1])],
        )
        for name in ordered
    ]


def _option(setting: "Setting") -> Any:  # noqa: ANN401, typer's own
    return typer.Option(help=setting.help, min=setting.least, max=setting.most)


def _run(
    task: "AnyTask",
    context: typer.Context,
    output: Path,
    values: dict[str, object],
    *,
    threads: int | None,
    resume: bool,
    json: bool,
) -> None:
    """Train a task, from the beginning or from where the run in the folder is."""
    import torch

    from edgernn.training import Trainer

    if threads is not None:
        torch.set_num_threads(threads)
    run, data = _reopen(task, context, output, values) if resume else _begin(task, output, values)
    trainer = Trainer(run, data, resume=resume)
    if resume:
        run.save()
        run.write_recordings(data)
    else:
        run.create(data)
    weights = sum(each.numel() for each in trainer.model.parameters())
    print_message(
        f"{run.settings.cell}, {run.settings.layers} x {run.settings.hidden}, {weights:,} weights; {data.summary}"
    )
    for warning in data.warnings:
        print_warning(warning)
    if trainer.position.finished:
        print_message("the budget is spent already; give a larger --max-steps or --max-seconds to go on")
    _finish(run, _train_with_progress(trainer), json=json)


def _begin(task: "AnyTask", folder: Path, values: dict[str, object]) -> "tuple[Run, Data]":
    from edgernn.training import Run

    settings = task.settings(**cast("Any", values))
    data = task.read(settings)
    run = Run(folder, task, settings, data.facts, data.sha256)
    run.check_new()
    return run, data


def _reopen(task: "AnyTask", context: typer.Context, folder: Path, values: dict[str, object]) -> "tuple[Run, Data]":
    from edgernn.training import Run

    fixed = [name for name in given(context) if name not in _CHANGEABLE]
    if fixed:
        raise InputError(f"a resumed run keeps its settings; --{fixed[0].replace('_', '-')} cannot change")
    run = Run.open(folder)
    if run.task.name != task.name:
        raise InputError(f"{folder} holds a run of the task {run.task.name}; go on with: edgernn train {run.task.name}")
    data = task.read(run.settings)
    if data.sha256 != run.data_sha256:
        raise DataError(f"{run.settings.data or 'the data of the task'} is not what {folder} was trained on")
    budget = {name: values[name] for name in ("max_steps", "max_seconds")}
    if any(value is not None for value in budget.values()):
        run = replace(run, settings=replace(run.settings, **cast("Any", budget)))
    return run, data


def _train_with_progress(trainer: "Trainer") -> "TrainingResult":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from edgernn.training import Progress as Step

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with _interruption() as interrupted, Progress(*columns, console=messages, refresh_per_second=4) as bar:
        task = bar.add_task("training", total=1.0)

        def report(step: Step) -> None:
            losses = f"loss {step.loss:.3f}  best valid {step.valid_loss:.3f}"
            text = f"step {step.step}  {losses}  {step.steps_per_s:,.1f} steps/s"
            bar.update(task, completed=step.spent, description=text)

        result: TrainingResult = trainer.train(stop=lambda: bool(interrupted), report=report)
        return result


@contextmanager
def _interruption() -> Iterator[list[int]]:
    """Yield a list that holds a signal's number once Ctrl-C or a termination asks the run to end."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _finish(run: "Run", result: "TrainingResult", *, json: bool) -> None:
    from edgernn.training.curve import write_curve

    position = result.position
    try:
        write_curve(run)
    except MissingExtraError as error:
        print_warning(str(error))
    if result.interrupted:
        command = f"edgernn train {run.task.name} -o {run.folder} --resume"
        print_message(f"interrupted at step {position.step}; go on with: {command}")
        raise typer.Exit(EXIT_INTERRUPT)
    if json:
        print_json(
            {
                "run_dir": str(run.folder),
                "steps": position.step,
                "train_loss": position.train_loss,
                "valid_loss": position.best_loss,
                **position.best_metrics,
                "seconds": position.elapsed_s,
            }
        )
        return
    metrics = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in position.best_metrics.items())
    print_text(
        f"{run.folder}: {position.step} steps in {position.elapsed_s:.0f} s, validation loss "
        f"{position.best_loss:.4f} nats per {run.task.unit}{metrics}, at step {position.best_step}"
    )
