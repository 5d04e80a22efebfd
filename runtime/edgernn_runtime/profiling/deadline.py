"""Deadline: which steps took longer than they may."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec


@dataclass(frozen=True, slots=True)
class Deadline:
    """The steps that missed a deadline.

    Attributes:
        us: The longest that a step may take.
        misses: Steps that took longer.
        share: The misses over all timed steps.
        longest_run: The most misses in a row.
    """

    us: float
    misses: int
    share: float
    longest_run: int

    @classmethod
    def of(cls, durations_us: NDArray[np.float64], us: float) -> "Deadline":
        """Return the misses among durations `[steps]`, one at least.

        >>> Deadline.of(np.array([1.0, 9.0, 8.0, 2.0]), 5)
        Deadline(us=5, misses=2, share=0.5, longest_run=2)
        """
        missed = durations_us > us
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missed.astype(np.int8), [0]])))
        longest = int((edges[1::2] - edges[::2]).max(initial=0))
        return cls(us, int(missed.sum()), float(missed.mean()), longest)


def check_deadline(us: float | None) -> None:
    """Raise an InputError if a deadline is not positive and finite; None is no deadline."""
    if us is not None and not 0 < us < math.inf:
        raise InputError(f"a deadline must be positive and finite, got {us:g} us")


def frame_period_us(spec: Spec) -> float | None:
    """Return the time in which the frames of one step arrive; None for models without a rate."""
    return None if spec.rate_hz is None else 1e6 * spec.frames_per_step / spec.rate_hz
