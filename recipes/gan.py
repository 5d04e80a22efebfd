"""Trains GANs of series, and has independent classifiers and predictors judge what they stream from noise.

$ python recipes/gan.py -o runs/gan

Beside each GAN stand its int8 and int4 models, its generator before training, and a likelihood-trained model of the
series task on the same rows. Each figure is the mean over three seeds, of noise and judges, and the standard deviation;
the models are trained with as many seeds as `--trainings` says. With `--stabilisers` it compares instead what keeps the
game of the two networks stable.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from road import COLUMNS, PRECISIONS, described, edgernn, measure, print_table

from edgernn.tasks import find_task
from edgernn.tasks.gan.data import GanData, Windows
from edgernn.tasks.gan.scores import Judged, discriminative_score, predictive_score
from edgernn.tasks.gan.settings import SourceName, Stabiliser
from edgernn.tasks.gan.task import GanTask
from edgernn.training import Run
from edgernn.training.trainer import read_metrics
from edgernn_export import export
from edgernn_runtime import Model, Sampler, load

SEEDS: Final = (0, 1, 2)
STREAMS: Final = 200
"""Streams that windows are cut from, two of each; half of the streams train a judge, the others test it."""

FAR: Final = 1000
"""Steps behind which windows of a long stream are looked at."""

NAMES: Final[dict[str, str]] = {
    "sunspots": "sunspots, 24 years",
    "co2": "carbon dioxide, 48 weeks, off the mean of a year",
    "motions": "motions, 2.4 seconds, acceleration along the first axis",
}
SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A series, and how the two kinds of models are trained on it.

    Attributes:
        steps: Training steps of the GAN.
        season: Rows in a period, for the likelihood-trained model.
        likelihood: Its options.
    """

    steps: int
    season: int
    likelihood: tuple[object, ...]


CASES: Final[dict[SourceName, Case]] = {
    "sunspots": Case(1000, 11, ("--hidden", 4, "--dropout", 0.5, "--learning-rate", 0.02)),
    "co2": Case(1500, 52, ()),
    "motions": Case(1500, 1, ("--hidden", 32, "--dropout", 0.1, "--distribution", "logistic_mixture")),
}


@dataclass(frozen=True, slots=True)
class Scores:
    """What judges of one seed say of windows.

    Attributes:
        discriminative: The discriminative score, 0 to 0.5; 0 is best.
        predictive: The predictive score, an error in standard deviations.
        nearest: The mean distance to the nearest training window, over that of windows held out.
    """

    discriminative: float
    predictive: float
    nearest: float


