"""Trains a classifier of spoken vowels and one of handwritten digits, and prints what both reach, as markdown.

$ python recipes/classify.py -o runs/classify
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from road import COLUMNS, described, edgernn, measure, print_table
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edgernn.artefacts.decisions import decide, draw_decisions
from edgernn.tasks.classify import LabelledSeries, digits, vowels
from edgernn_runtime import Model, load
from edgernn_runtime.codecs import LabelCodec

STEPS: Final = {"vowels": 800, "digits": 2000}
SETTINGS: Final = {"vowels": ["--noise", "1.0"], "digits": ["--layers", "2"]}
SOURCES: Final = {"vowels": vowels, "digits": digits}


def main() -> None:
    """Train, export, quantize, verify and measure both data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/classify"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each data set, of seeds 0, 1, ...")
    arguments = parser.parse_args()
    for name, read in SOURCES.items():
        train, test = read()
        print(f"## {name}: {len(train.labels)} sequences to train on, {len(test.labels)} to test\n")
        print_runs(name, arguments.output, arguments.seeds)
        print_models(arguments.output / f"{name}.0", test)
        print_baselines(name, train, test)
    model = load(arguments.output / "vowels.0" / "model.onnx")
    _, test = vowels()
    assert isinstance(model.spec.codec, LabelCodec)  # noqa: S101, a classifier has one
    decisions = hesitant(model, model.spec.codec.labels, test)
    draw_decisions(arguments.output / "decision.png", model.spec.codec, decisions)


def print_runs(name: str, output: Path, seeds: int) -> None:
    """Train with each seed; the one validation, at the end, chooses nothing."""
    steps = str(STEPS[name])
    common = ["--dataset", name, *SETTINGS[name], "--max-steps", steps, "--valid-every", steps, "--threads", "1"]
    found = []
    for seed in range(seeds):
        options = [*common, "--seed", str(seed), "-o", str(output / f"{name}.{seed}")]
        if not seed:
            print(f"`edgernn train classify {' '.join(options)}`\n")
        found.append(edgernn("train", "classify", *options))
    each = [run["accuracy"] for run in found]
    seconds = statistics.mean(run["seconds"] for run in found)
    listed = ", ".join(f"{accuracy:.2%}" for accuracy in each)
    print(f"test accuracy of seeds 0 to {seeds - 1}: {listed}; mean {statistics.mean(each):.2%}; ", end="")
    over_steps = statistics.mean(run["accuracy_over_steps"] for run in found)
    print(f"over all steps, early ones too, {over_steps:.2%}; {seconds:.0f} s of training each\n")


def print_models(run: Path, test: LabelledSeries) -> None:
    """Export a run, quantize it, and print a table of every file's cost and accuracy."""
    rows = []
    for each in measure(run):
        accuracy, nats = judge(each.path, test)
        rows.append([*described(each), f"{accuracy:.2%}", f"{nats:.3f}"])
    print_table([*COLUMNS, "test accuracy", "test nats"], rows)


def judge(file: Path, test: LabelledSeries) -> tuple[float, float]:
    """Return accuracy and nats of the last decisions about the test's sequences, step by step through a model file."""
    model = load(file)
    assert isinstance(model.spec.codec, LabelCodec)  # noqa: S101, a classifier has one
    labels = model.spec.codec.labels
    last = np.stack([decide(model, sequence)[-1] for sequence in test.sequences])
    true = np.array([labels.index(label) for label in test.labels])
    return float(np.mean(last.argmax(-1) == true)), float(-np.log(last[np.arange(true.size), true]).mean())


def print_baselines(name: str, train: LabelledSeries, test: LabelledSeries) -> None:
    """Print what classifiers reach that see the whole sequence at once."""
    baselines = {"support vectors": SVC(C=10), "logistic regression": LogisticRegression(max_iter=5000)}
    baselines["nearest neighbour"] = KNeighborsClassifier(1)
    view = summary if name == "vowels" else flat
    inputs, questions = np.stack([view(each) for each in train.sequences]), np.stack(list(map(view, test.sequences)))
    rows = []
    for baseline, classifier in baselines.items():
        fitted = make_pipeline(StandardScaler(), classifier).fit(inputs, train.labels)
        rows.append([baseline, f"{fitted.score(questions, test.labels):.2%}"])
    print_table(["baseline", "test accuracy"], rows)


def summary(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean, deviation, least, most, first and last of each channel, float32 `[6 * channels]`."""
    return np.concatenate([frames.mean(0), frames.std(0), frames.min(0), frames.max(0), frames[0], frames[-1]])


def flat(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all numbers of a sequence, float32 `[steps * channels]`."""
    return frames.reshape(-1)


def hesitant(model: Model, labels: tuple[str, ...], test: LabelledSeries) -> NDArray[np.float32]:
    """Return the decisions about the sequence whose label was found, for good, the latest."""
    latest, found = -1, np.empty((0, len(labels)), np.float32)
    for sequence, label in zip(test.sequences, test.labels, strict=True):
        decisions = decide(model, sequence)
        (wrong,) = np.nonzero(decisions.argmax(-1) != labels.index(label))
        if wrong.size and latest < wrong[-1] < len(sequence) - 1:
            latest, found = int(wrong[-1]), decisions
    return found


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
