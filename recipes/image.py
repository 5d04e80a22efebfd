"""Trains models that draw digits, and judges what they draw by a classifier of real digits.

$ python recipes/image.py -o runs/image
"""

import argparse
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from road import COLUMNS, described, edgernn, measure, print_table
from sklearn.svm import SVC

from edgernn.tasks.pictures import Pictures, digits
from edgernn_export import Recording
from edgernn_export.likelihood import mean_nats
from edgernn_runtime import ImageCodec, Model, Sampler, load
from edgernn_runtime.drawing import draw
from edgernn_runtime.engines.opening import open_engine

ORDERS: Final = ("pixels", "rows")
DRAWN: Final = 1000
TEMPERATURES: Final = (1.0, 0.8)

Tokens = NDArray[np.int64]


def main() -> None:
    """Train, export, quantize, verify, draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/image"), help="where the run folders go")
    parser.add_argument("--seconds", type=float, default=100, help="seconds of each training")
    options = parser.parse_args()
    train, held_out = digits().split(0)
    judge = SVC(C=10).fit(_flat(train.greys), train.classes)
    print(f"The classifier knows {judge.score(_flat(held_out.greys), held_out.classes):.1%} of real digits held out.\n")
    print_baselines(train, held_out)
    for order in ORDERS:
        run = options.output / order
        found = edgernn("train", "image", "--order", order, "--max-seconds", options.seconds, "-o", run)
        print(f"## {order}: {found['bits_per_dimension']:.3f} bits per pixel after {found['seconds']:.0f} s\n")
        rows = []
        recording = Recording.load(run / "valid.npz")
        for each in measure(run):
            bits = mean_nats(open_engine(each.path), recording) / math.log(2)
            known = [f"{recognised(load(each.path), judge, temperature):.1%}" for temperature in TEMPERATURES]
            rows.append([*described(each), f"{bits:.3f}", *known])
        names = [f"drawn digits known, temperature {temperature:g}" for temperature in TEMPERATURES]
        print_table([*COLUMNS, "bits per pixel", *names], rows)


def recognised(model: Model, judge: SVC, temperature: float) -> float:
    """Return the share of drawn digits that a classifier takes for what they are to be."""
    asked = np.arange(DRAWN) % 10
    drawn = []
    for seed, kind in enumerate(asked):
        stream = model.stream(seed=seed, sampler=Sampler(temperature))
        stream.set_input("class", np.array(kind))
        drawn.append(draw(stream, model.spec))
    return float(judge.score(_flat(np.stack(drawn)), asked))


def print_baselines(train: Pictures, held_out: Pictures) -> None:
    """Print bits per pixel of two simple models, each smoothed as it serves the held-out digits best."""
    codec = ImageCodec(8, 8, 16)
    tokens, others = (np.stack([codec.encode(grey) for grey in part.greys]) for part in (train, held_out))
    rows = [
        ["every pixel by itself", f"{min(independent_bits(tokens, others, count) for count in (0.1, 0.3, 1.0)):.3f}"],
        ["the left and the upper neighbour", f"{min(context_bits(tokens, others, count) for count in (1, 3, 10)):.3f}"],
    ]
    print_table(["baseline", "bits per pixel"], rows)


def independent_bits(train: Tokens, held_out: Tokens, count: float) -> float:
    """Return bits per pixel where every place has a distribution of its own, with `count` added to every grey."""
    seen = np.stack([(train == level).sum(0) for level in range(16)]) + count
    chances = seen / seen.sum(0)
    return float(-np.log2(chances[held_out, np.arange(64)]).mean())


def context_bits(train: Tokens, held_out: Tokens, count: float) -> float:
    """Return bits per pixel where a grey depends on its left and its upper neighbour; contexts share what is rare."""
    seen = np.zeros((17, 17, 16))
    np.add.at(seen, _contexts(train), 1)
    overall = seen.sum((0, 1)) + 1
    chances = seen + count * overall / overall.sum()
    chances /= chances.sum(-1, keepdims=True)
    return float(-np.log2(chances[_contexts(held_out)]).mean())


def _contexts(tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
    """Return left neighbour, upper neighbour and grey of every pixel; 16 stands for what lies outside."""
    padded = np.pad(tokens.reshape(-1, 8, 8), ((0, 0), (1, 0), (1, 0)), constant_values=16)
    return padded[:, 1:, :-1].ravel(), padded[:, :-1, 1:].ravel(), tokens.ravel()


def _flat(greys: NDArray[np.uint8]) -> NDArray[np.float64]:
    return greys.reshape(len(greys), -1) / 255


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
