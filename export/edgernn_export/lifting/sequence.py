"""Sequence: a module over whole sequences, and how its arguments and results relate to steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from edgernn_export.lifting.example import Argument
from edgernn_runtime.engine import Array


class Source(Protocol):
    """What computes whole sequences: a torch module, an exported program, an ONNX file."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs for one tensor per argument of the example, each call from the initial state."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an output of the original relates to an output of the step.

    Attributes:
        name: The output's name in the step.
        position: Its position among the original's outputs.
        batch: Its axis of the batch; None if it has none.
        time: Its axis of time; None if it is one value for the sequence so far.
        fold: Where time shares its axis: what lies before and behind it there.
        count: Elements along time per step.
    """

    name: str
    position: int
    batch: int | None
    time: int | None
    fold: tuple[int, int]
    count: int

    def steps(self, output: Tensor, batch: int) -> Array:
        """Return the original's output as `[steps, batch, ...]`; one step for a value so far."""
        rows_first = _unfolded(output, self, batch)
        return np.ascontiguousarray(rows_first.numpy())


def _unfolded(output: Tensor, result: Result, batch: int) -> Tensor:
    if result.time is None:
        rows = output.unsqueeze(0) if result.batch is None else output.movedim(result.batch, 0)
        return rows.unsqueeze(0)
    if result.batch == result.time:
        output = _split(output, result.time, (batch, -1))
        rows, time = output.movedim(result.time, 0), 1
    elif result.batch is None:
        rows, time = output.unsqueeze(0), result.time + 1
    else:
        rows = output.movedim(result.batch, 0)
        time = result.time + 1 if result.time < result.batch else result.time
    rows = rows.movedim(time, 0)  # [time, batch, ...]
    steps = rows.shape[0] // result.count
    rows = _split(rows[: steps * result.count], 0, (steps, result.count))
    return rows.squeeze(1) if result.count == 1 else rows.transpose(1, 2)


def frames_of(argument: Argument, tensor: Tensor, per_step: int) -> Array:
    """Return an argument with time as `[steps, batch, ...]`, as the step takes it; one without as `[batch, ...]`."""
    rows = tensor.unsqueeze(0) if argument.batch is None else tensor.movedim(argument.batch, 0)
    if argument.time is None:
        return np.ascontiguousarray(rows.numpy())
    time = argument.time + (1 if argument.batch is None or argument.time < argument.batch else 0)
    rows = rows.movedim(time, 0)  # [time, batch, ...]
    rows = _split(rows, 0, (-1, per_step))
    rows = rows.squeeze(1) if per_step == 1 else rows.transpose(1, 2)
    return np.ascontiguousarray(rows.numpy())


def _split(tensor: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    """Return a tensor with one axis split in two."""
    return tensor.reshape(*tensor.shape[:axis], *sizes, *tensor.shape[axis + 1 :])
