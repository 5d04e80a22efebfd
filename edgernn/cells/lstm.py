"""The long short-term memory of Hochreiter and Schmidhuber (1997), with forget gates (Gers et al. 2000)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from edgernn.cells.cell import State, TorchCell


class LSTM(TorchCell):
    """Input, forget and output gates `i`, `f`, `o` around a cell state `c`.

    `i, f, o = sigmoid(W x_t + U h_{t-1} + b)`, `g = tanh(W_g x_t + U_g h_{t-1} + b_g)`,
    `c_t = f * c_{t-1} + i * g`, `h_t = o * tanh(c_t)`. Weights are stacked in torch's order i, f, g, o.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        """Make a cell with torch's default initialisation."""
        super().__init__()
        self.kernel = nn.LSTM(input_size, hidden_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output `[batch, hidden]` and the next state of one step; see `Cell.step`."""
        h, c = state
        gates = self.project_input(x) + self.project_state(h)
        i, f, g, o = gates.chunk(4, dim=1)  # [batch, hidden] each
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs `[time, batch, hidden]` and the last state; see `Cell.scan`."""
        h, c = state
        y, (h, c) = self.kernel(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return y, (h.squeeze(0), c.squeeze(0))
