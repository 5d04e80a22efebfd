"""Scores of forecasts: absolute errors against those of the seasonal naive forecast, and the pinball loss."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]


def naive_errors(values: Numbers, season: int) -> NDArray[np.float64]:
    """Return the mean absolute error of each column against the value one season before, float64 `[columns]`.

    What the mean absolute scaled error (Hyndman and Koehler 2006) is scaled by. Pairs with a missing value do not
    count; a column without a pair, or without an error, has 1.

    Args:
        values: float32 `[steps, columns]`, NaN where a value is missing.
        season: Steps in a period.
    """
    errors = np.abs(values[season:].astype(np.float64) - values[:-season])
    counts = (~np.isnan(errors)).sum(axis=0)
    means = np.nansum(errors, axis=0) / np.maximum(counts, 1)
    return np.where(means > 0, means, 1.0)


def seasonal_naive(history: Numbers, season: int, horizon: int) -> Numbers:
    """Return the last season of a history over again, float32 `[horizon, columns]`; no value may be missing."""
    return np.asarray(history[len(history) - season + np.arange(horizon) % season], np.float32)


def pinball_loss(quantiles: Numbers, truth: Numbers, levels: Sequence[float]) -> float:
    """Return the mean pinball loss, in the unit of the series; missing truths do not count.

    Args:
        quantiles: float32 `[..., levels]`.
        truth: float32 `[...]`.
        levels: The probability of each quantile.
    """
    errors = truth[..., None].astype(np.float64) - quantiles
    levels_array = np.asarray(levels)
    return float(np.nanmean(np.maximum(levels_array * errors, (levels_array - 1) * errors)))
