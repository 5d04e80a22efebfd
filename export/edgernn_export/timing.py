"""Timing: the step latency of several engines side by side, at any batch."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from edgernn_runtime.engine import Engine
from edgernn_runtime.profiling import Latency, interleave, random_values

_DISTINCT_INPUTS: Final = 64
_SEED: Final = 0


def step_latencies(engines: Sequence[Engine], *, batch: int = 1, steps: int = 2000) -> tuple[Latency, ...]:
    """Return the latency of a step of each engine, in microseconds, their steps interleaved in blocks.

    Args:
        engines: What is timed, fed random inputs along one stream.
        batch: Rows of a step.
        steps: Timed steps of each.
    """
    durations = interleave([_stepper(engine, batch) for engine in engines], steps)
    return tuple(Latency.of(taken) for taken in durations)


def _stepper(engine: Engine, batch: int) -> Callable[[int], None]:
    executor = engine.executor(batch)
    rng = np.random.default_rng(_SEED)
    spec = engine.spec
    feeds = [
        [(executor.inputs[each.name], random_values(spec, each, batch, rng)) for each in spec.inputs]
        for _ in range(_DISTINCT_INPUTS)
    ]

    def step(number: int) -> None:
        for target, value in feeds[number % _DISTINCT_INPUTS]:
            target[...] = value
        executor.run()

    return step
