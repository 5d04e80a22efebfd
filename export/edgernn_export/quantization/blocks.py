"""Rounding a weight matrix to few bits, block by block."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[4, 8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix `[K, N]` in the layout of ONNX Runtime's MatMulNBits: blocks of rows of each column.

    A weight is `(q - zero_point) * scale` with the scale and the zero point of its block.

    Attributes:
        packed: uint8 `[N, blocks, block * bits / 8]`; of two 4-bit values, the first is in the low half.
        scales: float32 `[N, blocks]`.
        zero_points: uint8 `[N, ceil(blocks * bits / 8)]`, packed like the values.
        bits: Bits of a value.
        block: Rows in a block; the last one is padded.
        rows: K.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]
    bits: Bits
    block: int
    rows: int


def quantize_blocks(weight: NDArray[np.float32], *, bits: Bits, block: int) -> Blocks:
    """Round a matrix to the nearest values that its blocks can hold.

    Each block spans its smallest and largest weight, and zero, in `2**bits - 1` equal steps.

    Args:
        weight: float32 `[K, N]`.
        bits: Bits of a value.
        block: Rows that share a scale and a zero point.
    """
    rows, columns = weight.shape
    count = -(-rows // block)
    padded = np.zeros((count * block, columns), np.float32)
    padded[:rows] = weight
    blocks = padded.T.reshape(columns, count, block)
    low = np.minimum(blocks.min(axis=2), 0)
    high = np.maximum(blocks.max(axis=2), 0)
    top = 2**bits - 1
    scales = ((high - low) / top).astype(np.float32)
    scales[scales == 0] = 1
    zero_points = np.clip(np.rint(-low / scales), 0, top).astype(np.uint8)
    values = np.rint(blocks / scales[..., None]) + zero_points[..., None]
    return Blocks(
        packed=_pack(np.clip(values, 0, top).astype(np.uint8), bits),
        scales=scales,
        zero_points=_pack(zero_points, bits),
        bits=bits,
        block=block,
        rows=rows,
    )


def dequantize_blocks(blocks: Blocks) -> NDArray[np.float32]:
    """Return the matrix `[K, N]` that the blocks stand for."""
    columns, count = blocks.scales.shape
    values = _unpack(blocks.packed, blocks.bits).astype(np.float32)
    zero_points = _unpack(blocks.zero_points, blocks.bits)[:, :count].astype(np.float32)
    weight = (values - zero_points[..., None]) * blocks.scales[..., None]
    return weight.reshape(columns, count * blocks.block).T[: blocks.rows]


def _pack(values: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """Put two 4-bit values into each byte along the last axis, padded to whole bytes."""
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    return values[..., 0::2] | (values[..., 1::2] << np.uint8(4))


def _unpack(packed: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    if bits == 8:
        return packed
    return np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).reshape(*packed.shape[:-1], -1)
