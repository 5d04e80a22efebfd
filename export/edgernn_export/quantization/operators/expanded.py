"""Expanded weights: stored small, and float32 again once a session has loaded them.

The expansion is a chain of standard operators on constants, which ONNX Runtime computes once, when it
loads the model. The step is then that of the float32 model.
"""

from typing import Final

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import add_constant
from edgernn_export.quantization.blocks import Blocks
from edgernn_export.quantization.weights import Weight, users_of
from edgernn_runtime.errors import QuantizationError

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


def expand_half(model: ir.Model, weight: Weight) -> None:
    """Store a matrix in half precision.

    Raises:
        QuantizationError: If a weight is beyond the range of half precision.
    """
    largest = float(np.abs(weight.array).max(initial=0))
    if largest > _LARGEST_HALF:
        raise QuantizationError(
            f"{weight.name} holds {largest:g}, and half precision ends at {_LARGEST_HALF:g}; use int8 or int4"
        )
    stored = add_constant(model.graph, f"{weight.name}.fp16", weight.array.astype(np.float16))
    single = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)})
    _use(model, weight, [single])


def expand_blocks(model: ir.Model, weight: Weight, blocks: Blocks) -> None:
    """Store a matrix `[K, N]` as blocks; for a table, `blocks` are those of the transposed one."""
    graph, name = model.graph, weight.name
    columns, count = blocks.scales.shape
    codes = add_constant(graph, f"{name}.q{blocks.bits}", blocks.packed)
    nodes: list[ir.Node] = []
    if blocks.bits == 4:
        fifteen = add_constant(graph, "low_bits", np.array(15, np.uint8))
        four = add_constant(graph, "half_a_byte", np.array(4, np.uint8))
        last_axis = add_constant(graph, "behind", np.array([-1], np.int64))
        low = ir.node("BitwiseAnd", [codes, fifteen])
        high = ir.node("BitShift", [codes, four], {"direction": "RIGHT"})
        halves = [ir.node("Unsqueeze", [each.outputs[0], last_axis]) for each in (low, high)]
        pairs = ir.node("Concat", [each.outputs[0] for each in halves], {"axis": -1})
        nodes += [low, high, *halves, pairs]
        codes = pairs.outputs[0]
    in_blocks = add_constant(graph, f"{name}.blocks", np.array([columns, count, blocks.block], np.int64))
    in_rows = add_constant(graph, f"{name}.rows", np.array([columns, count * blocks.block], np.int64))
    zeros = add_constant(graph, f"{name}.zero_points", blocks.zeros()[..., None])
    scales = add_constant(graph, f"{name}.scales", blocks.scales[..., None])
    apart = ir.node("Reshape", [codes, in_blocks])
    numbers = ir.node("Cast", [apart.outputs[0]], {"to": int(ir.DataType.FLOAT)})
    centre = ir.node("Cast", [zeros], {"to": int(ir.DataType.FLOAT)})
    centred = ir.node("Sub", [numbers.outputs[0], centre.outputs[0]])
    scaled = ir.node("Mul", [centred.outputs[0], scales])
    flat = ir.node("Reshape", [scaled.outputs[0], in_rows])
    nodes += [apart, numbers, centre, centred, scaled, flat]
    if count * blocks.block > blocks.rows:
        bounds = [add_constant(graph, f"{name}.{what}", np.array([at], np.int64)) for what, at in _bounds(blocks)]
        nodes.append(ir.node("Slice", [flat.outputs[0], *bounds]))
    if weight.kind == "product":
        nodes.append(ir.node("Transpose", [nodes[-1].outputs[0]], {"perm": [1, 0]}))
    _use(model, weight, nodes)


def _bounds(blocks: Blocks) -> tuple[tuple[str, int], ...]:
    return ("first", 0), ("last", blocks.rows), ("axis", 1)


def _use(model: ir.Model, weight: Weight, nodes: list[ir.Node]) -> None:
    """Let every reader of a weight read what the nodes make instead."""
    users = users_of(model, weight)
    model.graph.insert_before(next(iter(model.graph)), nodes)
    index = 1 if weight.kind == "product" else 0
    for user in users:
        user.replace_input_with(index, nodes[-1].outputs[0])
