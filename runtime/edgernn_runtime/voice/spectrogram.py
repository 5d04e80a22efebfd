"""Spectrograms: short-time Fourier transforms of sound, their mel bands, and the way back."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs.mel import FLOOR, MelCodec

Samples = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

_ITERATIONS: Final = 60
_MOMENTUM: Final = 0.99
_TINY: Final = 1e-12


def transform(samples: Samples, codec: MelCodec) -> Spectrum:
    """Return the short-time Fourier transform of sound, complex64 `[frames, window // 2 + 1]`.

    Each frame is taken by a Hann window around the middle of its hop; silence is put before and behind.

    Args:
        samples: float32 `[n]`; a hop that is not full is left out.
        codec: The layout of the frames.
    """
    frames = len(samples) // codec.hop
    if not frames:
        return np.zeros((0, codec.window // 2 + 1), np.complex64)
    before = (codec.window - codec.hop) // 2
    padded = np.pad(samples[: frames * codec.hop], (before, codec.window - codec.hop - before))
    views = np.lib.stride_tricks.sliding_window_view(padded, codec.window)[:: codec.hop]
    return np.fft.rfft(views * _hann(codec.window), axis=1).astype(np.complex64)


def inverse(spectrum: Spectrum, codec: MelCodec) -> Samples:
    """Return sound float32 `[frames * hop]` whose transform is the nearest one to `spectrum` in the least squares."""
    frames, hop, window = len(spectrum), codec.hop, _hann(codec.window)
    parts = np.fft.irfft(spectrum, codec.window, axis=1).astype(np.float32) * window
    total = np.zeros((frames - 1) * hop + codec.window, np.float32)
    weight = np.zeros_like(total)
    for i, part in enumerate(parts):
        total[i * hop : i * hop + codec.window] += part
        weight[i * hop : i * hop + codec.window] += window**2
    before = (codec.window - hop) // 2
    whole = total / np.maximum(weight, 1e-3)
    return whole[before : before + frames * hop].astype(np.float32)


def log_mel(samples: Samples, codec: MelCodec) -> NDArray[np.float32]:
    """Return the natural logarithms of the magnitudes of mel bands, float32 `[frames, bands]`."""
    magnitudes = np.abs(transform(samples, codec)) @ codec.filters().T
    return np.log(np.maximum(magnitudes, FLOOR)).astype(np.float32)


def griffin_lim(bands: NDArray[np.float32], codec: MelCodec, *, seed: int = 0, rounds: int = _ITERATIONS) -> Samples:
    """Return sound of given mel bands, float32 `[frames * hop]`, by Griffin and Lim (1984) with momentum.

    Phases begin at random and are made to fit each other (Perraudin, Balazs and Sondergaard 2013).

    Args:
        bands: Logarithms of magnitudes, float32 `[frames, bands]`.
        codec: The layout of the frames.
        seed: The seed of the first phases.
        rounds: How often phases are made to fit.
    """
    back = np.linalg.pinv(codec.filters().astype(np.float64)).astype(np.float32)
    magnitudes = np.maximum(np.exp(bands) @ back.T, 0)
    angles: Spectrum = np.exp(2j * np.pi * np.random.default_rng(seed).random(magnitudes.shape)).astype(np.complex64)
    before: Spectrum = np.zeros_like(angles)
    for _ in range(rounds):
        rebuilt = transform(inverse((magnitudes * angles).astype(np.complex64), codec), codec)
        moved = rebuilt - np.float32(_MOMENTUM / (1 + _MOMENTUM)) * before
        angles = (moved / (np.abs(moved) + np.float32(_TINY))).astype(np.complex64)
        before = rebuilt
    return inverse((magnitudes * angles).astype(np.complex64), codec)


def _hann(size: int) -> Samples:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
