"""Activation: what a value of a graph was along live streams, gathered step by step."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.quantization.histogram import Histogram
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError

FLUSH: Final = 256
"""Steps that are summed up together."""

_WINDOWS: Final = 8
_GROWTH: Final = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """What a value of the graph was along the streams.

    Attributes:
        histogram: How often it took which values.
        moments: The second moments `E[x xT]` over steps and rows, float64 `[K, K]`; None for a state.
        peaks: The largest magnitude in each eighth of the steps, float64 `[8]`.
    """

    histogram: Histogram
    moments: NDArray[np.float64] | None
    peaks: NDArray[np.float64]

    @property
    def grows(self) -> bool:
        """Whether its magnitude rose by a tenth at least between each two quarters of the steps."""
        quarters = self.peaks.reshape(-1, 2).max(axis=1)
        return bool((quarters[1:] > _GROWTH * quarters[:-1]).all())


class Gathered:
    """Values of one kind, step by step, summed up in blocks. Mutable."""

    def __init__(self, name: str, *, moments: bool) -> None:
        """Begin without values; `moments` says whether second moments are gathered."""
        self._name = name
        self._waiting: list[Array] = []
        self._histogram = Histogram()
        self._with_moments = moments
        self._moments: NDArray[np.float64] | None = None
        self._rows = 0
        self._steps = 0
        self._peaks: list[float] = []

    def add(self, array: Array) -> None:
        """Take the values of one step, `[1, ..., K]`."""
        self._waiting.append(np.array(array))
        if len(self._waiting) == FLUSH:
            self._sum_up()

    def activation(self) -> Activation:
        """Return what was gathered."""
        self._sum_up()
        moments = None if self._moments is None else self._moments / self._rows
        windows = np.array_split(np.array(self._peaks), _WINDOWS)
        return Activation(self._histogram, moments, np.array([window.max(initial=0) for window in windows]))

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        steps = np.stack(self._waiting).astype(np.float64)
        self._waiting = []
        flat = steps.reshape(len(steps), -1)
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            step = self._steps + int(np.argmin(finite))
            raise InputError(f"{self._name} becomes NaN or infinite at step {step} of the calibration")
        self._steps += len(steps)
        self._histogram.add(flat)
        self._peaks += np.abs(flat).max(axis=1).tolist()
        if self._with_moments:
            rows = steps.reshape(-1, steps.shape[-1])
            self._rows += len(rows)
            product = rows.T @ rows
            self._moments = product if self._moments is None else self._moments + product
