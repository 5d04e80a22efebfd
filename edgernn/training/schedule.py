"""The learning rate over a run."""

import math


def learning_rate(peak: float, progress: float, warmup: float) -> float:
    """Return the learning rate at a point of the run: a linear rise, then a cosine down to zero.

    Args:
        peak: The largest rate.
        progress: The share of the budget that is spent, 0 to 1.
        warmup: The share of the budget in which the rate rises.

    >>> [round(learning_rate(1.0, progress, 0.1), 3) for progress in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))
