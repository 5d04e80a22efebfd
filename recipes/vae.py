"""Trains recurrent VAEs of digits, and judges what they make of latents from the prior by classifiers of real digits.

$ python recipes/vae.py -o runs/vae
"""

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from road import COLUMNS, described, edgernn, measure, print_table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edgernn.artefacts.pictures import encode_picture
from edgernn.tasks.pictures import Pictures, digits
from edgernn_runtime import Bundle, load_bundle
from edgernn_runtime.drawing import draw

FORMS: Final = {
    "latent at every step": ("--latent-at", "every"),
    "latent at the beginning alone": ("--latent-at", "begin"),
    "one grey level, so that the latent says little": ("--levels", 1, "--free-bits", 0),
}
DRAWN: Final = 1000
SURE: Final = 0.9


def main() -> None:
    """Train, export, quantize, verify, draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/vae"), help="where the run folders go")
    parser.add_argument("--seconds", type=float, default=100, help="seconds of each training")
    options = parser.parse_args()
    train, held_out = digits().split(0)
    judges = judges_of(train)
    print(f"Real digits held out: {describe(judges, held_out.greys)}.\n")
    rows = []
    for i, (name, settings) in enumerate(FORMS.items()):
        run = options.output / f"form{i}"
        found = edgernn("train", "vae", *settings, "--max-seconds", options.seconds, "-o", run)
        figures = [f"{found[key]:.2f}" for key in ("reconstruction", "kl")]
        active = f"{found['active_units']:.0f} of {found['latent_units']:.0f}"
        edgernn("export", run)
        sampled = samples(load_bundle(run / "bundle"))
        rows.append([name, *figures, active, f"{found['rms_error']:.3f}", describe(judges, sampled)])
    print_table(
        ["form", "reconstruction, nats", "KL, nats", "active", "RMS error of greys", "drawn from the prior"], rows
    )
    rows = []
    for each in measure(options.output / "form0"):
        bundle = load_bundle(each.path)
        error = reconstruction_error(bundle, held_out)
        rows.append([*described(each), f"{error:.3f}", describe(judges, samples(bundle))])
    print_table([*COLUMNS, "RMS error of greys", "drawn from the prior"], rows)


def judges_of(train: Pictures) -> tuple[Pipeline, SVC]:
    """Return two classifiers of real digits: one that says how sure it is, and one of another kind to agree with."""
    sure = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return sure.fit(_flat(train.greys), train.classes), SVC(C=10).fit(_flat(train.greys), train.classes)


def describe(judges: tuple[Pipeline, SVC], greys: NDArray[np.uint8]) -> str:
    """Return how sure a classifier is of pictures, and how often one of another kind says the same."""
    chances = judges[0].predict_proba(_flat(greys)).max(axis=1)
    same = float(np.mean(judges[0].predict(_flat(greys)) == judges[1].predict(_flat(greys))))
    return (
        f"confidence {chances.mean():.1%}, above {SURE:.0%} for {np.mean(chances > SURE):.1%}, both agree on {same:.1%}"
    )


def samples(bundle: Bundle) -> NDArray[np.uint8]:
    """Return pictures of latents from the prior, uint8 `[pictures, height, width]`."""
    drawn = []
    for seed in range(DRAWN):
        stream = bundle.model.stream(seed=seed)
        stream.draw_latents()
        drawn.append(draw(stream, bundle.model.spec))
    return np.stack(drawn)


def reconstruction_error(bundle: Bundle, held_out: Pictures) -> float:
    """Return the root mean square difference of greys 0 to 1 between pictures and what is made of their encodings."""
    stream, squares = bundle.model.stream(), []
    for grey in held_out.greys:
        stream.reset()
        for name, value in encode_picture(bundle, grey).items():
            stream.set_input(name, value)
        made = draw(stream, bundle.model.spec)
        squares.append(np.square((made.astype(np.float64) - grey) / 255).mean())
    return float(np.sqrt(np.mean(squares)))


def _flat(greys: NDArray[np.uint8]) -> NDArray[np.float64]:
    return greys.reshape(len(greys), -1) / 255


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
