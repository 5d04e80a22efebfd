"""Commands that there is one of for each installed task, with the fields of the task's settings as options."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from edgernn.tasks.settings import Setting, Settings
    from edgernn.tasks.task import AnyTask


Threads = Annotated[int | None, typer.Option(min=1, max=256, help="Threads of torch (default: its own choice).")]


class TaskCommands(TyperGroup, ABC):
    """The installed tasks as commands; each is loaded when it is asked for. A subclass says what its command is."""

    @abstractmethod
    def command_of(self, task: "AnyTask") -> object:
        """Return the command of a task."""

    def list_commands(self, _: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of the tasks."""
        from edgernn.tasks import task_names

        return list(task_names())

    def get_command(self, _: typer.Context, name: str) -> Any:  # type: ignore[override]  # noqa: ANN401, typer's own
        """Return the command of a task; None if there is none of that name."""
        from edgernn.tasks import find_task, task_names

        return self.command_of(find_task(name)) if name in task_names() else None


def task_command(
    task: "AnyTask",
    run: Callable[..., None],
    options: Sequence[inspect.Parameter],
    *,
    text: str,
    summary: str,
) -> object:
    """Return a command of a task.

    Args:
        task: The task.
        run: Called with the context, and with the values of all options by name.
        options: The options.
        text: What its help says.
        summary: What the list of commands says of it.
    """

    def command(context: typer.Context, **values: object) -> None:
        run(context, **values)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    signature = inspect.Signature([context, *options])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(task.name, help=text, short_help=summary)(command)
    made: object = get_command(single)
    return made


def option(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """Return an option of a command; one without a default is required."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def setting_options(settings: "type[Settings]") -> list[inspect.Parameter]:
    """Return an option for each field of a task's settings, the task's own first."""
    from edgernn.tasks.settings import Settings, described

    shared = described(Settings)
    parts = described(settings)
    defaults = {field.name: field.default for field in fields(settings)}
    ordered = sorted(parts, key=lambda name: name in shared and name != "data")
    return [
        option(name, Annotated[cast("Any", parts[name][0]), _described(parts[name][1])], defaults[name])
        for name in ordered
    ]


def _described(setting: "Setting") -> Any:  # noqa: ANN401, typer's own
    return typer.Option(help=setting.help, min=setting.least, max=setting.most)
