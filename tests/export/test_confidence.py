"""Confidence: intervals that hold the mean as often as they say, also where neighbours depend on each other."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn_export.confidence import FEWEST_BLOCKS, half_interval, margin

Numbers = NDArray[np.float64]


def correlated(rng: np.random.Generator, steps: int, rho: float) -> Numbers:
    """Return a stationary process of mean 0 whose neighbours have the correlation `rho`."""
    noise = rng.standard_normal(steps) * math.sqrt(1 - rho**2)
    values = np.empty(steps)
    values[0] = rng.standard_normal()
    for i in range(1, steps):
        values[i] = rho * values[i - 1] + noise[i]
    return values


@pytest.mark.parametrize(("rho", "steps"), [(0.0, 400), (0.9, 2000), (0.98, 4000)])
def test_an_interval_holds_the_mean_as_often_as_it_says(rho: float, steps: int) -> None:
    rng = np.random.default_rng(7)
    runs = [correlated(rng, steps, rho) for _ in range(300)]
    held = np.mean([abs(run.mean()) <= half_interval(run) for run in runs])
    assert 0.9 <= held <= 0.999


def test_other_data_like_these_stay_below_the_margin() -> None:
    rng = np.random.default_rng(8)
    pairs = [(correlated(rng, 1000, 0.8), correlated(rng, 1000, 0.8)) for _ in range(400)]
    assert np.mean([other.mean() <= seen.mean() + margin(seen) for seen, other in pairs]) >= 0.995


def test_too_few_values_say_nothing() -> None:
    assert half_interval(np.ones(FEWEST_BLOCKS - 1)) == margin(np.ones(FEWEST_BLOCKS - 1)) == math.inf
    assert half_interval(np.ones(FEWEST_BLOCKS)) == 0


@pytest.mark.parametrize(("count", "quantile"), [(10, 2.262), (100, 1.984)])
def test_few_values_take_the_quantile_of_student(count: int, quantile: float) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    values[1::2] = -values[::2]  # long blocks scatter less than single values
    error = values.std(ddof=1) / math.sqrt(count)
    assert half_interval(values) == pytest.approx(quantile * error, rel=2e-3)
