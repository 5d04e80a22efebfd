"""A denoiser over whole sequences, as one writes it to train it: nothing in it knows of streaming."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Denoiser(nn.Module):
    """A causal convolution, a recurrence, and a mask of each frame of 40 bands."""

    def __init__(self) -> None:
        """Make a model with fixed random weights; yours comes trained."""
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(40, 64, kernel_size=5)
        self.rnn = nn.GRU(64, 64, num_layers=2, batch_first=True)
        self.mask = nn.Linear(64, 40)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised frames `[batch, time, 40]`."""
        y = self.conv(functional.pad(x.transpose(1, 2), (4, 0))).relu()
        y, _ = self.rnn(y.transpose(1, 2))
        return x * self.mask(y).sigmoid()
