"""The states of a step module as its Spec lists them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
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


def begun_specs(names: Iterable[str], state: Sequence[Tensor]) -> tuple[StateSpec, ...]:
    """Return the states called `names`, which at reset are what `state` holds, tensors `[1, ...]`."""
    return tuple(
        replace(spec, initial=tuple(float(number) for number in tensor.flatten()))
        for spec, tensor in zip(state_specs(names, state), state, strict=True)
    )
