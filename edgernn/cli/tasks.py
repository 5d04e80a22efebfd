"""`edgernn tasks`: what can be trained here."""

from edgernn.cli.console import new_table, print_json, print_table, print_warning
from edgernn.cli.options import Json
from edgernn_runtime.errors import InputError


def tasks(json: Json = False) -> None:
    """List the tasks that can be trained.

    Those of other packages too, which name them in the entry point group edgernn.tasks.
    """
    from edgernn.tasks import find_task, task_names

    found = []
    for name in task_names():
        try:
            found.append(find_task(name))
        except InputError as error:
            print_warning(str(error))
    if json:
        print_json([{"name": task.name, "summary": task.summary} for task in found])
        return
    table = new_table("task", "what it trains")
    table.columns[1].justify = "left"
    for task in found:
        table.add_row(task.name, task.summary)
    print_table(table)
