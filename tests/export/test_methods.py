"""Methods: how matrices are rounded to few bits, and that ONNX Runtime reads the blocks as we do."""

from typing import get_args

import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from edgernn_export.quantization.blocks import Bits, Blocks, Grid, Weights, fitting_block, padded
from edgernn_export.quantization.methods import METHODS, Method, quantize_matrix
from edgernn_export.quantization.methods.gptq import compensated_codes
from edgernn_export.quantization.methods.grids import clipped_grid, spanning_grid
from edgernn_export.quantization.methods.hqq import fitted_grid
from edgernn_export.quantization.operators.blocked import INT8_ACTIVATIONS

BITS = get_args(Bits)
rounding = settings(max_examples=60, deadline=None)
each_bits = st.sampled_from(BITS)
each_block = st.sampled_from([16, 32])
seeds = st.integers(0, 2**32 - 1)


def matrix(seed: int, rows: int, columns: int) -> Weights:
    """Return weights of different spread and centre in every column, some of them zero."""
    rng = np.random.default_rng(seed)
    spread, centre = np.exp(rng.normal(size=(2, columns)) * [[1.5], [0.5]])
    return np.asarray((rng.standard_normal((rows, columns)) * spread + centre) * (rng.random((rows, columns)) < 0.9))


def moments_of(seed: int, rows: int) -> NDArray[np.float64]:
    """Return the second moments of inputs that few hidden causes explain, and a little noise."""
    rng = np.random.default_rng([seed, 1])
    steps, causes = 4 * rows, int(rng.integers(1, rows + 1))
    inputs = rng.standard_normal((steps, causes)) @ rng.standard_normal((causes, rows))
    inputs += 0.1 * rng.standard_normal((steps, rows))
    return np.asarray(inputs.T @ inputs / steps)


def error(grid: Grid, codes: NDArray[np.uint8], weight: Weights, moments: NDArray[np.float64]) -> float:
    """Return what rounding does to the products, `tr(E^T H E)`."""
    wrong = grid.weights(codes) - weight
    return float(np.trace(wrong.T @ moments @ wrong))


def grids(weight: Weights, importance: NDArray[np.float64], bits: Bits, block: int) -> dict[str, Grid]:
    return {
        "nearest": spanning_grid(weight, bits=bits, block=block),
        "clipped": clipped_grid(weight, importance, bits=bits, block=block),
        "hqq": fitted_grid(weight, bits=bits, block=block),
    }


