"""The gated recurrent unit of Cho et al. (2014), in the form of torch: reset after the product."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from edgernn.cells.cell import State, TorchCell


class GRU(TorchCell):
    """Reset and update gates `r`, `z` around a candidate `n`.

    `r, z = sigmoid(W x_t + U h_{t-1} + b)`, `n = tanh(W_n x_t + b_n + r * (U_n h_{t-1} + c_n))`,
    `h_t = (1 - z) * n + z * h_{t-1}`. Weights are stacked in torch's order r, z, n.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        """Make a cell with torch's default initialisation."""
        super().__init__()
        self.kernel = nn.GRU(input_size, hidden_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output `[batch, hidden]` and the next state of one step; see `Cell.step`."""
        (h,) = state
        sizes = [2 * self.kernel.hidden_size, self.kernel.hidden_size]
        x_gates, x_n = torch.split(self.project_input(x), sizes, dim=1)
        h_gates, h_n = torch.split(self.project_state(h), sizes, dim=1)
        r, z = torch.sigmoid(x_gates + h_gates).chunk(2, dim=1)  # [batch, hidden] each
        n = torch.tanh(x_n + r * h_n)
        h = n + z * (h - n)
        return h, (h,)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs `[time, batch, hidden]` and the last state; see `Cell.scan`."""
        y, h = self.kernel(x, state[0].unsqueeze(0))
        return y, (h.squeeze(0),)
