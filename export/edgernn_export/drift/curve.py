"""Curves: how a figure went along a stream, condensed so that a report of a million steps stays small."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_WINDOWS: Final = 200
"""The windows that a curve has at most."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How a figure went along a stream, in windows of equal length; only the last may be shorter.

    Attributes:
        window: The steps of a window.
        largest: The largest value in each window; NaN if one is NaN.
        mean: The mean value in each window; NaN likewise.
    """

    window: int
    largest: tuple[float, ...]
    mean: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Curve":
        """Return the curve of a value for each step, `[steps]`, one at least.

        >>> Curve.of(np.array([1.0, 3.0]))
        Curve(window=1, largest=(1.0, 3.0), mean=(1.0, 3.0))
        """
        window = -(-len(values) // MAX_WINDOWS)
        parts = np.split(values, range(window, len(values), window))
        return cls(window, tuple(float(part.max()) for part in parts), tuple(float(part.mean()) for part in parts))

    @property
    def starts(self) -> tuple[int, ...]:
        """The first step of each window."""
        return tuple(self.window * i for i in range(len(self.mean)))
