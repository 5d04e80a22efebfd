"""Parity: two engines fed the same inputs, compared output by output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.profiling import random_values
from edgernn_runtime.spec import Spec


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two engines are apart at most, and where.

    Attributes:
        max_abs: The largest absolute difference in any output.
        step: The step at which it occurred.
        output: The output in which it occurred.
        magnitude: The largest absolute value in any output of the first one; infinities and NaN do not count.
    """

    max_abs: float
    step: int
    output: str
    magnitude: float = 0.0


def random_inputs(spec: Spec, *, steps: int, batch: int, seed: int) -> list[dict[str, Array]]:
    """Return inputs for `steps` steps: uniform tokens, standard normal frames, noise in [0, 1)."""
    rng = np.random.default_rng(seed)
    return [{each.name: random_values(spec, each, batch, rng) for each in spec.inputs} for _ in range(steps)]


def largest_difference(left: Engine, right: Engine, inputs: Sequence[dict[str, Array]]) -> Difference:
    """Return the largest difference between two engines along one stream.

    Each engine keeps its own state, from the initial one on; both are fed `inputs`, one dict a step,
    arrays `[batch, ...]` by input name. A model that draws in its graph takes the left one's state before each step,
    since a draw that differs in the last bit would change all that follow.
    """
    batch = len(next(iter(inputs[0].values())))
    first, second = left.executor(batch), right.executor(batch)
    worst, magnitude = Difference(0.0, 0, left.spec.main_output.name), 0.0
    for step, values in enumerate(inputs):
        if left.spec.noise_inputs:
            second.write_state(first.read_state())
        for executor in (first, second):
            for name, array in values.items():
                executor.inputs[name][...] = array
            executor.run()
        for name, output in first.outputs.items():
            magnitude = max(
                magnitude, float(np.abs(output, where=np.isfinite(output), out=np.zeros(output.shape)).max())
            )
            distance = max_abs(output, second.outputs[name])
            if not (distance <= worst.max_abs or math.isnan(worst.max_abs)):
                worst = Difference(distance, step, name)
    return replace(worst, magnitude=magnitude)


def max_abs(left: Array, right: Array) -> float:
    """Return the largest absolute difference of two arrays of one shape; NaN if either holds NaN.

    Infinities of one sign are equal.
    """
    one, two = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.where(one == two, 0.0, np.abs(one - two)).max(initial=0.0))
