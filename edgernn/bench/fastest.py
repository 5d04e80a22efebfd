"""Fastest: of several forms in which one peer computes the step, the one to be timed."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Final

from edgernn.bench.case import make_tokens
from edgernn.bench.peer import Step

_TURNS: Final = 12


def fastest(makers: Sequence[Callable[[], Step]], batch: int) -> Step:
    """Return a new step of the form that was fastest in a few turns.

    Args:
        makers: Each makes a step from state zero.
        batch: Rows of a step.
    """
    steps = [make() for make in makers]
    durations: list[list[float]] = [[] for _ in steps]
    for row in make_tokens(_TURNS, batch):
        for step, taken in zip(steps, durations, strict=True):
            before = perf_counter()
            step(row)
            taken.append(perf_counter() - before)
    times = [median(taken) for taken in durations]
    return makers[times.index(min(times))]()
