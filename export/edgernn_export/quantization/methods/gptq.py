"""GPTQ: weights rounded one after the other, each error made up for by those that are not rounded yet."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.quantization.blocks import Codes, Grid, Weights

_DAMPING: Final = 0.01
_LAZY: Final = 128


def compensated_codes(weight: Weights, moments: NDArray[np.float64], grid: Grid) -> Codes:
    """Return codes `[K, N]` that keep what the matrix gives for the inputs it meets, rather than its weights.

    Frantar et al. 2022, "GPTQ", algorithm 1 with the rows in order of falling activity: the rows of `W` are
    rounded in turn, and what a row's error does to `x @ W` is made up for by the rows after it, through the
    Cholesky factor of the inverse of the inputs' second moments.

    Args:
        weight: float64 `[K, N]`.
        moments: The second moments `E[x xT]` of the matrix's input, float64 `[K, K]`.
        grid: The values that the blocks can hold.
    """
    order = np.argsort(-np.diag(moments), kind="stable")
    factor = _factor(moments[np.ix_(order, order)])
    scales, zero_points = (each[order] for each in grid.by_row())
    rest = weight[order].copy()
    codes = np.empty(rest.shape, np.uint8)
    for start in range(0, len(rest), _LAZY):
        stop = min(start + _LAZY, len(rest))
        errors = np.empty((stop - start, rest.shape[1]))
        for row in range(start, stop):
            codes[row] = np.clip(np.rint(rest[row] / scales[row]) + zero_points[row], 0, grid.top)
            rounded = (codes[row] - zero_points[row]) * scales[row]
            errors[row - start] = (rest[row] - rounded) / factor[row, row]
            rest[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= factor[start:stop, stop:].T @ errors
    result = np.empty_like(codes)
    result[order] = codes
    return result


def _factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse of damped moments; always zero counts as typical."""
    damped = moments.copy()
    diagonal = np.diag_indices_from(damped)
    met = damped[diagonal] > 0
    typical = float(damped[diagonal][met].mean()) if met.any() else 1.0
    damped[diagonal] = np.where(met, damped[diagonal], typical) + _DAMPING * typical
    factor: NDArray[np.float64] = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor
