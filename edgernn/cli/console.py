"""Where results and messages go: results to stdout, everything else to stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgernn_export.finite import finite

_WIDEST: Final = 10_000
"""Columns that no table fills."""

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""Progress, timing, warnings and errors."""


def print_json(value: object) -> None:
    """Print one JSON object on one line to stdout; NaN and infinity become null."""
    sys.stdout.write(json.dumps(finite(value), ensure_ascii=False) + "\n")


def print_text(text: str) -> None:
    """Print a line of a result to stdout."""
    sys.stdout.write(text + "\n")


def print_table(table: Table) -> None:
    """Print a table to stdout, as wide as it needs: a line may be longer than the terminal, but no figure is cut."""
    results = Console(highlight=False, markup=False)
    needed = results.measure(table, options=results.options.update(width=_WIDEST)).maximum
    Console(highlight=False, markup=False, width=max(results.width, needed)).print(table)


def print_message(text: str) -> None:
    """Print a line to stderr."""
    messages.print(text)


def print_warning(text: str) -> None:
    """Print a warning to stderr."""
    print_message(f"warning: {text}")


def print_error(text: str) -> None:
    """Print an error to stderr, in one line."""
    print_message("error: " + " ".join(text.split()))


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr; yield a function that takes what is being done, how much of it is done, and of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


def new_table(*columns: str) -> Table:
    """Return an empty table; every column but the first is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table
