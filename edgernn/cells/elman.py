"""The simple recurrent network of Elman, "Finding structure in time" (1990)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from edgernn.cells.cell import State, TorchCell


class Elman(TorchCell):
    """`h_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h)`, or with ReLU in place of tanh.

    The bias `b_h` is the sum of torch's `bias_ih` and `bias_hh`. The output is `h_t`; the layer's
    `y_t = W_hy h_t + b_y` is the head of a model.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        """Make a cell with torch's default initialisation."""
        super().__init__()
        self.kernel = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity)
        self.activation = torch.tanh if nonlinearity == "tanh" else torch.relu

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output `[batch, hidden]` and the next state of one step; see `Cell.step`."""
        (h,) = state
        h = self.activation(self.project_input(x) + self.project_state(h))
        return h, (h,)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs `[time, batch, hidden]` and the last state; see `Cell.scan`."""
        y, h = self.kernel(x, state[0].unsqueeze(0))
        return y, (h.squeeze(0),)
