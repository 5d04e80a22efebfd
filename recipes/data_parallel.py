"""Trains text in one process and in several under torchrun, on the same batches, and shows how far they are apart.

$ python recipes/data_parallel.py -o runs/data_parallel --figure data_parallel.png
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from road import print_table

from edgernn.training.tensors import read_tensors

SETTINGS: Final = ("--dropout", 0, "--layers", 1, "--hidden", 128, "--batch", 32)
FIGURE_DPI: Final = 80


def main() -> None:
    """Train, compare, time and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/data_parallel"), help="where the runs go")
    parser.add_argument("--processes", type=int, default=2, help="processes under torchrun")
    parser.add_argument("--steps", type=int, default=200, help="steps of each run")
    parser.add_argument("--figure", type=Path, default=Path("data_parallel.png"), help="where the curves go")
    options = parser.parse_args()
    counts = (1, options.processes)
    runs = [options.output / f"processes{count}" for count in counts]
    for count, run in zip(counts, runs, strict=True):
        train(run, count, steps=options.steps, valid_every=max(1, options.steps // 20))
    one, several = (records(run) for run in runs)
    rows = [
        [name, f"{one[-1][key]:.4f}", f"{furthest(one, several, key):.1e}"]
        for name, key in (("training loss", "train_loss"), ("validation loss", "valid_loss"))
    ]
    rows.append(["weights", "", f"{weights_apart(*runs):.1e}"])
    print_table(["figure", "at the end, one process", f"largest difference to {options.processes} processes"], rows)
    print_table(["processes", "rows of each", "a step"], [timed(options, count) for count in counts])
    draw(one, several, options.figure, processes=options.processes)


def timed(options: argparse.Namespace, count: int) -> list[str]:
    """Return a row of the table of times: a run that validates at its end alone."""
    run = options.output / f"timed{count}"
    train(run, count, steps=options.steps // 2, valid_every=options.steps)
    (record,) = records(run)
    rows = SETTINGS[SETTINGS.index("--batch") + 1]
    return [str(count), str(int(rows) // count), f"{1e3 * record['elapsed_s'] / record['step']:.0f} ms"]


def train(run: Path, processes: int, *, steps: int, valid_every: int) -> None:
    """Train text with a thread in each process, and show the command on stderr."""
    told = ["train", "text", *SETTINGS, "--max-steps", steps, "--valid-every", valid_every, "-o", run]
    starts = ["torchrun", "--standalone", "--nproc-per-node", processes, "-m", "edgernn"] if processes > 1 else []
    shown = [*starts, *told] if starts else ["edgernn", *told]
    sys.stderr.write(f"$ {' '.join(map(str, shown))}\n")
    torchrun = ["-m", "torch.distributed.run", *map(str, starts[1:])] if starts else ["-m", "edgernn"]
    done = subprocess.run(  # noqa: S603, our own
        [sys.executable, *torchrun, *map(str, told)],
        check=False,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        lines = done.stderr.decode().splitlines()
        raise SystemExit(next((line for line in lines if line.startswith("error:")), "\n".join(lines)))


def records(run: Path) -> list[dict[str, Any]]:
    """Return what each validation has found."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def furthest(one: list[dict[str, Any]], several: list[dict[str, Any]], key: str) -> float:
    """Return the largest difference of a figure over all validations."""
    return max(abs(left[key] - right[key]) for left, right in zip(one, several, strict=True))


def weights_apart(one: Path, several: Path) -> float:
    """Return the largest difference of a weight at the end of two runs."""
    left, right = (read_tensors(run / "checkpoint.safetensors") for run in (one, several))
    return max(float((left[name] - right[name]).abs().max()) for name in left if name.startswith("model."))


def draw(one: list[dict[str, Any]], several: list[dict[str, Any]], path: Path, *, processes: int) -> None:
    """Draw the curves of both runs over each other, and their difference below."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    losses, apart = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    steps = [record["step"] for record in one]
    for key, name, colour in (("train_loss", "training", "C0"), ("valid_loss", "validation", "C1")):
        losses.plot(steps, [record[key] for record in one], color=colour, label=f"{name}, one process")
        points = [record[key] for record in several]
        losses.plot(steps, points, "o", color=colour, fillstyle="none", label=f"{name}, {processes} processes")
        differences = [abs(left[key] - right[key]) for left, right in zip(one, several, strict=True)]
        apart.plot(steps, differences, "o", color=colour, fillstyle="none", label=name)
    losses.set_ylabel("loss, nats per token")
    losses.legend(fontsize="small")
    apart.set_yscale("log")
    apart.set_ylabel("difference, where any")
    apart.set_xlabel("step")
    figure.savefig(path, dpi=FIGURE_DPI)


if __name__ == "__main__":
    main()
