"""Methods: how a weight matrix is rounded to few bits.

`nearest` takes every weight to the nearest value of its block; `clipped` first narrows each block's range to where the
squared error is least; `hqq` fits the zero points to a sparse error (Badri and Shaji 2023); `gptq` rounds to the
clipped grid and makes up for each error in what is left. `clipped` and `gptq` know the inputs that the matrix
meets along live streams.
"""

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgernn_export.quantization.blocks import Bits, Blocks, padded
from edgernn_export.quantization.methods.gptq import compensated_codes
from edgernn_export.quantization.methods.grids import clipped_grid, spanning_grid
from edgernn_export.quantization.methods.hqq import fitted_grid

Method = Literal["nearest", "clipped", "hqq", "gptq"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)


def needs_moments(method: Method) -> bool:
    """Return whether a method must know the inputs that the matrix meets."""
    return method in ("clipped", "gptq")


def quantize_matrix(
    weight: NDArray[np.floating],
    *,
    bits: Bits,
    block: int,
    method: Method = "nearest",
    moments: NDArray[np.float64] | None = None,
) -> Blocks:
    """Return a matrix in few bits.

    Args:
        weight: floating `[K, N]`.
        bits: Bits of a weight.
        block: Rows that share a scale and a zero point.
        method: How it is rounded.
        moments: The second moments `E[x xT]` of its input, float64 `[K, K]`, for the methods that need them.
    """
    whole = padded(weight, block)
    met = np.zeros((len(whole), len(whole)))
    if moments is not None:
        met[: len(moments), : len(moments)] = moments
    if method == "hqq":
        grid = fitted_grid(whole, bits=bits, block=block)
    elif method == "nearest":
        grid = spanning_grid(whole, bits=bits, block=block)
    else:
        grid = clipped_grid(whole, np.diag(met), bits=bits, block=block)
    codes = compensated_codes(whole, met, grid) if method == "gptq" else grid.codes(whole)
    return Blocks.of(codes, grid, rows=len(weight))
