"""What goes into and comes out of an ONNX operator: tensors, and arrays that are known without running the model."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn_runtime.errors import LiftError

Host = NDArray[np.generic]
Given = Tensor | Host | None
Attributes = Mapping[str, Any]
Result = Tensor | tuple[Tensor | None, ...]
Operator = Callable[..., Result]


def tensor(value: Given) -> Tensor:
    """Return a value as a tensor."""
    if isinstance(value, Tensor):
        return value
    assert value is not None  # noqa: S101, the checker saw to it that it is there
    return torch.tensor(np.asarray(value))


def numbers(value: Given, what: str) -> list[int]:
    """Return sizes or axes, which must be known without running the model."""
    if isinstance(value, Tensor):
        raise LiftError(f"{what} is computed from the input; fix the input that it depends on (--fix NAME=VALUE)")
    return [int(each) for each in np.asarray(value).reshape(-1)]


def one_tensor(value: Any) -> Tensor:  # noqa: ANN401, torch types its functional layers loosely
    """Return a value that is a tensor, as one."""
    assert isinstance(value, Tensor)  # noqa: S101
    return value


def text(value: object) -> str:
    """Return an attribute that is a string."""
    return value.decode() if isinstance(value, bytes) else str(value)
