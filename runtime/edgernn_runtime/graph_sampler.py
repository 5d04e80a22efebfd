"""The sampler in a graph: the names of its tensors, and which settings it has.

Beside the logits, such a graph gives the next token, chosen as `Sampler` chooses it from the same noise.
`docs/format.md` describes its inputs and outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.sampling import Sampler

Array = NDArray[np.generic]

NOISE: Final = "noise"
TEMPERATURE: Final = "temperature"
TOP_K: Final = "top_k"
TOP_P: Final = "top_p"
NEXT_TOKEN: Final = "next_token"  # noqa: S105, a tensor
CUMULATIVE: Final = "cumulative"

DTYPES: Final[Mapping[str, str]] = {NOISE: "float32", TEMPERATURE: "float32", TOP_K: "int64", TOP_P: "float32"}
"""The dtypes of a sampler's inputs."""

COLDEST: Final = 2.0**-100
"""What the graph takes for a temperature below it: dividing by a power of two keeps the order of the logits."""


@dataclass(frozen=True, slots=True)
class GraphSampler:
    """A sampler that is part of a graph.

    Attributes:
        vocabulary: The number of tokens.
        filters: Whether it has top-k and top-p, and so chooses from the most probable token down.
    """

    vocabulary: int
    filters: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs, each float32 `[batch, 1]`, top-k int64."""
        return (NOISE, TEMPERATURE, TOP_K, TOP_P) if self.filters else (NOISE, TEMPERATURE)

    @property
    def outputs(self) -> tuple[str, str]:
        """The names of its outputs: the token `[batch]`, and cumulative probabilities float32 `[batch, vocabulary]`."""
        return NEXT_TOKEN, CUMULATIVE

    def has(self, sampler: Sampler) -> bool:
        """Whether the graph can choose as `sampler` does; the repetition penalty and allowed tokens it leaves."""
        return not sampler.adjusts and (self.filters or not sampler.filters)


def set_sampler(found: GraphSampler, inputs: Mapping[str, Array], row: int, sampler: Sampler) -> None:
    """Write a sampler's settings into one row of a graph's inputs."""
    inputs[TEMPERATURE][row] = sampler.temperature
    if found.filters:
        kept = 1 if sampler.temperature == 0 else sampler.top_k or found.vocabulary
        inputs[TOP_K][row] = min(kept, found.vocabulary)
        inputs[TOP_P][row] = sampler.top_p
