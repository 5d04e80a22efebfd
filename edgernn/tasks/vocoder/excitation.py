"""Excitation: what speech is beyond its linear prediction, found the way a vocoder will make it, sample by sample."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.models.linear_prediction import ORDER, PREEMPHASIS
from edgernn.models.vocoder import expand, quantized

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Excitation:
    """An utterance in the parts that a vocoder makes it of.

    Attributes:
        samples: Pre-emphasised samples as a vocoder would have made them, with noise, float32 `[n]`.
        predicted: The prediction of each from those before, float32 `[n]`.
        levels: The level of what it is beyond that, int64 `[n]`.
    """

    samples: Floats
    predicted: Floats
    levels: NDArray[np.int64]


def excitations(
    utterances: list[Floats], predictors: list[Floats], *, hop: int, noise: float, seed: int
) -> list[Excitation]:
    """Return what utterances are made of.

    All are gone through together. Each sample is predicted from those that were made before it, the rest is rounded
    to its level and `noise` added to that, so that training meets the errors that a vocoder makes.

    Args:
        utterances: float32 `[frames * hop]` each.
        predictors: The coefficients of each frame, float32 `[frames, ORDER]` each.
        hop: Samples of a frame.
        noise: The deviation of the noise, in levels.
        seed: The seed of the noise.
    """
    rng = np.random.default_rng(seed)
    longest = max(map(len, utterances))
    count = len(utterances)
    emphasised = np.zeros((longest, count), np.float32)
    filters = np.zeros((longest // hop, count, ORDER), np.float32)
    for i, (sound, predictor) in enumerate(zip(utterances, predictors, strict=True)):
        emphasised[: len(sound), i] = sound - PREEMPHASIS * np.pad(sound[:-1], (1, 0))
        filters[: len(predictor), i] = predictor
    made = np.zeros((longest + ORDER, count), np.float32)
    predicted = np.zeros((longest, count), np.float32)
    levels = np.zeros((longest, count), np.int64)
    for t in range(longest):
        past = made[t : t + ORDER][::-1].T  # the newest first
        predicted[t] = (past * filters[t // hop]).sum(1)
        level = quantized(torch.from_numpy(emphasised[t] - predicted[t])).clamp(0, 255)
        levels[t] = level.numpy()
        shaken = level + noise * torch.from_numpy(rng.standard_normal(count).astype(np.float32))
        made[t + ORDER] = np.clip(predicted[t] + expand(shaken).numpy(), -1, 1)
    return [
        Excitation(made[ORDER : ORDER + n, i].copy(), predicted[:n, i].copy(), levels[:n, i].copy())
        for i, n in enumerate(map(len, utterances))
    ]
