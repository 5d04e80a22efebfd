"""The tasks that are installed: those that packages name in the entry point group `edgernn.tasks`."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from edgernn.tasks.settings import Settings
from edgernn.tasks.task import AnyTask, Task
from edgernn_runtime.errors import InputError, last_line

GROUP: Final = "edgernn.tasks"


def task_names() -> tuple[str, ...]:
    """Return the names of the installed tasks, edgernn's own first."""
    points = sorted(_points(), key=lambda point: (not point.value.startswith("edgernn."), point.name))
    return tuple(dict.fromkeys(point.name for point in points))


@cache
def find_task(name: str) -> AnyTask:
    """Return the task called `name`.

    Raises:
        InputError: If there is none, several packages bring one of that name, or it cannot be loaded.
    """
    found = [point for point in _points() if point.name == name]
    if not found:
        raise InputError(f"there is no task {name}; there are {', '.join(task_names())}")
    if len(found) > 1:
        raise InputError(f"several packages bring a task {name}: {', '.join(point.value for point in found)}")
    try:
        loaded: object = found[0].load()
        task = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise InputError(
            f"the task {name} ({found[0].value}) cannot be loaded: {type(error).__name__}: {last_line(error)}"
        ) from error
    if not isinstance(task, Task) or not issubclass(task.settings, Settings):
        raise InputError(f"{found[0].value} is no edgernn task: it must be a subclass of edgernn.tasks.Task")
    if task.name != name:
        raise InputError(f"{found[0].value} calls itself {task.name}, and its entry point {name}")
    return cast("AnyTask", task)


def _points() -> list[EntryPoint]:
    """Return the entry points; one that an installation left behind twice counts once."""
    return list({(point.name, point.value): point for point in entry_points(group=GROUP)}.values())
