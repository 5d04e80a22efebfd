"""Record: a benchmark that was run, and its JSON."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from edgernn import __version__
from edgernn_runtime.errors import DataError, first_line

OURS: Final = ("edgernn", "edgernn-native")
"""The peers that are edgernn: through ONNX Runtime, and compiled."""

_PACKAGES: Final = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a benchmark ran on.

    Attributes:
        cpu: The processor's name.
        cores: Those that the system shows.
        platform: The operating system and architecture.
        python: The version of Python.
        versions: Those of the packages that were measured, by name.
    """

    cpu: str
    cores: int
    platform: str
    python: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, packages: Iterable[str] = ()) -> "Machine":
        """Return this machine, with the versions of `packages` beside those that edgernn needs itself."""
        found = {"edgernn": __version__}
        for name in (*_PACKAGES, *packages):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return cls(_cpu(), os.cpu_count() or 1, platform.platform(), platform.python_version(), found)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one case in one precision, by the names of peers.

    Attributes:
        cell: The cell.
        hidden: Features of each layer.
        layers: Layers.
        vocabulary: Tokens.
        batch: Rows of a step.
        threads: Threads inside one operator.
        precision: How weights are stored.
        steps: Timed steps of each peer.
        bound: The largest error that was allowed, as a share of the largest logit.
        results: The median time of a step, in microseconds.
        p99_us: Its 99th percentile.
        checked: The largest error, as a share of the largest logit, also of peers that failed for it.
        missing: Why a peer could not be measured here.
        failed: Why a peer that could be was not.
    """

    cell: str
    hidden: int
    layers: int
    vocabulary: int
    batch: int
    threads: int
    precision: str
    steps: int
    bound: float
    results: Mapping[str, float]
    p99_us: Mapping[str, float]
    checked: Mapping[str, float]
    missing: Mapping[str, str]
    failed: Mapping[str, str]

    @property
    def best(self) -> str | None:
        """The fastest peer; None where none was measured."""
        return min(self.results, key=self.results.__getitem__, default=None)

    def lead(self) -> float | None:
        """Return how many times as fast as the best other peer edgernn is, in its faster form; None without either."""
        ours = [value for peer, value in self.results.items() if peer in OURS]
        others = [value for peer, value in self.results.items() if peer not in OURS]
        return min(others) / min(ours) if others and ours else None


@dataclass(frozen=True, slots=True)
class Record:
    """A benchmark that was run.

    Attributes:
        machine: What it ran on.
        rows: What was measured.
    """

    machine: Machine
    rows: tuple[Row, ...]

    def in_order(self) -> "Record":
        """Return the record with its rows by batch, threads, cell and size, whenever each was measured."""
        cells = list(dict.fromkeys(row.cell for row in self.rows))
        precisions = list(dict.fromkeys(row.precision for row in self.rows))

        def place(row: Row) -> tuple[int, ...]:
            return row.batch, row.threads, cells.index(row.cell), row.hidden, precisions.index(row.precision)

        return Record(self.machine, tuple(sorted(self.rows, key=place)))

    @property
    def peers(self) -> list[str]:
        """The peers of which something was measured, in the order of the rows."""
        return list(dict.fromkeys(name for row in self.rows for name in row.results))


def to_record(record: Record) -> dict[str, object]:
    """Return a benchmark under the keys of the command line's `--json`."""
    return {"machine": asdict(record.machine), "cases": [asdict(row) for row in record.rows]}


def read_record(path: Path) -> Record:
    """Return a benchmark that was saved.

    Raises:
        OSError: If the file cannot be read.
        DataError: If it holds no benchmark.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record(Machine(**content["machine"]), tuple(Row(**each) for each in content["cases"]))
        _check(record)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{path} holds no benchmark that edgernn bench saved: {first_line(error)}") from error
    return record


def _check(record: Record) -> None:
    """Raise a ValueError where a record does not hold what it is drawn and printed from."""
    if not record.rows:
        raise ValueError("it has no case")
    for row in record.rows:
        if not all(isinstance(each, int) and each > 0 for each in (row.hidden, row.batch, row.threads)):
            raise ValueError("hidden, batch and threads must be positive integers")
        for name in ("results", "p99_us", "checked"):
            if not all(isinstance(each, int | float) and each >= 0 for each in getattr(row, name).values()):
                raise ValueError(f"{name} must hold numbers")
        if not all(isinstance(each, str) for each in (*row.missing.values(), *row.failed.values())):
            raise ValueError("missing and failed must hold reasons")


def _cpu() -> str:
    """Return the processor's name."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
