"""Grids: which values the blocks of a matrix can hold, chosen before the weights are rounded to them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.quantization.blocks import Bits, Grid, Weights

_NARROWEST: Final = 0.6
_TRIED: Final = 40


def spanning_grid(weight: Weights, *, bits: Bits, block: int) -> Grid:
    """Return the grid whose blocks span their smallest and largest weight, and zero, in equal steps.

    Args:
        weight: float64 `[K, N]`, K a multiple of `block`.
        bits: Bits of a code.
        block: Rows that share a scale and a zero point.
    """
    low, high = _range(weight, block)
    return _grid(low, high, bits=bits, block=block)


def clipped_grid(weight: Weights, importance: NDArray[np.float64], *, bits: Bits, block: int) -> Grid:
    """Return the grid with the smallest squared error of all that clip every block to a share of its range.

    Args:
        weight: float64 `[K, N]`, K a multiple of `block`.
        importance: What the squared error of a row counts, float64 `[K]`: the mean square of its input.
        bits: Bits of a code.
        block: Rows that share a scale and a zero point.
    """
    low, high = _range(weight, block)
    best = _grid(low, high, bits=bits, block=block)
    least = _errors(weight, importance, best)
    for share in np.linspace(1, _NARROWEST, _TRIED)[1:]:
        tried = _grid(low * share, high * share, bits=bits, block=block)
        errors = _errors(weight, importance, tried)
        better = errors < least
        least = np.where(better, errors, least)
        scales = np.where(better, tried.scales, best.scales)
        best = Grid(scales, np.where(better, tried.zero_points, best.zero_points), bits, block)
    return best


def _range(weight: Weights, block: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest value of every block, zero included, `[blocks, N]` each."""
    blocks = weight.reshape(-1, block, weight.shape[1])
    return np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)


def _grid(low: NDArray[np.float64], high: NDArray[np.float64], *, bits: Bits, block: int) -> Grid:
    top = 2**bits - 1
    scales = ((high - low) / top).astype(np.float32).astype(np.float64)  # as they are stored
    scales[scales == 0] = 1
    return Grid(scales, np.clip(np.rint(-low / scales), 0, top), bits, block)


def _errors(weight: Weights, importance: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return the weighted squared error of every block, `[blocks, N]`."""
    squared = np.square(grid.weights(grid.codes(weight)) - weight) * importance[:, None]
    found: NDArray[np.float64] = squared.reshape(-1, grid.block, weight.shape[1]).sum(axis=1)
    return found
