"""Statistics of generated streams: distances between samples, and moments."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
Numbers = NDArray[np.float64]

LN_2: Final = math.log(2)
"""The largest Jensen-Shannon divergence in nats: that of distributions without a common outcome."""


def jensen_shannon_nats(left: Tokens, right: Tokens) -> float:
    """Return the Jensen-Shannon divergence of two histograms, 0 to ln 2 nats.

    It is the mean Kullback-Leibler divergence of the two from their midpoint (Lin, "Divergence measures based on the
    Shannon entropy", 1991, equation 4.1 with equal weights).

    Args:
        left: Counts, int64 `[outcomes]`, one at least positive.
        right: Counts of the same outcomes.
    """
    p, q = left / left.sum(), right / right.sum()
    middle = (p + q) / 2
    nats = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return min(max(nats, 0.0), LN_2)


def ngram_counts(left: Tokens, right: Tokens, order: int) -> tuple[Tokens, Tokens]:
    """Return how often each n-gram occurs in two streams, int64 `[n-grams]` each, those that neither has left out.

    Args:
        left: Tokens `[steps]`, `order` at least.
        right: Tokens of the other stream.
        order: The n of the n-grams.
    """
    _, ranks = np.unique(np.concatenate([left, right]), return_inverse=True)  # small, so that no n-gram overflows
    size = int(ranks.max()) + 1
    windows = np.lib.stride_tricks.sliding_window_view
    codes = [windows(part, order) @ size ** np.arange(order) for part in (ranks[: len(left)], ranks[len(left) :])]
    _, places = np.unique(np.concatenate(codes), return_inverse=True)
    count = int(places.max()) + 1
    split = len(codes[0])
    return np.bincount(places[:split], minlength=count), np.bincount(places[split:], minlength=count)


def kolmogorov_smirnov(left: Numbers, right: Numbers) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic, the largest distance of the distribution functions, 0 to 1.

    Args:
        left: Numbers `[n]`, one at least; ties are fine.
        right: Numbers `[m]`, one at least.
    """
    points = np.concatenate([left, right])
    functions = [np.searchsorted(np.sort(part), points, side="right") / part.size for part in (left, right)]
    return float(np.abs(functions[0] - functions[1]).max())


def lag_one(values: Numbers) -> Numbers:
    """Return the autocorrelation of each column at a lag of one step, `[features]`; 0 where a column is constant.

    Args:
        values: Numbers `[steps, features]`.
    """
    centred = values - values.mean(axis=0)
    power = np.square(centred).sum(axis=0)
    products = (centred[1:] * centred[:-1]).sum(axis=0)
    found: Numbers = np.divide(products, power, out=np.zeros_like(power), where=power > 0)
    return found


def _relative_entropy(p: Numbers, q: Numbers) -> float:
    kept = p > 0
    return float(np.sum(p[kept] * np.log(p[kept] / q[kept])))
