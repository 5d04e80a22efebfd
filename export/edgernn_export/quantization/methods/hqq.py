"""HQQ: half-quadratic quantization, as ONNX Runtime's own tools have it."""

from typing import Final

import numpy as np

from edgernn_export.quantization.blocks import Bits, Grid, Weights
from edgernn_export.quantization.methods.grids import spanning_grid

_ROUNDING: Final = 1.001


def fitted_grid(weight: Weights, *, bits: Bits, block: int) -> Grid:
    """Return the grid that Badri and Shaji's half-quadratic quantization (2023) finds, zero points rounded.

    A block whose grid would not hold zero, or be coarser than one that spans the weights, gets the latter: so it is
    for weights of one sign, all equal, or tiny.

    Args:
        weight: float64 `[K, N]`, K a multiple of `block`.
        bits: Bits of a code.
        block: Rows that share a scale and a zero point.
    """
    import torch  # noqa: PLC0415, only this method needs it
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415, likewise, and it takes a while
        HQQWeightOnlyQuantConfig,
        HQQWeightOnlyQuantizer,
    )

    quantizer = HQQWeightOnlyQuantizer(HQQWeightOnlyQuantConfig(block_size=block, bits=bits))
    columns = torch.from_numpy(np.ascontiguousarray(weight.T, np.float32))  # [N, K]
    _, scales, zero_points = quantizer.quantize_internal(columns, bits=bits, group_size=block)
    found = np.rint(zero_points.numpy().astype(np.float64).T)
    usual = spanning_grid(weight, bits=bits, block=block)
    fitted = scales.numpy().astype(np.float64).T
    fits = (found >= 0) & (found <= usual.top) & (fitted <= _ROUNDING * usual.scales)
    return Grid(np.where(fits, fitted, usual.scales), np.where(fits, found, usual.zero_points), bits, block)
