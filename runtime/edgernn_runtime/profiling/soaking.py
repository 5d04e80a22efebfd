"""Soaking: how resident memory grows over a long run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.errors import InputError
from edgernn_runtime.model import load
from edgernn_runtime.profiling.interleaving import WARMUP_STEPS
from edgernn_runtime.profiling.memory import rss_bytes
from edgernn_runtime.profiling.stepping import stepper
from edgernn_runtime.providers import ProviderRequest

SOAK_SAMPLES: Final = 200
SOAK_LEAST: Final = 10
"""Samples, and so steps, that a slope needs at least."""


@dataclass(frozen=True, slots=True)
class Soak:
    """How resident memory grew.

    Attributes:
        steps: The steps after the warmup.
        sampled: The number of the step at each sample.
        rss: Resident bytes at each sample; empty where the system does not say.
        slope: Bytes in a million steps, by least squares; None where the system does not say.
        error: The slope's standard error, as if samples were independent; None likewise.
    """

    steps: int
    sampled: tuple[int, ...]
    rss: tuple[int, ...]
    slope: float | None
    error: float | None


def check_soak(steps: int) -> None:
    """Raise an InputError if there are fewer steps than a slope needs."""
    if steps < SOAK_LEAST:
        raise InputError(f"a soak needs {SOAK_LEAST} steps at least, got {steps}")


def soak(
    path: Path,
    *,
    steps: int,
    engine: EngineName | None = None,
    providers: tuple[ProviderRequest, ...] = ("cpu",),
    threads: int = 1,
) -> Soak:
    """Step one stream for long, and sample this process's resident memory along the way.

    Args:
        path: A model file, or the folder of a bundle.
        steps: Steps after the warmup, which is a tenth as long.
        engine: What computes the steps, as in `load`.
        providers: Names of execution providers, in order of preference.
        threads: Threads inside one operator.

    Raises:
        InputError: If there are fewer steps than a slope needs.
        ModelFileError, SpecError, ProviderError: As `load` raises them.
    """
    check_soak(steps)
    step = stepper(load(path, engine=engine, providers=providers, threads=threads))
    marks = np.linspace(0, steps, min(SOAK_SAMPLES, steps) + 1).astype(int)[1:]
    rss = np.zeros(len(marks), np.int64)
    for number in range(max(WARMUP_STEPS, steps // 10)):
        step(number)
        if number % WARMUP_STEPS == 0:
            rss[-1] = rss_bytes() or 0
    number = 0
    for i, mark in enumerate(marks):
        while number < mark:
            step(number)
            number += 1
        rss[i] = rss_bytes() or 0
    if not rss.all():
        return Soak(steps, tuple(marks.tolist()), (), None, None)
    slope, error = _slope(marks / 1e6, rss.astype(np.float64))
    return Soak(steps, tuple(marks.tolist()), tuple(rss.tolist()), slope, error)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the slope of the line of least squares and its standard error, for three points at least."""
    from_mean = x - x.mean()
    spread = float(from_mean @ from_mean)
    slope = float(from_mean @ (y - y.mean())) / spread
    residuals = y - y.mean() - slope * from_mean
    return slope, math.sqrt(float(residuals @ residuals) / (len(x) - 2) / spread)
