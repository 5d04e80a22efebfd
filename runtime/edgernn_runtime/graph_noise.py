"""GraphNoise: the uniforms that a model is fed which draws in its graph."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.distributions import UNIFORMS
from edgernn_runtime.engine import Array
from edgernn_runtime.spec import Spec


class GraphNoise:
    """Which of a step's uniforms go into which input: those in the lanes behind the ones that are drawn from outside.

    Attributes:
        lanes: Uniforms that a step needs, those drawn from outside the graph included.
    """

    __slots__ = ("_parts", "lanes")

    def __init__(self, spec: Spec) -> None:
        """Lay out the noise inputs of a model, in the order of its Spec."""
        first = _lanes_outside(spec)
        self._parts: list[tuple[str, slice]] = []
        for tensor in spec.noise_inputs:
            size = tensor.sized(1)[1]
            self._parts.append((tensor.name, slice(first, first + size)))
            first += size
        self.lanes = first

    def feed(self, inputs: Mapping[str, Array], row: int, uniforms: NDArray[np.float32]) -> None:
        """Put a step's uniforms `[lanes]` into one row of the inputs."""
        for name, lanes in self._parts:
            inputs[name][row] = uniforms[lanes]


def _lanes_outside(spec: Spec) -> int:
    if spec.feedback is None:
        return 0
    return 1 if spec.vocabulary else UNIFORMS[spec.distribution] * int(np.prod(spec.main_input.sized(1)))
