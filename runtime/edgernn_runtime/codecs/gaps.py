"""Gaps in series: filling, deleting and resampling, the same in training and on a device."""

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float32]
"""float32 `[steps, columns]`, NaN where a value is missing."""


def fill_last(values: Series, start: NDArray[np.float32]) -> Series:
    """Return the series with each gap filled by the value before it, and by `start` `[columns]` before the first.

    >>> fill_last(np.array([[1.0], [np.nan], [3.0]], np.float32), np.zeros(1, np.float32)).ravel().tolist()
    [1.0, 1.0, 3.0]
    """
    padded = np.concatenate([start[None], values]).astype(np.float32)
    steps = np.where(np.isnan(padded), 0, np.arange(len(padded))[:, None])  # [steps + 1, columns]
    filled: Series = np.take_along_axis(padded, np.maximum.accumulate(steps, axis=0), axis=0)[1:]
    return filled


def interpolate(values: Series, start: NDArray[np.float32]) -> Series:
    """Return the series with each gap bridged by a straight line; at its ends the nearest value is kept.

    A column without any value becomes `start`.

    >>> interpolate(np.array([[1.0], [np.nan], [3.0]], np.float32), np.zeros(1, np.float32)).ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    filled = values.astype(np.float32)
    steps = np.arange(len(values))
    for column, fallback in zip(filled.T, start, strict=True):
        known = ~np.isnan(column)
        column[~known] = np.interp(steps[~known], steps[known], column[known]) if known.any() else fallback
    return filled


def fill_mean(values: Series, means: NDArray[np.float32]) -> Series:
    """Return the series with each gap filled by the mean of its column, `means` `[columns]`."""
    return np.where(np.isnan(values), means, values).astype(np.float32)


def delete(values: Series) -> Series:
    """Return the steps that have every value; those around a gap become neighbours.

    >>> delete(np.array([[1.0], [np.nan], [3.0]], np.float32)).ravel().tolist()
    [1.0, 3.0]
    """
    return values[~np.isnan(values).any(axis=1)].astype(np.float32)


def resample(values: Series, start: NDArray[np.float32], *, every: int) -> Series:
    """Return the mean of the known values of each `every` steps; the steps left over at the front are dropped.

    A span without any value takes that of the span before it, the first one `start`.

    >>> resample(np.array([[9.0], [1.0], [np.nan], [3.0], [5.0]], np.float32), np.zeros(1, np.float32), every=2)[:, 0]
    array([1., 4.], dtype=float32)
    """
    spans = values[len(values) % every :].reshape(-1, every, values.shape[1])
    known = ~np.isnan(spans)
    counts = known.sum(axis=1)
    sums = np.where(known, spans, 0).sum(axis=1, dtype=np.float64)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
    return fill_last(means, start)
