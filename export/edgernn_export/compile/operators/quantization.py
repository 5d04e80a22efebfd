"""Standard quantization: QuantizeLinear and DequantizeLinear, and the integer products between them."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx

from edgernn_export.compile.builder import Builder, Grid, Node, Operator
from edgernn_export.compile.program import C_TYPES, Array, Tensor

_BOUNDS: Final = {"uint8": (0, 255), "int8": (-128, 127)}


def _quantize(builder: Builder, node: Node) -> None:
    """Round to the nearest integer of a grid, to even ones from halfway, within its bounds; NaN goes to the lower."""
    value = builder.tensor(node.inputs[0])
    dtype = _dtype(builder, node)
    if dtype not in _BOUNDS:
        node.refuse(f"makes {dtype}; uint8 and int8 are what compiled models have")
    low, high = _BOUNDS[dtype]
    scale, point = _grid(builder, node, value)
    rounded = builder.pointwise("rintf({0} / {1}) + {2}", value, scale, point, dtype="float32", name="rounded")
    template = f"({C_TYPES[dtype]})({{0}} > {high}.0f ? {high}.0f : {{0}} > {low}.0f ? {{0}} : {low}.0f)"
    builder.bind(node.outputs[0], builder.pointwise(template, rounded, dtype=dtype, name="code"))


def _dequantize(builder: Builder, node: Node) -> None:
    """Return the numbers that integers of a grid stand for."""
    value = builder.tensor(node.inputs[0])
    scale, point = _grid(builder, node, value)
    result = builder.pointwise("((float){0} - {1}) * {2}", value, point, scale, dtype="float32", name="number")
    builder.bind(node.outputs[0], result)
    note_grid(builder, node, value)


def note_grid(builder: Builder, node: Node, codes: Tensor | Array) -> None:
    """Remember the integers that a DequantizeLinear reads, for products between them."""
    scales = builder.constant(node.inputs[1])
    points = builder.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, np.uint8)
    if scales is not None and points is not None and scales.ndim < 2 and codes.shape:
        axis = node.integer("axis", 1) % len(codes.shape)
        builder.grids[node.outputs[0]] = Grid(codes, scales.reshape(-1), points.reshape(-1), axis)


def _dtype(builder: Builder, node: Node) -> str:
    if len(node.inputs) > 2 and node.inputs[2]:
        point = builder.constant(node.inputs[2])
        if point is not None:
            return str(point.dtype)
    kind = node.integer("output_dtype", 0)
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else "uint8"


def _grid(builder: Builder, node: Node, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and zero point as float32 that broadcast to a tensor."""
    if node.integer("block_size", 0):
        node.refuse("must have one scale, or one for each index of an axis")
    scale = builder.constant(node.inputs[1])
    point = builder.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, np.uint8)
    if scale is None or point is None:
        node.refuse("must have a constant grid")
    axis = node.integer("axis", 1) % max(len(value.shape), 1)
    shape = [1] * len(value.shape)
    if scale.size > 1:
        shape[axis] = scale.size
    points = np.broadcast_to(point.astype(np.float32).reshape(-1), scale.size)
    return (
        builder.fixed(scale.astype(np.float32).reshape(shape), "scales"),
        builder.fixed(np.ascontiguousarray(points).reshape(shape), "zero_points"),
    )


OPERATORS: Final[Mapping[str, Operator]] = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
