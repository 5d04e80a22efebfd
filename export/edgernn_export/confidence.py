"""Confidence: how sure a mean is that was measured on a finite stretch of steps which depend on each other."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST_BLOCKS: Final = 10
"""With fewer values than this nothing is known of how far their mean scatters."""

_TWO_SIDED_95: Final = 1.959964
_ONE_SIDED_99_9: Final = 3.090232


def half_interval(values: NDArray[np.float64]) -> float:
    """Return half of the 95% confidence interval of the mean of values in their order; infinite for fewer than 10.

    >>> round(half_interval(np.random.default_rng(0).standard_normal(10_000)), 3)
    0.023
    """
    return _scatter(values, _TWO_SIDED_95)


def margin(values: NDArray[np.float64]) -> float:
    """Return by how much the mean of as many other values like these may be larger, with 99.9% confidence.

    Both means scatter, hence the root of two over what one of them would take. Infinite for fewer than 10 values.
    """
    return math.sqrt(2) * _scatter(values, _ONE_SIDED_99_9)


def _scatter(values: NDArray[np.float64], normal: float) -> float:
    """Return the widest of the half intervals that blocks of 1, 2, 4, ... values give, 10 blocks at least.

    Neighbours that depend on each other make the means of short blocks look too sure.
    """
    widest = math.inf if len(values) < FEWEST_BLOCKS else 0.0
    length = 1
    while len(values) // length >= FEWEST_BLOCKS:
        count = len(values) // length
        means = values[: count * length].reshape(count, length).mean(axis=1)
        error = float(means.std(ddof=1)) / math.sqrt(count)
        widest = max(widest, _student(normal, count - 1) * error)
        length *= 2
    return widest


def _student(normal: float, freedom: int) -> float:
    """Return the quantile of Student's t that a normal quantile becomes (Abramowitz and Stegun 26.7.5)."""
    first = (normal**3 + normal) / 4
    second = (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
    return normal + first / freedom + second / freedom**2
