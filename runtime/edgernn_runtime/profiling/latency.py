"""Latency: percentiles of the durations of steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of single steps, in microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float

    @classmethod
    def of(cls, durations_us: NDArray[np.float64]) -> "Latency":
        """Return the percentiles of durations `[steps]`."""
        p50, p90, p99, p999 = (float(value) for value in np.percentile(durations_us, [50, 90, 99, 99.9]))
        return cls(p50, p90, p99, p999, float(durations_us.max()), float(durations_us.mean()))
