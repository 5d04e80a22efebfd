"""Linear prediction from mel bands: the filter of the next sample from those before, in torch, for export as well."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from edgernn_runtime.codecs import MelCodec

ORDER: Final = 16
"""Samples that a prediction is made of."""

PREEMPHASIS: Final = 0.85
"""What is taken of the sample before off each one, so that high frequencies count."""

_NOISE_FLOOR: Final = 1e-4  # of the power, added as white noise, which keeps filters stable
_LAG_WINDOW_HZ: Final = 40.0


class LinearPrediction(nn.Module):
    """Mel bands to the coefficients of a predictor of pre-emphasised speech, by autocorrelation.

    The spectrum is what the filters' pseudo-inverse makes of the bands; its power has an autocorrelation (Wiener and
    Khinchin), which the recursion of Levinson (1947) and Durbin (1960) turns into coefficients. No product here is a
    matrix of weights, so none is quantized.

    Attributes:
        inverse: The pseudo-inverse of the filters, float32 `[window // 2 + 1, bands]`.
        cosines: Each frequency's part in the autocorrelation, float32 `[ORDER + 1, window // 2 + 1]`.
    """

    inverse: Tensor
    cosines: Tensor

    def __init__(self, codec: MelCodec) -> None:
        """Make the matrices of a layout of frames."""
        super().__init__()
        frequencies = 2 * np.pi * np.arange(codec.window // 2 + 1) / codec.window
        emphasis = np.abs(1 - PREEMPHASIS * np.exp(-1j * frequencies)) ** 2
        cosines = np.cos(np.arange(ORDER + 1)[:, None] * frequencies) * emphasis
        cosines[:, 1:-1] *= 2
        lags = np.arange(ORDER + 1) / codec.rate_hz
        cosines *= np.exp(-0.5 * (2 * np.pi * _LAG_WINDOW_HZ * lags) ** 2)[:, None]
        cosines[0] *= 1 + _NOISE_FLOOR
        inverse = np.linalg.pinv(codec.filters().astype(np.float64))
        self.register_buffer("inverse", torch.from_numpy(inverse.astype(np.float32)), persistent=False)
        self.register_buffer("cosines", torch.from_numpy(cosines.astype(np.float32)), persistent=False)

    def forward(self, bands: Tensor) -> Tensor:
        """Return coefficients `[batch, ORDER]`, that of the last sample first, for bands float32 `[batch, bands]`."""
        magnitudes = (torch.exp(bands).unsqueeze(1) * self.inverse).sum(-1).clamp(min=1e-6)
        correlation = (magnitudes.square().unsqueeze(1) * self.cosines).sum(-1)  # [batch, ORDER + 1]
        return levinson(correlation)


def levinson(correlation: Tensor) -> Tensor:
    """Return the predictor of autocorrelations float32 `[batch, order + 1]`, `[batch, order]`.

    >>> levinson(torch.tensor([[1.0, 0.5, 0.25]])).round(decimals=4).tolist()
    [[0.5, 0.0]]
    """
    order = correlation.shape[1] - 1
    backward = torch.arange(order, 0, -1)
    found = correlation.new_zeros(correlation.shape[0], 0)
    error = correlation[:, :1]
    for i in range(order):
        before = correlation.index_select(1, backward[order - i :])  # lags i .. 1
        reflection = (correlation[:, i + 1 : i + 2] - (found * before).sum(1, keepdim=True)) / error
        mirrored = found.index_select(1, backward[order - i :] - 1)
        found = torch.cat([found - reflection * mirrored, reflection], dim=1)
        error = error * (1 - reflection * reflection)
    return found
