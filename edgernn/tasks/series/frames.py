"""Frames: a series as a model takes it, and beside each frame the value that should follow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs import SeriesCodec

Values = NDArray[np.float32]
"""float32 `[steps, columns]`, NaN where a value is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What a model is fed, and what should follow.

    Attributes:
        inputs: float32 `[steps, columns]`, NaN only where gaps are left to the model.
        targets: The values one step later, float32 `[steps, columns]`, NaN where one is not known.
        rows: The row of the series that each frame ends with, int64 `[steps]`.
    """

    inputs: Values
    targets: Values
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.inputs)


def make_frames(codec: SeriesCodec, fed: Values, true: Values) -> Frames:
    """Return the frames of a series; the last row has none of its own, for nothing follows it.

    A gap that is bridged by a straight line shows what comes behind it, so there is no target at such a step.

    Args:
        codec: How gaps are met.
        fed: What the model may see, float32 `[rows, columns]`.
        true: What is scored, float32 `[rows, columns]`.
    """
    inputs = codec.encode(fed)
    rows = np.arange(len(fed))
    if codec.gaps == "delete":
        rows = rows[~np.isnan(fed).any(axis=1)]
        truth = true[rows]
    elif codec.gaps == "resample":
        rows = rows[len(fed) % codec.every :][codec.every - 1 :: codec.every]
        spans = true[len(true) % codec.every :].reshape(-1, codec.every, codec.size)
        truth = np.where(np.isnan(spans).all(axis=1), np.nan, codec.encode(true)).astype(np.float32)
    else:
        truth = true
    targets = truth[1:].copy()
    if codec.gaps == "interpolate":
        targets[np.isnan(fed[:-1])] = np.nan
    return Frames(inputs[:-1], targets, rows[:-1])


def drop_values(values: Values, share: float, seed: int) -> Values:
    """Return a series without a share of its values, drawn from a seed; a longer series loses the same ones first."""
    lost = np.random.default_rng(seed).random(values.shape) < share
    return np.where(lost, np.nan, values).astype(np.float32)
