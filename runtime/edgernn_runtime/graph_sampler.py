"""The sampler in a graph: the names of its tensors, and which settings it has.

Beside the logits, such a graph gives the next token, chosen as `Sampler` chooses it from the same noise.
`docs/format.md` describes its inputs and outputs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import SpecError
from edgernn_runtime.sampling import Sampler

if TYPE_CHECKING:
    from edgernn_runtime.spec import TensorSpec

Array = NDArray[np.generic]

NOISE: Final = "noise"
TEMPERATURE: Final = "temperature"
TOP_K: Final = "top_k"
TOP_P: Final = "top_p"
NEXT_TOKEN: Final = "next_token"  # noqa: S105, a tensor
CUMULATIVE: Final = "cumulative"

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


def find_sampler(
    inputs: "Iterable[TensorSpec]", outputs: "Iterable[TensorSpec]", logits: "TensorSpec"
) -> GraphSampler | None:
    """Return the sampler among the tensors of a Spec, which chooses by its `logits`; None if there is none.

    Raises:
        SpecError: If a part of it is missing, or of another dtype or shape.
    """
    given = {tensor.name: tensor for tensor in inputs}
    made = {tensor.name: tensor for tensor in outputs}
    if not any(tensor.role == "token" for tensor in made.values()):
        return None
    for name in (NEXT_TOKEN, CUMULATIVE):
        if name not in made:
            raise SpecError(f"a graph that samples needs the output {name}")
    found = GraphSampler(int(logits.shape[-1]), filters=TOP_K in given)
    wanted = {NOISE: "float32", TEMPERATURE: "float32", TOP_K: "int64", TOP_P: "float32"}
    for name in found.inputs:
        if name not in given or given[name].shape[1:] != (1,) or given[name].dtype != wanted[name]:
            raise SpecError(f"a graph that samples needs the input {name}, {wanted[name]} of the batch and 1")
    return found
