"""Cell: the contract of one recurrent layer."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, ...]
"""What a cell carries from step to step: tensors `[batch, hidden]`, named by `Cell.state_names`."""


class Cell(nn.Module, ABC):
    """One recurrent layer, in two forms that compute the same: step by step, and over a sequence.

    The weights live in `kernel`, a one-layer module of torch, so that training runs on torch's own fused
    kernels and weights move to and from torch by name.

    Attributes:
        state_names: The names of the state tensors, in order.
        kernel: The torch module that holds the weights.
    """

    state_names: ClassVar[tuple[str, ...]]
    kernel: nn.RNNBase

    @property
    def input_size(self) -> int:
        """Features of one input."""
        return self.kernel.input_size

    @property
    def hidden_size(self) -> int:
        """Features of one output, and of each state tensor."""
        return self.kernel.hidden_size

    def init(self, batch: int) -> State:
        """Return the state at reset: zeros `[batch, hidden]`, on the weights' device and of their dtype."""
        weight = self.kernel.get_parameter("weight_hh_l0")
        return tuple(weight.new_zeros(batch, self.hidden_size) for _ in self.state_names)

    def project_input(self, x: Tensor) -> Tensor:
        """Return `W_ih x + b_ih` for all gates, `[batch, gates * hidden]`."""
        kernel = self.kernel
        return functional.linear(x, kernel.get_parameter("weight_ih_l0"), kernel.get_parameter("bias_ih_l0"))

    def project_state(self, h: Tensor) -> Tensor:
        """Return `W_hh h + b_hh` for all gates, `[batch, gates * hidden]`."""
        kernel = self.kernel
        return functional.linear(h, kernel.get_parameter("weight_hh_l0"), kernel.get_parameter("bias_hh_l0"))

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output and the next state of one step.

        Args:
            x: The input, floating `[batch, input]`.
            state: The state, floating `[batch, hidden]` each.

        Returns:
            The output `[batch, hidden]`, and the next state.
        """

    @abstractmethod
    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs and the last state of a sequence, on torch's fused kernels.

        Args:
            x: The inputs, floating `[time, batch, input]`, time at least 1.
            state: The state before the first input, `[batch, hidden]` each.

        Returns:
            The outputs `[time, batch, hidden]`, and the state after the last input.
        """
