"""Cell: the contract of one recurrent layer; TorchCell: a layer whose weights are torch's."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, ...]
"""What a cell carries from step to step: tensors `[batch, ...]`, named by `Cell.state_names`."""


class Cell(nn.Module, ABC):
    """One recurrent layer, in two forms that compute the same: step by step, and over a sequence.

    Attributes:
        state_names: The names of the state tensors, in order.
    """

    state_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def init(self, batch: int) -> State:
        """Return the state at reset, tensors `[batch, ...]`, on the weights' device and of their dtype."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output and the next state of one step.

        Args:
            x: The input, floating `[batch, input]`.
            state: The state, as `init` gives it.

        Returns:
            The output `[batch, hidden]`, and the next state.
        """

    @abstractmethod
    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs and the last state of a sequence.

        Args:
            x: The inputs, floating `[time, batch, input]`, time at least 1.
            state: The state before the first input, as `init` gives it.

        Returns:
            The outputs `[time, batch, hidden]`, and the state after the last input.
        """


class TorchCell(Cell):
    """A cell that torch has: it computes what its kernel, a one-layer module of torch, computes.

    Training so runs on torch's own fused kernels, and weights move to and from torch by name.

    Attributes:
        kernel: The torch module that holds the weights.
    """

    kernel: nn.RNNBase

    def init(self, batch: int) -> State:
        """Return zeros `[batch, hidden]` for every state tensor."""
        weight = self.kernel.get_parameter("weight_hh_l0")
        return tuple(weight.new_zeros(batch, self.kernel.hidden_size) for _ in self.state_names)

    def fused_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what `step` does, as a scan of one step: exported, it is one recurrent operator."""
        y, after = self.scan(x.unsqueeze(0), state)
        return y.squeeze(0), after

    def project_input(self, x: Tensor) -> Tensor:
        """Return `W_ih x + b_ih` for all gates, `[batch, gates * hidden]`."""
        kernel = self.kernel
        return functional.linear(x, kernel.get_parameter("weight_ih_l0"), kernel.get_parameter("bias_ih_l0"))

    def project_state(self, h: Tensor) -> Tensor:
        """Return `W_hh h + b_hh` for all gates, `[batch, gates * hidden]`."""
        kernel = self.kernel
        return functional.linear(h, kernel.get_parameter("weight_hh_l0"), kernel.get_parameter("bias_hh_l0"))
