"""`edgernn search TASK`: choose hyperparameters by validation, and by how long a step of the int8 model takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from edgernn.cli.console import messages, new_table, print_json, print_message, print_table, print_text
from edgernn.cli.interruption import EXIT_INTERRUPT, interruption
from edgernn.cli.options import Json, given
from edgernn.cli.task_commands import TaskCommands, Threads, option, setting_options, task_command
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn.search.notes import Note
    from edgernn.search.search import Found, Place, Search
    from edgernn.search.trial import Watch
    from edgernn.tasks.task import AnyTask

_CHANGEABLE = ("output", "trials", "max_seconds", "max_step_us", "storage", "study", "threads", "resume", "json")
_BUDGET = ("max_steps", "max_seconds")
_VALIDATIONS = 4
_TRIALS = 20

Output = Annotated[Path, typer.Option("-o", "--output", help="The folder of the search.")]
Tried = Annotated[
    list[str] | None,
    typer.Option(
        "--try",
        help="What a setting may be, as in hidden=64..512/32, learning_rate=1e-3..1e-2 (logarithmic), cell=lstm,gru or "
        "l1=0,1e-7..1e-5; may be repeated. An option that is given is not searched.",
        metavar="SETTING=VALUES",
    ),
]
TrialSteps = Annotated[int | None, typer.Option(min=1, help="The budget of a trial in optimiser steps.")]
TrialSeconds = Annotated[
    float | None, typer.Option(min=0, help="The budget of a trial in seconds; without one, that of edgernn train.")
]
TrialCount = Annotated[int | None, typer.Option(min=1, help="Trials in all; 20 without it and without --max-seconds.")]
MaxSeconds = Annotated[
    float | None, typer.Option(min=0, help="Begin no trial that would not end within so many seconds.")
]
MaxStep = Annotated[
    float | None,
    typer.Option(
        "--max-step-us",
        min=0,
        help="The longest that a step of the answer may take; models far slower are not trained.",
    ),
]
Early = Annotated[bool, typer.Option("--early/--no-early", help="Stop trials that fall behind.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="The database that workers share, as in postgresql://USER:PASSWORD@HOST/NAME; without it, search.db in "
        "the folder.",
        metavar="URL",
    ),
]
Study = Annotated[str | None, typer.Option(help="What the search is called in the database (default: the task).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a search, or join it as one more worker.")]


def _command(task: "AnyTask") -> object:
    """Return the command that searches for a task."""

    def command(
        context: typer.Context,
        *,
        output: Path,
        threads: int | None,
        storage: str | None,
        study: str | None,
        resume: bool,
        trials: int | None,
        max_seconds: float | None,
        max_step_us: float | None,
        json: bool,
        **values: object,
    ) -> None:
        import torch

        from edgernn.search.optuna import check_optuna

        check_optuna()
        from edgernn.search.search import Place, join
        from edgernn.search.worker import Budget

        if threads is not None:
            torch.set_num_threads(threads)
        place = Place(output, storage, study or task.name)
        if max_step_us == 0:
            raise InputError("--max-step-us must be above 0")
        if resume:
            _check_unchanged(context)
            search = join(place, task, max_step_us=max_step_us)
        else:
            search = _begin(task, context, place, values, max_step_us=max_step_us)
        default = None if max_seconds is not None else _TRIALS
        _work(search, Budget(trials or default, max_seconds), json=json)

    settings = [each for each in setting_options(task.settings) if each.name not in _BUDGET]
    options = [
        option("output", Output),
        option("tried", Tried, None),
        option("trial_steps", TrialSteps, None),
        option("trial_seconds", TrialSeconds, None),
        option("trials", TrialCount, None),
        option("max_seconds", MaxSeconds, None),
        option("max_step_us", MaxStep, None),
        option("early", Early, default=True),
        option("storage", Storage, None),
        option("study", Study, None),
        *settings,
        option("threads", Threads, None),
        option("resume", Resume, default=False),
        option("json", Json, default=False),
    ]
    text = f"Search the settings of: {task.summary}\n\nCtrl-C leaves a search that --resume continues."
    return task_command(task, command, options, text=text, summary=task.summary)


class _Tasks(TaskCommands):
    def command_of(self, task: "AnyTask") -> object:
        return _command(task)


app = typer.Typer(
    cls=_Tasks,
    help="Search settings by validation loss and step latency.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _search() -> None:
    """Search settings by validation loss and step latency."""


def _check_unchanged(context: typer.Context) -> None:
    fixed = [name for name in given(context) if name not in _CHANGEABLE]
    if fixed:
        name = {"tried": "try"}.get(fixed[0], fixed[0]).replace("_", "-")
        raise InputError(f"a resumed search keeps its settings; --{name} cannot change")


def _begin(
    task: "AnyTask", context: typer.Context, place: "Place", values: dict[str, Any], *, max_step_us: float | None
) -> "Search":
    """Return a new search, of the settings that are not given."""
    from edgernn.search.search import begin
    from edgernn.search.space import read_space

    tried, steps, seconds, early = (values.pop(name) for name in ("tried", "trial_steps", "trial_seconds", "early"))
    fixed = [name for name in given(context) if name in values]
    if steps is not None and "valid_every" not in fixed:
        values["valid_every"] = min(values["valid_every"], -(-steps // _VALIDATIONS))
    settings = task.settings(**cast("Any", values), max_steps=steps, max_seconds=seconds)
    space = read_space(settings, tried or [], fixed=fixed)
    return begin(place, task, settings, space, max_step_us=max_step_us, early=early)


def _work(search: "Search", budget: Any, *, json: bool) -> None:  # noqa: ANN401, loads torch
    """Carry out trials, and print what was found."""
    folder, plan = search.place.folder, search.plan
    print_message(f"the default takes {plan.reference_us:.1f} us a step; searching {', '.join(plan.space.names)}")
    with interruption() as interrupted, _watch(interrupted) as watch:
        done = search.work(budget, watch)
    if not done:
        command = f"edgernn search {plan.task.name} -o {folder}{_where(search)} --resume --trials {budget.trials}"
        print_message(f"interrupted; the trial under way is put back; go on with: {command}")
        raise typer.Exit(EXIT_INTERRUPT)
    print_message("exporting the answer")
    found = search.finish()
    if json:
        print_json(found.record)
    else:
        _print(found, folder)
    if found.error is not None:
        raise found.error


def _where(search: "Search") -> str:
    """Return the options that say where a search lies, but for its folder; an URL may hold a password."""
    storage = "" if search.place.storage is None else " --storage URL"
    return storage + (f" --study {search.place.study}" if search.place.study != search.plan.task.name else "")


@contextmanager
def _watch(interrupted: list[int]) -> "Iterator[Watch]":
    """Yield what shows a search on stderr: a line for each event, and a bar for the training under way."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from edgernn.search.trial import Watch
    from edgernn.training import Progress as Step

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("training", total=1.0)

        def progress(step: Step) -> None:
            bar.update(task, completed=step.spent, description=f"step {step.step}  best valid {step.valid_loss:.3f}")

        yield Watch(stop=lambda: bool(interrupted), say=print_message, progress=progress)


