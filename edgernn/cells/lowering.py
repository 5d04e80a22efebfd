"""Choosing which operators the layers of a model become in a step graph."""

from torch import nn

from edgernn.cells.cell import TorchCell
from edgernn.cells.stack import Lowering, Stack
from edgernn_runtime.errors import InputError


def lower(module: nn.Module, lowering: Lowering) -> None:
    """Set the lowering of every stack in `module`, which is changed; what it computes stays the same.

    With `fused`, layers that torch has are exported as the ONNX operators LSTM, GRU and RNN, for providers with
    such kernels; other layers stay as they are. `cell` undoes it.

    Raises:
        InputError: If `lowering` is `fused` and the module has no layer that torch has.
    """
    stacks = [each for each in module.modules() if isinstance(each, Stack)]
    if lowering == "fused" and not any(isinstance(cell, TorchCell) for stack in stacks for cell in stack.layers):
        raise InputError("the fused lowering needs LSTM, GRU or Elman layers, and the model has none; use cell")
    for stack in stacks:
        stack.lowering = lowering
