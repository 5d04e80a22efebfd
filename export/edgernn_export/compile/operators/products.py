"""Matrix products: by constant weights in float32, int8 or int4, and of two computed matrices."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.literals import literal
from edgernn_export.compile.packing import (
    NARROW,
    Int4Weights,
    Int8Weights,
    pack_float,
    pack_int4,
    pack_int8,
)
from edgernn_export.compile.program import Array, Tensor
from edgernn_export.compile.views import expanded, sliced
from edgernn_export.quantization.blocks import unpack


def _matmul(builder: Builder, node: Node) -> None:
    weights = builder.constant(node.inputs[1])
    if weights is not None and weights.ndim == 2:
        x = builder.tensor(node.inputs[0])
        result = _integer_product(builder, node) or product(builder, x, weights, None)
    else:
        result = matrix_product(builder, builder.tensor(node.inputs[0]), builder.tensor(node.inputs[1]))
    builder.bind(node.outputs[0], result)


def _integer_product(builder: Builder, node: Node) -> Tensor | None:
    """Return a product of integers, where both factors lie on grids of 8 bits; None elsewhere.

    The zero point of the activations leaves the sum over their codes: it is a constant of each output.
    """
    left, right = (builder.grids.get(name) for name in node.inputs)
    if left is None or right is None or not isinstance(left.codes, Tensor) or isinstance(right.codes, Tensor):
        return None
    if left.codes.dtype != "uint8" or left.scales.size > 1 or right.codes.dtype != np.int8 or right.zero_points.any():
        return None
    if right.scales.size > 1 and right.axis != 1:
        return None
    rows, columns = right.codes.shape
    scales = np.broadcast_to(right.scales.astype(np.float32), columns)
    turned = np.ascontiguousarray(right.codes.T).astype(np.int16) + 128
    packed = pack_int8(turned.astype(np.uint8)[:, None], scales[:, None], np.full((columns, 1), 128, np.uint8), rows)
    sums = right.codes.astype(np.int64).sum(0)
    shift = (128 - left.zero_points.astype(np.int64)) * sums * left.scales.astype(np.float64) * scales
    room = -(-rows // 8) * 8
    count = prod(left.codes.shape[:-1])
    codes = builder.scratch((count, room), "int8", "codes")
    if room > rows:
        zero = builder.fixed(np.zeros(1, np.int8), "zero")
        builder.store(expanded(zero, (count, room - rows)), sliced(codes, 1, rows, room - rows))
    signed = builder.pointwise("(int8_t)({0} - 128)", left.codes, dtype="int8", name="code")
    builder.store(builder.reshaped(signed, (count, rows)), sliced(codes, 1, 0, rows))
    kernel = f"product_{'rows_' if columns < NARROW else ''}int8"
    operands = {
        "w": builder.fixed(packed.codes, "weights"),
        "s": builder.fixed(packed.scales, "scales"),
        "z": builder.fixed(packed.zero_points, "zero_points"),
        "b": builder.fixed(shift.astype(np.float32), "shift"),
        "g": builder.fixed(left.scales.astype(np.float32), "scale"),
    }
    lines = [
        "{{",
        "    int32_t sum;",
        f"    sum_codes({{x}}, &sum, 1, {rows});",
        f"    {kernel}({{x}}, {{g}}, &sum, {{w}}, {{s}}, {{z}}, {{b}}, {{y}}, {rows}, {rows}, {columns});",
        "}}",
    ]
    call = _Product("\n".join(lines), operands, ("sum_codes", kernel), _CODES | {"x": "int8"})
    y = _by_row(builder, codes, columns, call)
    return builder.reshaped(y, (*left.codes.shape[:-1], columns))


def _gemm(builder: Builder, node: Node) -> None:
    """`alpha * A @ B + beta * C` with constant B."""
    weights = builder.constant(node.inputs[1])
    if weights is None or node.integer("transA", 0):
        node.refuse("needs constant weights and its input as it is; export it with MatMul")
    if node.integer("transB", 0):
        weights = weights.T
    weights = weights * np.float32(node.number("alpha", 1.0))  # type: ignore[operator]  # float32
    result = product(builder, builder.tensor(node.inputs[0]), weights, None)
    beta = node.number("beta", 1.0)
    if len(node.inputs) > 2 and node.inputs[2] and beta:
        added = builder.tensor(node.inputs[2])
        template = "{0} + {1}" if beta == 1 else f"{{0}} + {literal(np.float32(beta))} * {{1}}"
        result = builder.pointwise(template, result, added, dtype="float32", name="sum")
    builder.bind(node.outputs[0], result)


def product(builder: Builder, x: Tensor, weights: Array, bias: Tensor | None, *, often: bool = False) -> Tensor:
    """Return `x @ weights + bias`, float32 `[..., outputs]`.

    Args:
        builder: The program.
        x: float32 `[..., inputs]`.
        weights: float32 `[inputs, outputs]`.
        bias: float32 `[outputs]`; None for none.
        often: Whether the weights are used many times in a step, so that few outputs are worth filling up a tile.
    """
    inputs, outputs = weights.shape
    tiled = outputs >= NARROW or often
    kernel = "product_f32" if tiled else "product_rows_f32"
    packed = pack_float(np.asarray(weights, np.float32), tiled=tiled)
    operands = {"w": builder.fixed(packed, "weights"), **_bias(bias)}
    call = f"{kernel}({{x}}, {{w}}, {'{b}' if bias else 'NULL'}, {{y}}, {inputs}, {outputs});"
    return _by_row(builder, x, outputs, _Product(call, operands, (kernel,), {}))


def _blocked(builder: Builder, node: Node) -> None:
    """ONNX Runtime's MatMulNBits: weights in blocks, activations rounded to int8 by block."""
    rows, columns, block = (node.integer(name) for name in ("K", "N", "block_size"))
    bits, level = node.integer("bits", 4), node.integer("accuracy_level", 0)
    codes, scales = builder.constant(node.inputs[1]), builder.constant(node.inputs[2])
    if codes is None or scales is None or bits not in (4, 8) or level != 4 or any(node.inputs[4:5]):
        node.refuse("must have constant weights of 4 or 8 bits, accuracy_level 4 and no group indices; use `quantize`")
    count = -(-rows // block)
    given = builder.constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
    middle = np.full((columns, count), 1 << (bits - 1), np.uint8)
    zero_points = middle if given is None else unpack(given.reshape(columns, -1), bits)[:, :count]  # type: ignore[arg-type]
    values = unpack(codes.reshape(columns, count, -1), bits)  # type: ignore[arg-type]
    bias = builder.tensor(node.inputs[5], "bias") if len(node.inputs) > 5 and node.inputs[5] else None
    grid = scales.reshape(columns, count).astype(np.float32)
    pack = pack_int8 if bits == 8 else pack_int4
    packed = pack(values, grid, zero_points, rows)
    x = builder.tensor(node.inputs[0])
    result = _quantized_product(builder, x, packed, bias, (rows, block, columns))
    builder.bind(node.outputs[0], result)


def _quantized_product(
    builder: Builder,
    x: Tensor,
    packed: Int8Weights | Int4Weights,
    bias: Tensor | None,
    sizes: tuple[int, int, int],
) -> Tensor:
    rows, block, columns = sizes
    kernel = f"product_{'rows_' if columns < NARROW else ''}int{packed.bits}"
    parts = {"weights": packed.codes, "scales": packed.scales, "zero_points": packed.zero_points}
    operands = {what[0]: builder.fixed(array, what) for what, array in parts.items()} | _bias(bias)
    count = -(-rows // block)
    room = count * (-(-block // 8) * 8)
    quantize = f"quantize_blocks({{x}}, codes, scales, sums, {rows}, {block});"
    added = "{b}" if bias else "NULL"
    multiply = f"{kernel}(codes, scales, sums, {{w}}, {{s}}, {{z}}, {added}, {{y}}, {rows}, {block}, {columns});"
    lines = [
        "{{",
        f"    ALIGNED int8_t codes[{room}];",
        f"    float scales[{count}];",
        f"    int32_t sums[{count}];",
        f"    {quantize}",
        f"    {multiply}",
        "}}",
    ]
    dtypes = _CODES if packed.bits == 8 else {"w": "uint8", "z": "uint8"}
    call = _Product("\n".join(lines), operands, ("quantize_blocks", kernel), dtypes, room + 8 * count)
    return _by_row(builder, x, columns, call)


@dataclass(frozen=True, slots=True)
class _Product:
    """The product of one row with constant weights.

    Attributes:
        template: The call, as in `Call`; `x` and `y` stand for the row and its result.
        operands: The weights and what else it reads.
        kernels: The kernels that it needs.
        dtypes: What is not float32, as in `Builder.call`.
        scratch_bytes: The bytes of stack that it takes.
    """

    template: str
    operands: dict[str, Tensor]
    kernels: tuple[str, ...]
    dtypes: Mapping[str, str]
    scratch_bytes: int = 0


def _by_row(builder: Builder, x: Tensor, outputs: int, call: _Product) -> Tensor:
    """Return the product of every row of a tensor, one call each."""
    x = builder.stored(x)
    y = builder.scratch((*x.shape[:-1], outputs), "float32", "product")
    count = prod(x.shape[:-1])
    rows, results = builder.reshaped(x, (count, x.shape[-1])), builder.reshaped(y, (count, outputs))
    for row in range(count):
        builder.call(
            call.template,
            {"x": sliced(rows, 0, row, 1), "y": sliced(results, 0, row, 1), **call.operands},
            writes=["y"],
            kernels=call.kernels,
            dtypes=call.dtypes,
            scratch_bytes=call.scratch_bytes,
        )
    return y


def _bias(bias: Tensor | None) -> dict[str, Tensor]:
    return {} if bias is None else {"b": bias}


def matrix_product(builder: Builder, left: Tensor, right: Tensor) -> Tensor:
    """Return the product of two computed matrices, batched as numpy's matmul does."""
    vector_left, vector_right = len(left.shape) == 1, len(right.shape) == 1
    if vector_left:
        left = builder.reshaped(left, (1, *left.shape))
    if vector_right:
        right = builder.reshaped(right, (*right.shape, 1))
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1]
    a = builder.stored(expanded(left, (*batch, rows, inner)))
    b = builder.stored(expanded(right, (*batch, inner, columns)))
    y = builder.scratch((*batch, rows, columns), "float32", "product")
    count = prod(batch)
    builder.call(
        f"matrix_product({{a}}, {{b}}, {{y}}, {count}, {rows}, {inner}, {columns});",
        {"a": a, "b": b, "y": y},
        writes=["y"],
        kernels=["matrix_product"],
    )
    shape = (*batch, *(() if vector_left else (rows,)), *(() if vector_right else (columns,)))
    return builder.reshaped(y, shape)


_CODES: Final = {"w": "int8", "z": "int8"}

OPERATORS: Final[Mapping[str, Operator]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "com.microsoft:MatMulNBits": _blocked,
}
