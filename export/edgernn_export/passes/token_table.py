"""Embedding and input projection become one table, read by token."""

from typing import Final

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import FloatArray, add_constant, constant_of, nodes_of, operand, replace

MAX_TABLE_BYTES: Final = 8 * 2**20
"""A table larger than this is made only if it is smaller than what it replaces."""


def token_table(model: ir.Model) -> bool:
    """Turn `MatMul(Gather(E, token), W)` into `Gather(E @ W, token)`: one product less in each step."""
    changed = False
    for node in nodes_of(model.graph, "MatMul"):
        found = _operands(node)
        if found is None:
            continue
        gather, embedding, weight = found
        with np.errstate(all="ignore"):  # what is not finite is found when the graph is compared with its source
            table = (embedding.astype(np.float64) @ weight.astype(np.float64)).astype(embedding.dtype)
        value = add_constant(model.graph, f"{operand(node, 1).name}.table", table)
        lookup = ir.node("Gather", [value, operand(gather, 1)], {"axis": 0})
        replace(model.graph, node, [lookup], [lookup.outputs[0]])
        changed = True
    return changed


def _operands(node: ir.Node) -> tuple[ir.Node, FloatArray, FloatArray] | None:
    """Return the Gather, the embedding and the weight of a product that can be a table."""
    gather = operand(node, 0).producer()
    if gather is None or gather.op_type != "Gather" or gather.attributes.get_int("axis", 0) != 0:
        return None
    embedding, weight = constant_of(gather.inputs[0]), constant_of(node.inputs[1])
    if embedding is None or weight is None or embedding.ndim != 2 or weight.ndim != 2:
        return None
    size = embedding.shape[0] * weight.shape[1] * embedding.itemsize
    if size > max(MAX_TABLE_BYTES, embedding.nbytes + weight.nbytes):
        return None
    return gather, embedding, weight
