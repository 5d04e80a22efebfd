"""`edgernn train TASK`: train a model and leave a run folder. The options are the fields of the task's settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from edgernn.cli.console import messages, print_json, print_message, print_text, print_warning
from edgernn.cli.interruption import EXIT_INTERRUPT, interruption, note_interruptions
from edgernn.cli.options import Json, given
from edgernn.cli.task_commands import TaskCommands, Threads, option, setting_options, task_command
from edgernn_runtime.errors import DataError, EdgeRNNError, InputError, MissingExtraError

if TYPE_CHECKING:
    from edgernn.tasks.task import AnyTask, Data
    from edgernn.training import Run, Trainer, TrainingResult
    from edgernn.training.group import Group

EXIT_ERROR = 1

_CHANGEABLE = ("max_steps", "max_seconds", "threads", "json", "output", "resume")

Output = Annotated[Path, typer.Option("-o", "--output", help="The run folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]


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

    options = [
        option("output", Output),
        *setting_options(task.settings),
        option("threads", Threads, None),
        option("resume", Resume, default=False),
        option("json", Json, default=False),
    ]
    text = f"{task.summary}\n\nCtrl-C leaves a run that --resume continues."
    return task_command(task, command, options, text=text, summary=task.summary)


class _Tasks(TaskCommands):
    def command_of(self, task: "AnyTask") -> object:
        return _command(task)


app = typer.Typer(cls=_Tasks, help="Train a model and leave a run folder.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _train() -> None:
    """Train a model and leave a run folder."""


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
    """Train a task, from the beginning or from where the run in the folder is, alone or as one process of a group."""
    import torch

    from edgernn.training.group import Group

    if threads is not None:
        torch.set_num_threads(threads)
    group = Group.from_torchrun(_again(task.name, output))

    def train(ended: "Sequence[int]") -> None:
        run, data = _open(task, context, output, values, resume=resume, group=group)
        _train_run(run, data, resume=resume, json=json, group=group, ended=ended)

    if group.size == 1:
        train(())
        return
    try:
        train(note_interruptions())  # torchrun ends all once one has ended; each says first what there is to say
    except (EdgeRNNError, OSError):
        if group.tells():
            raise
        raise typer.Exit(EXIT_ERROR) from None


def _train_run(run: "Run", data: "Data", *, resume: bool, json: bool, group: "Group", ended: "Sequence[int]") -> None:
    """Train a run; the first process has the folder, and says what there is to say."""
    from edgernn.training import Trainer

    trainer = Trainer(run, data, resume=resume, group=group)
    if group.first:
        _prepare(run, data, resume=resume)
        weights = sum(each.numel() for each in trainer.model.parameters())
        together = f"; {group.size} processes" if group.size > 1 else ""
        print_message(
            f"{run.settings.cell}, {run.settings.layers} x {run.settings.hidden}, {weights:,} weights; "
            f"{data.summary}{together}"
        )
        for warning in data.warnings:
            print_warning(warning)
        if trainer.position.finished:
            print_message("the budget is spent already; give a larger --max-steps or --max-seconds to go on")
    result = _train_with_progress(trainer, ended, shown=group.first)
    if group.first:
        _finish(run, result, json=json)
    elif result.interrupted:
        raise typer.Exit(EXIT_INTERRUPT)


def _again(task: str, folder: Path) -> str:
    """Return the command that goes on with a run."""
    return f"edgernn train {task} -o {folder} --resume"


def _prepare(run: "Run", data: "Data", *, resume: bool) -> None:
    """Write the folder of a run, but for what training writes."""
    if resume:
        run.save()
        run.write_recordings(data)
    else:
        run.create(data)


def _open(
    task: "AnyTask",
    context: typer.Context,
    folder: Path,
    values: dict[str, object],
    *,
    resume: bool,
    group: "Group",
) -> "tuple[Run, Data]":
    """Return the run and its data; the first process opens it, and tells the others."""
    from edgernn.training import Run

    opened = None
    if group.first:
        opened = _reopen(task, context, folder, values) if resume else _begin(task, folder, values)
    if group.size == 1 and opened is not None:
        return opened
    told = (opened[0].settings, opened[0].facts, opened[0].data_sha256) if opened is not None else None
    told = group.from_first(told)
    assert told is not None  # noqa: S101, the first has opened it
    run, data = opened or (Run(folder, task, *told), task.read(told[0]))
    others = [rank for rank, sha256 in enumerate(group.gathered(data.sha256)) if sha256 != run.data_sha256]
    if others:
        what = run.settings.data or "the data of the task"
        raise DataError(f"{what} is not the same for process {others[0]} as for process 0; copy it to all machines")
    return run, data


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


def _train_with_progress(trainer: "Trainer", ended: "Sequence[int]", *, shown: bool) -> "TrainingResult":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from edgernn.training import Progress as Step

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=messages, refresh_per_second=4, disable=not (shown and messages.is_terminal))
    with interruption() as interrupted, progress as bar:
        task = bar.add_task("training", total=1.0)

        def report(step: Step) -> None:
            losses = f"loss {step.loss:.3f}  best valid {step.valid_loss:.3f}"
            text = f"step {step.step}  {losses}  {step.steps_per_s:,.1f} steps/s"
            bar.update(task, completed=step.spent, description=text)

        result: TrainingResult = trainer.train(stop=lambda: bool(interrupted or ended), report=report)
        return result


def _finish(run: "Run", result: "TrainingResult", *, json: bool) -> None:
    from edgernn.training.curve import write_curve

    position = result.position
    try:
        write_curve(run)
    except MissingExtraError as error:
        print_warning(str(error))
    if result.interrupted:
        print_message(f"interrupted at step {position.step}; go on with: {_again(run.task.name, run.folder)}")
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
        f"{position.best_loss:.4f} {run.task.loss_unit}{metrics}, at step {position.best_step}"
    )
