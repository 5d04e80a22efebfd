"""Tables of series: columns of numbers over time, read from CSV files."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import DataError

_LARGEST: Final = float(np.finfo(np.float32).max)
_MISSING: Final = {"", "na", "nan", "n/a", "null", "none"}
_TIME_WORDS: Final = {"", "index", "time", "date", "datetime", "timestamp", "year", "month", "week", "day", "hour"}


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Columns of numbers over time.

    Attributes:
        columns: The name of each column.
        values: float32 `[steps, columns]`, NaN where a value is missing.
        left_out: Columns of the table that are none of the series: times, an index, and text.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float32]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: tuple[str, ...]
    lines: tuple[int, ...]

    @property
    def has_numbers(self) -> bool:
        return any(_number(cell) is not None for cell in self.cells if not _is_missing(cell))

    @property
    def is_missing(self) -> bool:
        return all(map(_is_missing, self.cells))

    @property
    def counts_time(self) -> bool:
        """Whether the column is named like a time, or rises by the same number from each line to the next."""
        if self.name.lower() in _TIME_WORDS:
            return True
        numbers = [_number(cell) for cell in self.cells]
        known = np.array([number for number in numbers if number is not None])
        if len(known) < len(numbers) or len(known) < 3:
            return False
        rises = np.diff(known)
        return bool(rises[0] > 0 and np.allclose(rises, rises[0]))

    def values(self, path: Path) -> NDArray[np.float32]:
        """Return the numbers, NaN where one is missing; DataError at a cell that is none."""
        numbers = []
        for cell, line in zip(self.cells, self.lines, strict=True):
            number = math.nan if _is_missing(cell) else _number(cell)
            if number is None or abs(number) > _LARGEST:
                found = f"{cell!r}, which is no number" if number is None else f"{cell}, which is infinite in float32"
                raise DataError(
                    f"{path}, line {line}: column {self.name} holds {found}; missing values are empty, NA or NaN"
                )
            numbers.append(number)
        return np.array(numbers, np.float32)


def read_series(path: Path, columns: Sequence[str] | None = None) -> Series:
    """Return the series in a CSV file with a line of names: its columns of numbers.

    A first column that counts the time is left out, and so is any column without a number. Cells that are empty or
    hold NA or NaN are missing values.

    Args:
        path: The file, UTF-8, with commas.
        columns: The columns to take, in this order; None for all that hold numbers.

    Raises:
        DataError: If the file cannot be read, holds no numbers, lacks a column, or a column is wholly missing or
            holds text beside its numbers.
    """
    table = _read_table(path)
    if columns is None:
        empty = [column for column in table if column.is_missing]
        if empty:
            raise DataError(f"{path}: column {empty[0].name} holds no value at all; leave it out with --columns")
        numbers = [column for column in table if column.has_numbers]
        timed = len(numbers) > 1 and numbers[0] is table[0] and numbers[0].counts_time
        chosen = numbers[1:] if timed else numbers
        if not chosen:
            raise DataError(f"{path} holds no column of numbers; it has {', '.join(each.name for each in table)}")
    else:
        named = {column.name: column for column in table}
        absent = [name for name in columns if name not in named]
        if absent or not columns:
            raise DataError(f"{path} has no column {', '.join(absent)}; it has {', '.join(named)}")
        chosen = [named[name] for name in dict.fromkeys(columns)]
        empty = [column for column in chosen if column.is_missing]
        if empty:
            raise DataError(f"{path}: column {empty[0].name} holds no value at all; choose others with --columns")
    values = np.stack([column.values(path) for column in chosen], axis=1)
    names = tuple(column.name for column in chosen)
    return Series(names, values, tuple(column.name for column in table if column.name not in names))


def _read_table(path: Path) -> list[_Column]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from error
    while rows and not any(rows[-1][1]):
        rows.pop()
    if len(rows) < 2:
        raise DataError(f"{path} has no rows of values; a line of column names and then a line a step are needed")
    names = rows[0][1]
    if len(set(names)) < len(names):
        raise DataError(f"{path} has two columns of one name: {', '.join(names)}")
    if all(_number(name) is not None for name in names):
        raise DataError(f"{path} must start with a line of column names, got {', '.join(names[:3])}")
    cells = []
    for line, row in rows[1:]:
        if row and len(row) != len(names):
            raise DataError(f"{path}, line {line}: {len(row)} cells, but there are {len(names)} columns")
        cells.append(row or [""] * len(names))
    lines = tuple(line for line, _ in rows[1:])
    return [_Column(name, column, lines) for name, column in zip(names, zip(*cells, strict=True), strict=True)]


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