def main() -> None:
    """Train, export, quantize, stream, judge and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/gan"), help="where the run folders go")
    parser.add_argument("--series", nargs="+", choices=[*CASES], default=[*CASES], help="which series")
    parser.add_argument("--trainings", type=int, default=len(SEEDS), help="seeds that models are trained with")
    parser.add_argument("--stabilisers", action="store_true", help="compare these alone, on sunspots")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stabilisers:
        compare_stabilisers(options.output, options.trainings)
        return
    for series in options.series:
        recipe = Recipe(series, options.output, options.trainings)
        print(f"{series}: {recipe.data.summary}\n", flush=True)
        recipe.judge_models()
        recipe.deploy()
        recipe.draw(options.output / f"gan-{series}.png")


class Recipe:
    """One series: its data, its models and their windows."""

    def __init__(self, series: SourceName, output: Path, trainings: int) -> None:
        """Read the data."""
        self.task = cast("GanTask", find_task("gan"))
        self.series, self.output, self.trainings = series, output, trainings
        self.settings = self.task.settings(series=series)
        self.data: GanData = self.task.read(self.settings)
        self.real = Judged(self.data.train, self.data.held)
        self.time = self.settings.window_steps
        self.drawn: dict[str, Windows] = {}

    def judge_models(self) -> None:
        """Print how windows of each model are judged."""
        rows = []
        makers: dict[str, Callable[[int], Windows]] = {
            "real windows": self.shuffled,
            "untrained generator": lambda seed: self.streamed(self.untrained(seed), seed),
            **{f"GAN, {each}": self._maker(each) for each in PRECISIONS},
            "likelihood-trained": self.likely,
        }
        for name, make in makers.items():
            scores = []
            for seed in SEEDS:
                windows = make(seed)
                self.drawn.setdefault(name, windows)
                scores.append(self.scores(windows, seed))
            figures = [[getattr(each, key) for each in scores] for key in Scores.__slots__]
            rows.append([name, *map(_spread, figures)])
        print_table(["windows of", "discriminative score", "predictive score", "nearest training window"], rows)

    def deploy(self) -> None:
        """Print how the models of the first seed measure, and how windows far into long streams are judged."""
        measured = measure(self.gan(SEEDS[0]))
        print_table([*COLUMNS], [described(each) for each in measured])
        model = load(self.model_file(SEEDS[0], "float32"))
        far = np.stack([line[-self.time :] for line in self.streams(model, 0, STREAMS // 2, FAR)])
        far_scores = [discriminative_score(self.real, _halves(far), seed=seed) for seed in SEEDS]
        print(f"Discriminative score of windows behind {FAR - self.time:,} steps: {_spread(far_scores)}.\n")

    def _maker(self, precision: str) -> Callable[[int], Windows]:
        return lambda seed: self.streamed(self.model_file(seed, precision), seed)

    def scores(self, windows: Windows, seed: int) -> Scores:
        """Return what judges say of windows; the first half of the windows trains them."""
        made = _halves(windows)
        scale = self.data.train.std((0, 1))
        train, test, held = (
            torch.from_numpy(np.ascontiguousarray(each / scale)).flatten(1)
            for each in (self.data.train, made.test, self.data.held)
        )
        nearest = [float(torch.cdist(each, train).amin(1).mean()) for each in (test, held)]
        return Scores(
            discriminative_score(self.real, made, seed=seed),
            predictive_score(self.real, made.train, seed=seed),
            nearest[0] / nearest[1],
        )

    def shuffled(self, seed: int) -> Windows:
        """Return windows of the training part, posed as generated."""
        return self.data.train[np.random.default_rng(seed).permutation(len(self.data.train))[: 2 * STREAMS]]

    def gan(self, seed: int) -> Path:
        """Return the run of a GAN, trained if it is not there."""
        trained = seed % self.trainings
        run = self.output / f"{self.series}-{trained}"
        steps = CASES[self.series].steps
        if not run.exists():
            own = ["--series", self.series, "--seed", trained, "--max-steps", steps, *ONE]
            edgernn("train", "gan", *own, "-o", run)
        if read_metrics(Run.open(run))[-1]["step"] != steps:
            raise SystemExit(f"{run} has not trained {steps} steps; remove it")
        if not (run / "model.onnx").exists():
            edgernn("export", run)
        for precision in PRECISIONS[1:]:
            if not (run / f"model.{precision}.onnx").exists():
                edgernn("quantize", run / "model.onnx", "--precision", precision)
        return run

    def model_file(self, seed: int, precision: str) -> Path:
        """Return the file of a trained generator."""
        return self.gan(seed) / ("model.onnx" if precision == "float32" else f"model.{precision}.onnx")

    def untrained(self, seed: int) -> Path:
        """Return the file of a generator before training."""
        path = self.output / f"{self.series}-{seed}-untrained.onnx"
        if not path.exists():
            torch.manual_seed(seed)
            model = self.task.model(self.settings, self.data.facts)
            path.parent.mkdir(parents=True, exist_ok=True)
            export(self.task.export(model, self.settings, self.data.facts), path)
        return path

    def streamed(self, path: Path, seed: int) -> Windows:
        """Return the first two windows of streams from noise, those of one stream one behind the other."""
        lines = self.streams(load(path), seed, STREAMS, 2 * self.time)
        return np.stack([piece for line in lines for piece in (line[: self.time], line[self.time :])])

    def streams(self, model: Model, seed: int, count: int, steps: int) -> list[NDArray[np.float32]]:
        """Return what streams make of noise, each of a seed of its own."""
        stream, lines = model.stream(), []
        for i in range(count):
            stream.reset(seed=1000 * seed + i)
            stream.draw_latents()
            lines.append(np.stack(list(stream.generate_frames(steps))))
        return lines

    def likely(self, seed: int) -> Windows:
        """Return what a likelihood-trained model makes behind real windows of the training part."""
        trained = seed % self.trainings
        run = self.output / f"{self.series}-{trained}-likelihood"
        recordings = self.data.recordings_read
        if not (run / "model.onnx").exists():
            table = run.with_suffix(".csv")
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(recordings.columns)
                writer.writerows(np.concatenate([*recordings.train, *recordings.held]).tolist())
            case, held = CASES[self.series], sum(map(len, recordings.held))
            own = ["--season", case.season, "--horizon", held, "--max-steps", 400, "--seed", trained, *ONE]
            edgernn("train", "series", "--data", table, *own, *case.likelihood, "-o", run)
            edgernn("export", run)
        stream, windows = load(run / "model.onnx").stream(sampler=Sampler(temperature=1.0)), []
        for i, prompt in enumerate(self.shuffled(seed)):
            stream.reset(seed=1000 * seed + i)
            stream.prefill(prompt)
            windows.append(np.stack(list(stream.generate_frames(self.time))))
        return np.stack(windows)

    def draw(self, path: Path) -> None:
        """Draw real windows beside those of each model that was judged; of several columns the first."""
        from matplotlib.figure import Figure  # noqa: PLC0415, an optional extra

        names = ["real windows", "untrained generator", *(f"GAN, {each}" for each in PRECISIONS), "likelihood-trained"]
        figure = Figure(figsize=(11, 4), layout="constrained")
        panels = figure.subplots(SHOWN, len(names), sharex=True, sharey=True, squeeze=False)
        for name, column in zip(names, panels.T, strict=True):
            column[0].set_title(name, fontsize="small")
            windows = self.drawn[name]
            for i, panel in enumerate(column):
                panel.plot(windows[i * len(windows) // SHOWN, :, 0], linewidth=0.9)
                panel.tick_params(labelsize=6)
        figure.suptitle(NAMES[self.series], fontsize="medium")
        figure.savefig(path, dpi=70)


ONE: Final = ("--threads", 1)


def compare_stabilisers(output: Path, trainings: int) -> None:
    """Print how training on sunspots goes with each way to hold the discriminator."""
    rows = []
    for stabiliser in cast("tuple[Stabiliser, ...]", ("r1", "spectral", "none")):
        best, last, norms = [], [], []
        for seed in SEEDS[:trainings]:
            run = output / (f"sunspots-{seed}" if stabiliser == "r1" else f"sunspots-{seed}-{stabiliser}")
            if not run.exists():
                own = ["--stabiliser", stabiliser, "--seed", seed, "--max-steps", CASES["sunspots"].steps, *ONE]
                edgernn("train", "gan", "--series", "sunspots", *own, "-o", run)
            records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            best.append(min(each["valid_loss"] for each in records))
            last.append(records[-1]["valid_loss"])
            norms.append(max(each["grad_norm_max"] for each in records))
        rows.append([f"`{stabiliser}`", *map(_spread, (best, last)), f"{max(norms):.1f}"])
    print_table(["stabiliser", "best distance", "distance at the end", "largest gradient"], rows)


def _spread(figures: Sequence[float]) -> str:
    """Return the mean of some figures and their standard deviation."""
    return f"{np.mean(figures):.3f} ± {np.std(figures, ddof=1):.3f}"


def _halves(windows: Windows) -> Judged:
    """Return the first half of windows to train judges, and the second to test them."""
    return Judged(windows[: len(windows) // 2], windows[len(windows) // 2 :])


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
