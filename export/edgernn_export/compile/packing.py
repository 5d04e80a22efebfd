"""Weights in the layouts that the kernels of products read: tiles of outputs, or rows where outputs are few."""

from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgernn_export.quantization.blocks import Bits, Codes
from edgernn_runtime.errors import CompileError

TILE: Final = 64
"""Outputs of a tile; the last one has those that are left, rounded up to a multiple of NARROW."""
NARROW: Final = 16
"""A product with fewer outputs lies in rows, `[output][input]`, and has a kernel of its own."""

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Int8Weights:
    """A matrix `[inputs, outputs]` of 8 bits as `product_int8` and `product_rows_int8` read it.

    A weight is `(code - zero_point) * scale`. The width of a row is 1. The last block has the groups of 4 inputs that
    are left; a group that is not full has zeros.

    Attributes:
        codes: int8, flat, `[tile][block][input / 4][width][4]`; ONNX's less 128.
        scales: float32, flat, `[tile][block][width]`.
        zero_points: int8, flat, `[tile][block][width]`; ONNX's less 128.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int8]
    bits: ClassVar[Bits] = 8


@dataclass(frozen=True, slots=True)
class Int4Weights:
    """A matrix `[inputs, outputs]` of 4 bits as `product_int4` and `product_rows_int4` read it.

    A weight is `(code - zero_point) * scale`. The width of a row is 1. The last block has the groups of 8 inputs that
    are left; a group that is not full has zeros. Byte i of a group has input i in its low half and input 4 + i in its
    high one.

    Attributes:
        codes: uint8, flat, `[tile][block][input / 8][width][4]`.
        scales: float32, flat, `[tile][block][width]`.
        zero_points: uint8 from 0 to 15, flat, `[tile][block][width]`.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]
    bits: ClassVar[Bits] = 4


def pack_float(weight: NDArray[np.float32], *, tiled: bool | None = None) -> NDArray[np.float32]:
    """Return a float32 matrix `[inputs, outputs]` flat as `[tile][input][width]`, or as rows.

    Args:
        weight: The matrix.
        tiled: Whether it lies in tiles; None for tiles unless outputs are few.

    Raises:
        CompileError: The matrix has another rank or dtype.
    """
    if weight.ndim != 2 or weight.dtype != np.float32:
        raise CompileError(
            f"weights of a product must be float32[inputs, outputs], got {weight.dtype}{list(weight.shape)};"
            " export the model in float32"
        )
    return _tiled(weight[..., None], tiled=tiled)


def pack_int8(values: Codes, scales: NDArray[np.float32], zero_points: NDArray[np.uint8], inputs: int) -> Int8Weights:
    """Return a matrix of 8 bits as the kernels read it.

    Args:
        values: uint8 `[outputs, blocks, block]`.
        scales: float32 `[outputs, blocks]`.
        zero_points: uint8 `[outputs, blocks]`.
        inputs: Rows of the matrix; the last block may hold more.

    Raises:
        CompileError: The shapes contradict each other.
    """
    _check(values, scales, zero_points, inputs)
    codes = (values ^ np.uint8(128)).view(np.int8)
    points = (zero_points ^ np.uint8(128)).view(np.int8)
    return Int8Weights(_tiled(_grouped(codes, inputs, 4)), _tiled(scales.T[..., None]), _tiled(points.T[..., None]))


def pack_int4(values: Codes, scales: NDArray[np.float32], zero_points: NDArray[np.uint8], inputs: int) -> Int4Weights:
    """Return a matrix of 4 bits as the kernels read it.

    Args:
        values: uint8 `[outputs, blocks, block]`, from 0 to 15.
        scales: float32 `[outputs, blocks]`.
        zero_points: uint8 `[outputs, blocks]`, from 0 to 15.
        inputs: Rows of the matrix; the last block may hold more.

    Raises:
        CompileError: The shapes contradict each other.
    """
    _check(values, scales, zero_points, inputs)
    groups = _grouped(values, inputs, 8)
    codes = groups[..., :4] | (groups[..., 4:] << np.uint8(4))
    return Int4Weights(_tiled(codes), _tiled(scales.T[..., None]), _tiled(zero_points.T[..., None]))


def _grouped(values: NDArray[Value], inputs: int, size: int) -> NDArray[Value]:
    """Return values `[outputs, blocks, block]` as `[group, outputs, size]`, no group in two blocks."""
    outputs, count, block = values.shape
    parts = []
    for index in range(count):
        part = values[:, index, : inputs - index * block]
        whole = np.zeros((outputs, -(-part.shape[1] // size) * size), values.dtype)
        whole[:, : part.shape[1]] = part
        parts.append(whole.reshape(outputs, -1, size).transpose(1, 0, 2))
    return np.concatenate(parts)


def _tiled(values: NDArray[Value], *, tiled: bool | None = None) -> NDArray[Value]:
    """Return values `[step, outputs, size]` flat as `[tile][step][width][size]`, or as rows `[output][step][size]`."""
    steps, outputs, size = values.shape
    if not (outputs >= NARROW if tiled is None else tiled):
        return values.transpose(1, 0, 2).reshape(-1)
    padded = np.zeros((steps, -(-outputs // NARROW) * NARROW, size), values.dtype)
    padded[:, :outputs] = values
    return np.concatenate([padded[:, start : start + TILE].reshape(-1) for start in range(0, outputs, TILE)])


def _check(values: Codes, scales: NDArray[np.float32], zero_points: NDArray[np.uint8], inputs: int) -> None:
    """Refuse blocks that do not hold the inputs, or have too many or too few scales or zero points."""
    outputs, count, block = values.shape
    if not (count - 1) * block < inputs <= count * block:
        raise CompileError(
            f"blocks {list(values.shape)} hold {count * block} inputs, expected {inputs}; quantize the model again"
        )
    for name, array in (("scales", scales), ("zero points", zero_points)):
        if array.shape != (outputs, count):
            raise CompileError(
                f"{name} of blocks must be {[outputs, count]}, got {list(array.shape)}; quantize the model again"
            )