def _print(found: "Found", folder: Path) -> None:
    from edgernn.search.frontier import choice, default_of, frontier

    best, default = frontier(found.notes), default_of(found.notes)
    chosen = choice(found.notes, found.plan.max_step_us)
    print_table(_table(found, best, default, chosen))
    counts = cast("dict[str, int]", found.record["trials"])
    print_text(", ".join(f"{count} {ending.replace('_', ' ')}" for ending, count in counts.items()))
    if chosen is None or found.answer is None:
        return
    answer = found.answer
    if default is not None and chosen is not default:
        faster, better = default.step_us / chosen.step_us, default.valid_loss - chosen.valid_loss
        words = f"{abs(better):.4f} nats {'better' if better >= 0 else 'worse'}"
        print_text(f"trial {chosen.number}: {words} than the default, {faster:.2f} times as fast")
    print_text(
        f"{answer.model}: {answer.bytes:,} bytes; {answer.int8}: {answer.bytes_int8:,} bytes, "
        f"{answer.step_us:.1f} us a step, int8 costs {answer.loss:+.2%}"
    )
    print_text(f"{folder / 'frontier.svg'} shows all trials; the run of the answer lies in {chosen.folder}")


def _table(found: "Found", best: "list[Note]", default: "Note | None", chosen: "Note | None") -> Table:
    """Return the frontier, fastest first, and the default."""
    from edgernn.search.space import short

    names = found.plan.space.names
    table = new_table("trial", *names, "valid loss", "step us", "bytes", "")
    rows = [*best, *([] if default is None or default in best else [default])]
    for each in rows:
        marks = ["chosen" * (each is chosen), "default" * each.default, "" if each in best else "not on the frontier"]
        figures = (f"{each.valid_loss:.4f}", f"{each.step_us:.1f}", f"{each.bytes:,}")
        values = (short(each.values[name]) for name in names)
        table.add_row(str(each.number), *values, *figures, ", ".join(filter(None, marks)))
    return table
