"""The states of a step module as its Spec lists them."""

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

from edgernn_runtime.spec import BATCH, Dtype, StateSpec

_DTYPES: Final[dict[torch.dtype, Dtype]] = {torch.float32: "float32", torch.int64: "int64", torch.bool: "bool"}


def state_specs(names: Iterable[str], state: Sequence[Tensor]) -> tuple[StateSpec, ...]:
    """Return the states called `names`, which are zero at reset, as tensors `[batch, ...]` are in a step graph."""
    return tuple(
        StateSpec(f"state.{name}", f"next_state.{name}", _DTYPES[tensor.dtype], (BATCH, *tensor.shape[1:]))
        for name, tensor in zip(names, state, strict=True)
    )
