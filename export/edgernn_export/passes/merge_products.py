"""Products that are added become one product of the concatenated inputs."""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import FloatArray, add_constant, constant_of, only_user, operand
from edgernn_export.passes.sums import find_sums, rewrite_sum


class Product(NamedTuple):
    """A matrix times a constant matrix, which nothing but one sum reads."""

    result: ir.Value
    x: ir.Value
    weight: ir.Value
    matrix: FloatArray


def merge_products(model: ir.Model) -> bool:
    """Turn `x @ W + h @ R` into `concat(x, h) @ [W; R]`, for constant matrices."""
    changed = False
    for each in find_sums(model.graph):
        products = [product for term in each.terms if (product := _product(term)) is not None]
        if len(products) < 2 or len({_size(product) for product in products}) > 1:
            continue
        name = "+".join(str(product.weight.name) for product in products)
        stacked = add_constant(model.graph, name, np.concatenate([product.matrix for product in products]))
        joined = ir.node("Concat", [product.x for product in products], {"axis": -1})
        merged = ir.node("MatMul", [joined.outputs[0], stacked])
        results = [product.result for product in products]
        rest = [term for term in each.terms if term not in results]
        rewrite_sum(model.graph, each, [merged.outputs[0], *rest, *each.constants], [joined, merged])
        changed = True
    return changed


def _product(value: ir.Value) -> Product | None:
    node = value.producer()
    if node is None or node.op_type != "MatMul" or only_user(value) is None:
        return None
    x, weight = operand(node, 0), operand(node, 1)
    matrix = constant_of(weight)
    if matrix is None or matrix.ndim != 2 or x.shape is None or len(x.shape) != 2:
        return None
    return Product(value, x, weight, matrix)


def _size(product: Product) -> tuple[str, int]:
    """Return rows and columns of the result: products of different sizes are added by broadcasting."""
    rows = "" if product.x.shape is None else str(product.x.shape[0])
    return rows, product.matrix.shape[1]
