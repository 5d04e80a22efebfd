"""Histogram: how often a signal took which values, gathered along a stream whose range is not known beforehand."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_BINS: Final = 2048
_SHARES: Final = np.linspace(0.05, 1, 96)


class Histogram:
    """Counts of values in equal bins around zero, which double in width when a value lies outside. Mutable.

    Attributes:
        low: The smallest value so far.
        high: The largest one.
        counts: int64 `[bins]`, from `-limit` to `limit`.
        limit: Where the outermost bins end.
    """

    def __init__(self) -> None:
        """Begin without values."""
        self.low = np.inf
        self.high = -np.inf
        self.counts = np.zeros(_BINS, np.int64)
        self.limit = 2.0**-10

    def add(self, values: NDArray[np.floating]) -> None:
        """Count values of any shape."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) > self.limit:
            self._widen()
        self.counts += np.histogram(values, _BINS, (-self.limit, self.limit))[0]

    def best_range(self, codes: int) -> tuple[float, float]:
        """Return the range that `codes` equal steps cover with the least mean squared error.

        Values outside are clipped; the range holds zero and is a share of what was met.
        """
        centres = np.linspace(-self.limit, self.limit, 2 * _BINS + 1)[1::2]
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        errors = [self._error(centres, low * share, high * share, codes) for share in _SHARES]
        share = float(_SHARES[int(np.argmin(errors))])
        return low * share, high * share

    def _error(self, centres: NDArray[np.floating], low: float, high: float, codes: int) -> float:
        """Return the squared error of clipping and of rounding, summed over all values."""
        outside = centres - np.clip(centres, low, high)
        step = (high - low) / codes
        return float((self.counts * (np.square(outside) + step * step / 12)).sum())

    def _widen(self) -> None:
        """Double the range: pairs of bins become the middle half."""
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        self.counts[_BINS // 4 : _BINS // 4 + _BINS // 2] = pairs
        self.limit *= 2
