"""Pitch: the fundamental frequency of speech by normalised autocorrelation, and whether there is one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs.mel import MelCodec

LOWEST_HZ: Final = 60
HIGHEST_HZ: Final = 320

VOICED: Final = 0.6
"""The autocorrelation above which a frame is voiced."""

_QUIET: Final = 0.03  # of the loudest frame's deviation
_NEARLY: Final = 0.9  # a shorter period wins if its peak is nearly as high, against octave errors
_BLOCK: Final = 512


def track_pitch(samples: NDArray[np.float32], codec: MelCodec) -> NDArray[np.float32]:
    """Return the pitch of each frame in hertz, 0 where a frame is not voiced, float32 `[frames]`.

    Normalised cross-correlation of a window of 1.5 longest periods with itself, shifted by each period
    (Talkin 1995); the shortest period whose peak nearly is the highest one counts, refined by a parabola.

    Args:
        samples: float32 `[n]`.
        codec: The layout of the frames.
    """
    shortest, longest = codec.rate_hz // HIGHEST_HZ, codec.rate_hz // LOWEST_HZ
    size = 3 * longest // 2
    frames = len(samples) // codec.hop
    before = (size + longest - codec.hop) // 2
    padded = np.pad(samples.astype(np.float64), (before, size + longest + codec.hop))
    starts = np.arange(frames) * codec.hop
    found = [
        _periods(np.stack([padded[start : start + size + longest] for start in part]), size, shortest, longest)
        for part in np.array_split(starts, max(1, frames // _BLOCK))
        if len(part)
    ]
    if not found:
        return np.zeros(0, np.float32)
    periods, peaks, loud = (np.concatenate(each) for each in zip(*found, strict=True))
    voiced = (peaks > VOICED) & (loud > _QUIET * loud.max(initial=0))
    return np.where(voiced, codec.rate_hz / periods, 0).astype(np.float32)


def _periods(
    views: NDArray[np.float64], size: int, shortest: int, longest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the period in samples, its correlation, and the deviation of frames `[n, size + longest]`."""
    views = views - views.mean(axis=1, keepdims=True)
    length = 1 << int(np.ceil(np.log2(views.shape[1] + size)))
    head = np.fft.rfft(views[:, :size], length, axis=1)
    products = np.fft.irfft(np.conj(head) * np.fft.rfft(views, length, axis=1), length, axis=1)[:, : longest + 1]
    powers = np.cumsum(np.pad(views**2, ((0, 0), (1, 0))), axis=1)
    power = powers[:, size:] - powers[:, : longest + 1]  # [n, longest + 1], of the window at each shift
    correlation = products / np.sqrt(power[:, :1] * power + 1e-9)
    inner = correlation[:, shortest:longest]
    is_peak = (inner >= correlation[:, shortest - 1 : longest - 1]) & (inner >= correlation[:, shortest + 1 :])
    heights = np.where(is_peak, inner, -1.0)
    best = heights.max(axis=1)
    period = (heights >= _NEARLY * best[:, None]).argmax(axis=1) + shortest
    rows = np.arange(len(views))
    left, middle, right = (correlation[rows, period + shift] for shift in (-1, 0, 1))
    curve = left - 2 * middle + right
    shift = np.where(np.abs(curve) > 1e-9, 0.5 * (left - right) / np.where(np.abs(curve) > 1e-9, curve, 1), 0)
    return period + np.clip(shift, -0.5, 0.5), np.where(best > 0, middle, 0), views.std(axis=1)
