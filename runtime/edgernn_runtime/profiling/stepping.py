"""Steps of a stream that is fed another random input each time."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from edgernn_runtime.engine import Array
from edgernn_runtime.model import Model
from edgernn_runtime.spec import Spec, TensorSpec

_DISTINCT_INPUTS: Final = 1024


def stepper(model: Model) -> Callable[[int], None]:
    """Return a function that takes one step of a new stream, fed another input each time."""
    stream = model.stream()
    inputs = list(_random_inputs(model.spec))
    out = np.empty(model.spec.main_output.sized(1)[1:], model.spec.main_output.dtype)
    count = len(inputs)

    def step(number: int) -> None:
        stream.step_into(inputs[number % count], out)

    return step


def random_values(spec: Spec, tensor: TensorSpec, batch: int, rng: np.random.Generator) -> Array:
    """Return values for an input, `[batch, ...]`: integers below its size, noise in [0, 1), else normal numbers."""
    shape = tensor.sized(batch)
    if np.dtype(tensor.dtype).kind != "f":
        below = tensor.size or (spec.vocabulary if tensor == spec.main_input else 0) or 2
        return rng.integers(0, below, shape).astype(tensor.dtype)
    if tensor.role == "noise":
        return rng.random(shape).astype(tensor.dtype)
    return rng.standard_normal(shape).astype(tensor.dtype)


def _random_inputs(spec: Spec) -> Iterator[int | Array]:
    rng = np.random.default_rng(0)
    for _ in range(_DISTINCT_INPUTS):
        value = random_values(spec, spec.main_input, 1, rng)[0]
        yield int(value) if spec.vocabulary else np.asarray(value)
