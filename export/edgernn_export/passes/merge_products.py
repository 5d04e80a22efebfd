"""Products that are added become one product of the concatenated inputs."""

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import FloatArray, add_constant, constant_of, only_user, operand
from edgernn_export.passes.sums import find_sums, rewrite_sum


def merge_products(model: ir.Model) -> bool:
    """Turn `x @ W + h @ R` into `concat(x, h) @ [W; R]`, for constant matrices."""
    changed = False
    for each in find_sums(model.graph):
        weights = {term: weight for term in each.terms if (weight := _weight_of(term)) is not None}
        rows = {str(operand(node, 0).shape[0]) for term in weights if (node := term.producer())}  # type: ignore[index]
        if len(weights) < 2 or len(rows) > 1:
            continue
        products = [term.producer() for term in weights]
        inputs = [operand(node, 0) for node in products if node is not None]
        name = "+".join(str(operand(node, 1).name) for node in products if node is not None)
        stacked = add_constant(model.graph, name, np.concatenate(list(weights.values())))
        joined = ir.node("Concat", inputs, {"axis": -1})
        product = ir.node("MatMul", [joined.outputs[0], stacked])
        rest = [term for term in each.terms if term not in weights]
        total = [product.outputs[0], *rest, *each.constants]
        rewrite_sum(model.graph, each, total, [joined, product])
        changed = True
    return changed


def _weight_of(value: ir.Value) -> FloatArray | None:
    """Return the constant matrix that `value` is a product with, if nothing else reads the product."""
    node = value.producer()
    if node is None or node.op_type != "MatMul" or only_user(value) is None:
        return None
    weight, shape = constant_of(node.inputs[1]), operand(node, 0).shape
    if weight is None or weight.ndim != 2 or shape is None or len(shape) != 2:
        return None
    return weight
