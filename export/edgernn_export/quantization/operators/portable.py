"""Portable int8: products and tables between standard QuantizeLinear and DequantizeLinear operators."""

from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgernn_export.passes.edit import add_constants, only_user, operand, replace
from edgernn_export.quantization.weights import Weight, users_of

_LARGEST: Final = 127
_TOP: Final = 255


def multiply_portably(model: ir.Model, weight: Weight, low: float, high: float) -> None:
    """Put the input of every `MatMul(x, W)` on a fixed grid of 8 bits, and its weights on one for each column.

    The scale of the input is a constant, so no row feels another. Providers with integer kernels take the pattern as
    one operator. What is added to the product has it subtracted, the weights' sign turned: ONNX Runtime would merge
    a MatMul and an Add into one float operator before it looks for the pattern, and expand the weights at every step.

    Args:
        model: The step graph, changed in place.
        weight: The matrix.
        low: The smallest input on the grid.
        high: The largest one.
    """
    graph = model.graph
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / _TOP or 1.0)
    point = np.array(np.rint(-low / scale), np.uint8)
    grid = add_constants(graph, f"{weight.name}.input", {"scale": np.array(scale), "zero_point": point})
    by_sign: dict[bool, list[ir.Value]] = {}
    for node in users_of(model, weight):
        add = only_user(node.outputs[0])
        added = _added(add, node.outputs[0])
        turned = added is not None
        if turned not in by_sign:
            by_sign[turned] = _stored(graph, weight.name, -weight.array if turned else weight.array)
        quantized = ir.node("QuantizeLinear", [operand(node, 0), *grid])
        met = ir.node("DequantizeLinear", [quantized.outputs[0], *grid])
        weights = ir.node("DequantizeLinear", by_sign[turned], {"axis": 1})
        product = ir.node("MatMul", [met.outputs[0], weights.outputs[0]])
        nodes = [quantized, met, weights, product]
        if added is None or add is None:
            replace(graph, node, nodes, [product.outputs[0]])
        else:
            difference = ir.node("Sub", [added, product.outputs[0]])
            replace(graph, add, [*nodes, difference], [difference.outputs[0]])


def _added(add: ir.Node | None, product: ir.Value) -> ir.Value | None:
    """Return what an Add adds to a product; None if the node is no Add."""
    if add is None or add.op_type != "Add":
        return None
    return operand(add, 1) if add.inputs[0] is product else operand(add, 0)


def look_up_portably(model: ir.Model, weight: Weight) -> None:
    """Turn every `Gather(T, index)` into a Gather of 8 bits and a DequantizeLinear with a scale for each column."""
    table, *grid = _stored(model.graph, weight.name, weight.array)
    for node in users_of(model, weight):
        indices = operand(node, 1)
        lookup = ir.node("Gather", [table, indices], {"axis": 0})
        result = ir.node("DequantizeLinear", [lookup.outputs[0], *grid], {"axis": -1})
        replace(model.graph, node, [lookup, result], [result.outputs[0]])


def _stored(graph: ir.Graph, name: str, array: NDArray[np.float32]) -> list[ir.Value]:
    """Return the constants of a DequantizeLinear by column: codes, scales and zero points."""
    codes, scales = by_column(array)
    return add_constants(graph, name, {"q8": codes, "scales": scales, "zero_points": np.zeros(len(scales), np.int8)})


def by_column(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the codes of a matrix `[K, N]` and the scale of each column, float32 `[N]`."""
    scales = (np.abs(weight).max(axis=0) / _LARGEST).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST).astype(np.int8), scales
