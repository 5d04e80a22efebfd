"""The road that every recipe takes: a run is exported, quantized, verified and profiled through the command line."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PRECISIONS: Final = ("float32", "int8", "int4")
VERIFY_STEPS: Final = 10_000
EXIT_GATE: Final = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """One model of a run.

    Attributes:
        precision: How its weights are stored.
        path: The model file, or the folder of its bundle.
        size_bytes: Bytes of its files.
        drift: The largest difference of an output from the trained model's, over `VERIFY_STEPS` steps.
        agreement: The share of sampled tokens or frames that both choose; None for a model that generates nothing.
        p50_us: The median of a step, in microseconds.
    """

    precision: str
    path: Path
    size_bytes: int
    drift: float
    agreement: float | None
    p50_us: float


def edgernn(*arguments: object, gate: bool = False) -> dict[str, Any]:
    """Run a command of the command line, show it on stderr, and return its JSON, the last object it prints.

    With `gate` a limit that was exceeded is a result too.
    """
    given = [str(each) for each in arguments]
    sys.stderr.write(f"$ edgernn {' '.join(given)}\n")
    command = [sys.executable, "-m", "edgernn", *given, "--json"]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603, our own
    if done.returncode not in ((0, EXIT_GATE) if gate else (0,)):
        raise SystemExit(done.stderr.decode().strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(run: Path) -> list[Measured]:
    """Export a run and quantize it, and measure each model."""
    exported = Path(edgernn("export", run, "--force")["path"])
    suffix = exported.suffix
    paths = [exported, *(exported.with_name(f"{exported.stem}.{each}{suffix}") for each in PRECISIONS[1:])]
    sizes = [0, 0, 0]
    for i, (precision, path) in enumerate(zip(PRECISIONS, paths, strict=True)):
        if i:
            found = edgernn("quantize", exported, "--precision", precision, "-o", path, "--force")
            sizes[0], sizes[i] = found["bytes_before"], found["bytes_after"]
    steps = [each["step_us"]["p50"] for each in edgernn("profile", *paths)["models"]]
    reports = [edgernn("verify", path, "--against", run, "--steps", VERIFY_STEPS) for path in paths]
    return [
        Measured(
            precision=PRECISIONS[i],
            path=paths[i],
            size_bytes=sizes[i],
            drift=reports[i]["teacher_forced"]["max_abs"],
            agreement=None if reports[i]["free_running"] is None else reports[i]["free_running"]["agreement"],
            p50_us=steps[i],
        )
        for i in range(len(paths))
    ]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in markdown, and an empty line."""
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def described(each: Measured) -> list[str]:
    """Return the cells that every table of models begins with, those of `COLUMNS`."""
    return [each.precision, f"{each.size_bytes:,}", f"{each.p50_us:.1f} us", f"{each.drift:.1e}"]


COLUMNS: Final = ("model", "bytes", "step p50", "largest difference over 10,000 steps")
