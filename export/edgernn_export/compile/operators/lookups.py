"""Lookups: rows of a table, and elements by index."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.program import Tensor
from edgernn_export.compile.views import sliced
from edgernn_export.quantization.blocks import unpack


def _gather(builder: Builder, node: Node) -> None:
    """Take the slices of an array at indices along one axis."""
    table = builder.tensor(node.inputs[0], "rows")
    axis = node.integer("axis", 0) % len(table.shape)
    fixed = builder.constant(node.inputs[1])
    if fixed is not None and fixed.size == 1:
        at = int(fixed.reshape(())) % table.shape[axis]
        shape = (*table.shape[:axis], *fixed.shape, *table.shape[axis + 1 :])
        builder.bind(node.outputs[0], builder.reshaped(sliced(table, axis, at, 1), shape))
        return
    builder.bind(node.outputs[0], taken(builder, table, builder.tensor(node.inputs[1]), axis))


def taken(builder: Builder, table: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return the slices of `table` at int `indices` along an axis; those out of range are cut to it."""
    outer, size, inner = _sizes(table, axis)
    builder.bound(indices, size, least=-size)
    shape = (*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])
    where = builder.stored(_wide(builder, indices))
    source, result = builder.stored(table), builder.scratch(shape, table.dtype, "row")
    element = np.dtype(table.dtype).itemsize
    builder.call(
        f"take({{table}}, {{indices}}, {{y}}, {outer}, {size}, {inner * element}, {indices.size});",
        {"table": source, "indices": where, "y": result},
        writes=["y"],
        kernels=["take"],
        dtypes={"table": "", "indices": "int64", "y": ""},
    )
    return result


def _take_blocks(builder: Builder, node: Node) -> None:
    """Look up rows of a table whose weights lie in blocks: codes, scales and zero points."""
    bits, block = node.integer("bits", 4), node.integer("block_size", 128)
    codes, scales = builder.constant(node.inputs[0]), builder.constant(node.inputs[2])
    if codes is None or scales is None or codes.ndim != 2 or codes.dtype != np.uint8 or node.integer("gather_axis", 0):
        node.refuse("must look up rows of a constant table of unsigned codes; use `quantize`")
    given = builder.constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
    rows, columns = codes.shape[0], codes.shape[1] * 8 // bits
    middle = np.full(scales.shape, 1 << (bits - 1), np.uint8)
    points = middle if given is None else unpack(given, bits)[:, : scales.shape[1]]  # type: ignore[arg-type]
    parts = {"rows": codes, "scales": scales.astype(np.float32), "zero_points": points}
    operands = {what[0]: builder.fixed(array, what) for what, array in parts.items()}
    indices = builder.tensor(node.inputs[1])
    builder.bound(indices, rows, least=-rows)
    result = builder.scratch((*indices.shape, columns), "float32", "row")
    kernel = f"take_int{bits}"
    builder.call(
        f"{kernel}({{r}}, {{s}}, {{z}}, {{indices}}, {{y}}, {rows}, {columns}, {block}, {indices.size});",
        {**operands, "indices": builder.stored(_wide(builder, indices)), "y": result},
        writes=["y"],
        kernels=[kernel],
        dtypes={"r": "uint8", "z": "uint8", "indices": "int64"},
    )
    builder.bind(node.outputs[0], result)


def _gather_elements(builder: Builder, node: Node) -> None:
    """Take one element for each index, along one axis."""
    values, indices = builder.tensor(node.inputs[0]), builder.tensor(node.inputs[1])
    axis = node.integer("axis", 0) % len(values.shape)
    if values.shape[:axis] != indices.shape[:axis] or values.shape[axis + 1 :] != indices.shape[axis + 1 :]:
        node.refuse("must have indices that differ from its data along one axis only")
    outer, size, inner = _sizes(values, axis)
    result = builder.scratch(indices.shape, values.dtype, "element")
    element = np.dtype(values.dtype).itemsize
    builder.call(
        f"take_elements({{x}}, {{indices}}, {{y}}, {outer}, {size}, {inner}, {indices.shape[axis]}, {element});",
        {"x": builder.stored(values), "indices": builder.stored(_wide(builder, indices)), "y": result},
        writes=["y"],
        kernels=["take_elements"],
        dtypes={"x": "", "indices": "int64", "y": ""},
    )
    builder.bind(node.outputs[0], result)


def _sizes(tensor: Tensor, axis: int) -> tuple[int, int, int]:
    """Return the numbers of elements in front of an axis, along it and behind it."""
    shape = tensor.shape
    return int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :]))


def _wide(builder: Builder, indices: Tensor) -> Tensor:
    """Return indices as int64."""
    if indices.dtype == "int64":
        return indices
    return builder.pointwise("(int64_t){0}", indices, dtype="int64", name="index")


OPERATORS: Final[Mapping[str, Operator]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "com.microsoft:GatherBlockQuantized": _take_blocks,
}
