"""Where results and messages go: results to stdout, everything else to stderr."""

import json
import math
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""Progress, timing, warnings and errors."""


def print_json(value: object) -> None:
    """Print one JSON object on one line to stdout; NaN and infinity become null."""
    sys.stdout.write(json.dumps(_finite(value), ensure_ascii=False) + "\n")


def print_text(text: str) -> None:
    """Print a line of a result to stdout."""
    sys.stdout.write(text + "\n")


def print_table(table: Table) -> None:
    """Print a table to stdout, as wide as it needs where that is no terminal."""
    results = Console(highlight=False, markup=False)
    if not results.is_terminal:
        results = Console(highlight=False, markup=False, width=200)
    results.print(table)


def print_message(text: str) -> None:
    """Print a line to stderr."""
    messages.print(text)


def print_warning(text: str) -> None:
    """Print a warning to stderr."""
    print_message(f"warning: {text}")


def print_error(text: str) -> None:
    """Print an error to stderr, in one line."""
    print_message("error: " + " ".join(text.split()))


def new_table(*columns: str) -> Table:
    """Return an empty table; every column but the first is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _finite(value: Any) -> Any:  # noqa: ANN401, any JSON value
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
