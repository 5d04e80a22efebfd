"""Weights as the kernels read them, against the layouts as they are written down."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn_export.compile.packing import NARROW, TILE, pack_float, pack_int4, pack_int8
from edgernn_runtime.errors import CompileError

INPUTS = (1, 3, 17, 64, 200)
OUTPUTS = (1, 15, 16, 63, 64, 65, 130, 192)
BLOCKS = (16, 32, 128)


def places(outputs: int) -> list[tuple[int, int, int]]:
    """Return the first output of its tile, the tile's width, and its place there, for every output."""
    if outputs < NARROW:
        return [(n, 1, 0) for n in range(outputs)]
    firsts = [n // TILE * TILE for n in range(outputs)]
    return [(first, min(TILE, -(-(outputs - first) // 16) * 16), n - first) for n, first in enumerate(firsts)]


def blocks_of(
    rng: np.random.Generator, shape: tuple[int, int], block: int, bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    inputs, outputs = shape
    count = -(-inputs // block)
    values = rng.integers(0, 1 << bits, (outputs, count, block), dtype=np.uint8)
    scales = rng.uniform(0.5, 2, (outputs, count)).astype(np.float32)
    return values, scales, rng.integers(0, 1 << bits, (outputs, count), dtype=np.uint8)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_float_weights_lie_by_tile_and_input(inputs: int, outputs: int) -> None:
    weight = np.random.default_rng(1).standard_normal((inputs, outputs)).astype(np.float32)
    packed = pack_float(weight)
    found = np.zeros_like(weight)
    for n, (first, width, place) in enumerate(places(outputs)):
        for k in range(inputs):
            found[k, n] = packed[inputs * first + k * width + place]
    assert weight.tolist() == found.tolist()
    assert packed.size == inputs * (outputs if outputs < NARROW else -(-outputs // 16) * 16)


def test_what_fills_the_last_tile_is_zero() -> None:
    packed = pack_float(np.ones((2, 70), np.float32))
    assert packed.size == 2 * 80
    assert packed[2 * 64 :].reshape(2, 16)[:, 6:].tolist() == [[0.0] * 10] * 2


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_int8_weights_lie_by_tile_block_and_group_of_four_inputs(inputs: int, outputs: int, block: int) -> None:
    values, scales, zero_points = blocks_of(np.random.default_rng(2), (inputs, outputs), block, 8)
    packed = pack_int8(values, scales, zero_points, inputs)
    assert ["int8", "float32", "int8"] == [
        each.dtype.name for each in (packed.codes, packed.scales, packed.zero_points)
    ]
    count = scales.shape[1]
    stored = sum(-(-min(block, inputs - b * block) // 4) * 4 for b in range(count))
    for n, (first, width, place) in enumerate(places(outputs)):
        for k in range(inputs):
            b, within = divmod(k, block)
            step = (b * block + within) // 4
            code = packed.codes[stored * first + (step * width + place) * 4 + within % 4]
            assert int(values[n, b, within]) - 128 == code
        for b in range(count):
            assert scales[n, b] == packed.scales[count * first + b * width + place]
            assert int(zero_points[n, b]) - 128 == packed.zero_points[count * first + b * width + place]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_int4_weights_lie_by_tile_block_and_group_of_eight_inputs(inputs: int, outputs: int, block: int) -> None:
    values, scales, zero_points = blocks_of(np.random.default_rng(3), (inputs, outputs), block, 4)
    packed = pack_int4(values, scales, zero_points, inputs)
    assert ["uint8", "float32", "uint8"] == [
        each.dtype.name for each in (packed.codes, packed.scales, packed.zero_points)
    ]
    count = scales.shape[1]
    stored = sum(-(-min(block, inputs - b * block) // 8) * 4 for b in range(count))
    for n, (first, width, place) in enumerate(places(outputs)):
        for k in range(inputs):
            b, within = divmod(k, block)
            step = (b * block + within) // 8
            both = int(packed.codes[stored * first + (step * width + place) * 4 + within % 4])
            assert values[n, b, within] == (both >> 4 if within % 8 >= 4 else both & 15)
        for b in range(count):
            assert scales[n, b] == packed.scales[count * first + b * width + place]
            assert zero_points[n, b] == packed.zero_points[count * first + b * width + place]


def test_inputs_beyond_those_of_the_matrix_are_left_out() -> None:
    values, scales, zero_points = blocks_of(np.random.default_rng(4), (35, 64), 32, 8)
    assert pack_int8(values, scales, zero_points, 35).codes.size == 36 * 64
    values, scales, zero_points = blocks_of(np.random.default_rng(4), (35, 64), 32, 4)
    assert pack_int4(values, scales, zero_points, 35).codes.size == 40 * 64 // 2


def test_a_matrix_that_is_no_float32_matrix_is_refused() -> None:
    with pytest.raises(CompileError, match=r"must be float32\[inputs, outputs\], got float64\[2, 3\]"):
        pack_float(np.zeros((2, 3)))  # type: ignore[arg-type]
    with pytest.raises(CompileError, match=r"got float32\[2, 3, 4\]"):
        pack_float(np.zeros((2, 3, 4), np.float32))


@pytest.mark.parametrize("inputs", [32, 65])
def test_blocks_that_do_not_hold_the_inputs_are_refused(inputs: int) -> None:
    values, scales, zero_points = blocks_of(np.random.default_rng(5), (64, 16), 32, 8)
    with pytest.raises(CompileError, match=f"hold 64 inputs, expected {inputs}"):
        pack_int8(values, scales, zero_points, inputs)


def test_scales_and_zero_points_of_another_shape_are_refused() -> None:
    values, scales, zero_points = blocks_of(np.random.default_rng(6), (64, 16), 32, 4)
    with pytest.raises(CompileError, match=r"scales of blocks must be \[16, 2\], got \[32\]"):
        pack_int4(values, scales.reshape(-1), zero_points, 64)
    with pytest.raises(CompileError, match=r"zero points of blocks must be \[16, 2\], got \[16, 1\]"):
        pack_int4(values, scales, zero_points[:, :1], 64)