@rounding
@given(columns=st.integers(1, 9), count=st.integers(1, 5), rows=st.integers(1, 80), bits=each_bits, seed=seeds)
def test_what_is_packed_is_unpacked(columns: int, count: int, rows: int, bits: Bits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (count * 16, columns)).astype(np.uint8)
    zeros = rng.integers(0, 2**bits, (count, columns)).astype(np.float64)
    grid = Grid(np.exp(rng.standard_normal((count, columns))), zeros, bits, 16)
    rows = min(rows, len(codes))
    blocks = Blocks.of(codes, grid, rows=rows)
    assert blocks.packed.shape == (columns, count, 16 * bits // 8)
    assert blocks.zero_points.shape == (columns, -(-count * bits // 8))
    np.testing.assert_array_equal(blocks.codes(), codes.T.reshape(columns, count, 16))
    np.testing.assert_array_equal(blocks.zeros(), zeros.T)
    np.testing.assert_allclose(blocks.weights(), grid.weights(codes)[:rows], rtol=1e-6)


@rounding
@given(rows=st.integers(1, 70), columns=st.integers(1, 9), bits=each_bits, block=each_block, seed=seeds)
def test_a_rounded_weight_is_within_half_a_step(rows: int, columns: int, bits: Bits, block: int, seed: int) -> None:
    weight = matrix(seed, rows, columns)
    blocks = quantize_matrix(weight, bits=bits, block=block)
    steps = np.repeat(blocks.scales.T, block, axis=0)[:rows]
    assert blocks.weights().shape == weight.shape
    assert np.all(np.abs(blocks.weights() - weight) <= 0.5001 * steps)
    np.testing.assert_array_equal(blocks.weights()[weight == 0], 0)


@rounding
@given(rows=st.integers(1, 70), columns=st.integers(1, 9), bits=each_bits, block=each_block, seed=seeds)
def test_every_grid_holds_zero_and_keeps_to_its_codes(
    rows: int, columns: int, bits: Bits, block: int, seed: int
) -> None:
    weight = padded(matrix(seed, rows, columns), block)
    moments = moments_of(seed, len(weight))
    for name, grid in grids(weight, np.diag(moments), bits, block).items():
        assert np.all(grid.scales > 0), name
        assert np.all((grid.zero_points >= 0) & (grid.zero_points <= grid.top)), name
        np.testing.assert_array_equal(grid.zero_points, np.rint(grid.zero_points), name)
        np.testing.assert_array_equal(grid.weights(grid.codes(weight))[weight == 0], 0, name)
        for codes in (grid.codes(weight), compensated_codes(weight, moments, grid)):
            assert codes.max(initial=0) <= grid.top, name
            assert np.abs(grid.weights(codes)).max() <= 3 * np.abs(weight).max(), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_columns_of_zeros_of_one_sign_and_of_one_value_are_kept(method: Method, bits: Bits, scale: float) -> None:
    weight = np.random.default_rng(0).random((40, 4)) + 1
    weight[:, :3] = [0.0, 0.75, -0.5]
    weight *= scale
    found = quantize_matrix(weight, bits=bits, block=16, method=method, moments=np.eye(40)).weights()
    np.testing.assert_allclose(found[:, :3], weight[:, :3], rtol=1e-5 if method in ("nearest", "hqq") else 0.06)
    np.testing.assert_allclose(found, weight, rtol=0.1)


@rounding
@given(rows=st.integers(1, 70), columns=st.integers(1, 9), bits=each_bits, block=each_block, seed=seeds)
def test_a_clipped_block_has_no_larger_weighted_error_than_a_spanning_one(
    rows: int, columns: int, bits: Bits, block: int, seed: int
) -> None:
    weight = padded(matrix(seed, rows, columns), block)
    importance = np.random.default_rng(seed).exponential(size=len(weight))
    spanning, clipped = (
        (np.square(grid.weights(grid.codes(weight)) - weight) * importance[:, None]).reshape(-1, block, columns).sum(1)
        for grid in (
            spanning_grid(weight, bits=bits, block=block),
            clipped_grid(weight, importance, bits=bits, block=block),
        )
    )
    assert np.all(clipped <= spanning)


def test_an_outlier_whose_input_is_small_is_clipped() -> None:
    weight = np.random.default_rng(0).standard_normal((32, 5))
    weight[3:5] = [[12.0], [-12.0]]
    importance = np.ones(32)
    spanning, careful = spanning_grid(weight, bits=4, block=32), clipped_grid(weight, importance, bits=4, block=32)
    importance[3:5] = 0
    clipped = clipped_grid(weight, importance, bits=4, block=32)
    assert np.all(clipped.scales < 0.7 * spanning.scales)
    assert np.all(careful.scales > 1.2 * clipped.scales)


@rounding
@given(rows=st.integers(24, 96), columns=st.integers(8, 16), block=each_block, seed=seeds)
def test_making_up_for_errors_never_leaves_more_of_them_in_the_products(
    rows: int, columns: int, block: int, seed: int
) -> None:
    weight = padded(np.random.default_rng(seed).standard_normal((rows, columns)), block)
    moments = np.zeros((len(weight), len(weight)))
    moments[:rows, :rows] = moments_of(seed, rows)
    grid = clipped_grid(weight, np.diag(moments), bits=4, block=block)
    compensated = compensated_codes(weight, moments, grid)
    assert error(grid, compensated, weight, moments) <= error(grid, grid.codes(weight), weight, moments)
    np.testing.assert_array_equal(compensated[rows:], grid.codes(weight)[rows:])


def test_making_up_for_errors_halves_them_where_inputs_are_correlated() -> None:
    weight, moments = np.random.default_rng(4).standard_normal((256, 24)), moments_of(7, 256)
    found = {
        method: quantize_matrix(weight, bits=4, block=128, method=method, moments=moments).weights() - weight
        for method in METHODS
    }
    errors = {method: float(np.trace(each.T @ moments @ each)) for method, each in found.items()}
    assert errors["gptq"] < 0.5 * errors["clipped"]
    assert errors["gptq"] < 0.5 * min(errors["nearest"], errors["hqq"])


@rounding
@given(rows=st.integers(48, 96), silent=st.integers(1, 16), seed=seeds)
def test_an_input_that_is_always_zero_does_no_harm(rows: int, silent: int, seed: int) -> None:
    weight, moments = padded(np.random.default_rng(seed).standard_normal((rows, 8)), 16), moments_of(seed, rows)
    met = np.zeros((len(weight), len(weight)))
    met[:rows, :rows] = moments
    met[:silent] = met[:, :silent] = 0
    grid = spanning_grid(weight, bits=4, block=16)
    codes = compensated_codes(weight, met, grid)
    np.testing.assert_array_equal(codes[:silent], grid.codes(weight)[:silent])
    assert error(grid, codes, weight, met) <= error(grid, grid.codes(weight), weight, met)
    clipped = clipped_grid(weight, np.diag(met), bits=4, block=16)
    assert np.isfinite(clipped.weights(clipped.codes(weight))).all()


def test_inputs_that_were_never_met_leave_nearest_rounding() -> None:
    weight = np.random.default_rng(0).standard_normal((48, 3))
    grid = spanning_grid(weight, bits=4, block=16)
    np.testing.assert_array_equal(compensated_codes(weight, np.zeros((48, 48)), grid), grid.codes(weight))


@pytest.mark.parametrize(
    ("rows", "block"), [(1, 16), (16, 16), (17, 32), (40, 64), (64, 64), (65, 128), (128, 128), (4096, 128)]
)
def test_a_block_is_hardly_longer_than_its_matrix(rows: int, block: int) -> None:
    assert fitting_block(rows, 128) == block


def computed(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]], x: NDArray[np.generic]) -> Weights:
    """Return what ONNX Runtime computes with one node whose input `x` is given."""
    taken = onnx.helper.make_tensor_value_info("x", onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    given_back = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", "columns"])
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph([node], "one", [taken], [given_back], tensors)
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("com.microsoft", 1)]
    content = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: Weights = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rows", [5, 16, 17, 40, 70, 300])
def test_onnxruntime_multiplies_by_the_blocks_as_we_read_them(method: Method, bits: Bits, rows: int) -> None:
    weight = matrix(rows, rows, 9).astype(np.float32)
    block = fitting_block(rows, 128)
    blocks = quantize_matrix(weight, bits=bits, block=block, method=method, moments=moments_of(1, rows))
    constants = {"q": blocks.packed, "s": blocks.scales.reshape(-1), "z": blocks.zero_points.reshape(-1)}
    inputs = np.random.default_rng(rows).standard_normal((4, rows)).astype(np.float32)
    for level, tolerance in ((0, 1e-5), (INT8_ACTIVATIONS, 2e-2)):
        node = onnx.helper.make_node(
            "MatMulNBits", ["x", "q", "s", "z"], ["y"], domain="com.microsoft",
            K=rows, N=9, bits=bits, block_size=block, accuracy_level=level,
        )  # fmt: skip
        expected = inputs @ blocks.weights()
        np.testing.assert_allclose(
            computed(node, constants, inputs), expected, rtol=0, atol=tolerance * np.abs(expected).max()
        )


@pytest.mark.parametrize(
    ("bits", "columns"), [(4, n) for n in (16, 18, 24, 40, 50, 300)] + [(8, n) for n in (16, 17, 31, 40, 50, 300)]
)
def test_onnxruntime_looks_up_the_blocks_as_we_read_them(bits: Bits, columns: int) -> None:
    table = matrix(columns, 7, columns)
    blocks = quantize_matrix(table.T, bits=bits, block=fitting_block(columns, 128))
    codes = blocks.packed.reshape(7, -1)[:, : columns * bits // 8]
    node = onnx.helper.make_node(
        "GatherBlockQuantized", ["q", "x", "s", "z"], ["y"], domain="com.microsoft",
        bits=bits, block_size=blocks.block, gather_axis=0, quantize_axis=1,
    )  # fmt: skip
    constants = {"q": codes, "s": blocks.scales, "z": blocks.zero_points}
    indices = np.array([6, 0, 3, 3], np.int64)
    np.testing.assert_array_equal(computed(node, constants, indices), blocks.weights().T[indices])
