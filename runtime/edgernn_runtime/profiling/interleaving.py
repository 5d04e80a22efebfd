"""Timing functions in turns, so that ratios hold on a noisy machine."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_STEPS: Final = 100
WARMUP_STEPS: Final = 100


def interleave(
    steppers: Sequence[Callable[[int], None]], steps: int, *, between: Sequence[Callable[[], None]] = ()
) -> list[NDArray[np.float64]]:
    """Return the durations of `steps` calls of each stepper, in microseconds `[steps]`.

    The steppers take turns in blocks; each is called with the number of the step. The first calls, and
    the first of each block, which finds another's weights in the caches, are not counted.

    Args:
        steppers: What is timed.
        steps: Timed calls of each.
        between: Called after each block of the stepper of the same index, untimed.
    """
    clock = time.perf_counter_ns
    durations = [np.empty(steps) for _ in steppers]
    for call in steppers:
        for number in range(WARMUP_STEPS):
            call(number)
    for start in range(0, steps, BLOCK_STEPS):
        block = range(start, min(start + BLOCK_STEPS, steps))
        for index, call in enumerate(steppers):
            call(start)
            for number in block:
                before = clock()
                call(number)
                durations[index][number] = clock() - before
            if between:
                between[index]()
    return [taken / 1e3 for taken in durations]
