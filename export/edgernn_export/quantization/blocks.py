"""Blocks: a weight matrix in few bits, in the layout that ONNX Runtime's operators read."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[4, 8]
Codes = NDArray[np.uint8]
Weights = NDArray[np.float64]

SMALLEST_BLOCK: Final = 16
"""What the operators take at least; a block is a power of two."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that the blocks of a matrix `[K, N]` can hold: `(code - zero_point) * scale`.

    Attributes:
        scales: float64 `[blocks, N]`, positive.
        zero_points: float64 `[blocks, N]`, whole numbers from 0 to the largest code.
        bits: Bits of a code.
        block: Rows in a block; K is a multiple of it.
    """

    scales: NDArray[np.float64]
    zero_points: NDArray[np.float64]
    bits: Bits
    block: int

    @property
    def top(self) -> int:
        """The largest code."""
        return int(2**self.bits) - 1

    def codes(self, weight: Weights) -> Codes:
        """Return the nearest codes `[K, N]` of a matrix."""
        scales, zero_points = self.by_row()
        return np.clip(np.rint(weight / scales) + zero_points, 0, self.top).astype(np.uint8)

    def weights(self, codes: Codes) -> Weights:
        """Return the matrix `[K, N]` that codes stand for."""
        scales, zero_points = self.by_row()
        return (codes - zero_points) * scales

    def by_row(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scales and zero points for every weight, `[K, N]` each."""
        return np.repeat(self.scales, self.block, axis=0), np.repeat(self.zero_points, self.block, axis=0)


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

    packed: Codes
    scales: NDArray[np.float32]
    zero_points: Codes
    bits: Bits
    block: int
    rows: int

    @classmethod
    def of(cls, codes: Codes, grid: Grid, *, rows: int) -> "Blocks":
        """Return the blocks of codes `[K, N]`, K padded to whole blocks; `rows` of them are the matrix's."""
        count, columns = grid.scales.shape
        return cls(
            packed=_pack(codes.T.reshape(columns, count, grid.block), grid.bits),
            scales=np.ascontiguousarray(grid.scales.T, np.float32),
            zero_points=_pack(np.ascontiguousarray(grid.zero_points.T).astype(np.uint8), grid.bits),
            bits=grid.bits,
            block=grid.block,
            rows=rows,
        )

    def codes(self) -> Codes:
        """Return the values `[N, blocks, block]`."""
        return unpack(self.packed, self.bits)

    def zeros(self) -> Codes:
        """Return the zero points `[N, blocks]`."""
        return unpack(self.zero_points, self.bits)[:, : self.scales.shape[1]]

    def weights(self) -> NDArray[np.float32]:
        """Return the matrix `[K, N]` that the blocks stand for."""
        columns, count = self.scales.shape
        centred = self.codes().astype(np.float32) - self.zeros().astype(np.float32)[..., None]
        return (centred * self.scales[..., None]).reshape(columns, count * self.block).T[: self.rows]


def fitting_block(rows: int, block: int) -> int:
    """Return the rows of a block for a matrix of `rows`: `block`, or fewer where it would mostly be padding.

    >>> fitting_block(40, 128)
    64
    """
    return min(block, max(SMALLEST_BLOCK, 1 << (rows - 1).bit_length()))


def padded(weight: NDArray[np.floating], block: int) -> Weights:
    """Return a matrix `[K, N]` with rows of zeros behind it, so that its rows fill whole blocks."""
    rows, columns = weight.shape
    whole = np.zeros((-(-rows // block) * block, columns))
    whole[:rows] = weight
    return whole


def _pack(values: Codes, bits: Bits) -> Codes:
    """Put two 4-bit values into each byte along the last axis, padded to whole bytes."""
    if bits == 8:
        return np.ascontiguousarray(values)
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    return values[..., 0::2] | (values[..., 1::2] << np.uint8(4))


def unpack(packed: Codes, bits: Bits) -> Codes:
    """Return the values that bytes hold along the last axis: of two 4-bit values, the first is in the low half."""
    if bits == 8:
        return packed
    return np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).reshape(*packed.shape[:-1], -1)
