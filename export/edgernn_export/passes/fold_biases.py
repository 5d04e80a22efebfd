"""Constants in one sum become one constant, inside a token table where the sum has one."""

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import FloatArray, add_constant, constant_of, only_user, operand
from edgernn_export.passes.sums import Sum, find_sums, rewrite_sum


def fold_biases(model: ir.Model) -> bool:
    """Turn `(x @ W + b) + (h @ R + c)` into `x @ W + h @ R + (b + c)`, and a table plus `b` into a table."""
    changed = False
    for each in find_sums(model.graph):
        rows = [row for value in each.constants if (row := constant_of(value)) is not None]
        if not rows or any(row.shape != rows[0].shape or row.ndim != 1 for row in rows):
            continue
        bias = np.stack(rows).sum(axis=0, dtype=np.float64)
        table = next((value for value in each.terms if _table_of(value) is not None), None)
        if table is not None:
            _into_table(model.graph, each, table, bias)
        elif len(rows) > 1:
            value = add_constant(model.graph, f"{each.constants[0].name}.sum", bias.astype(rows[0].dtype))
            rewrite_sum(model.graph, each, [*each.terms, value], [])
        else:
            continue
        changed = True
    return changed


def _into_table(graph: ir.Graph, old: Sum, lookup: ir.Value, bias: FloatArray) -> None:
    gather, table = lookup.producer(), _table_of(lookup)
    assert gather is not None  # noqa: S101, _table_of found it
    assert table is not None  # noqa: S101
    value = add_constant(graph, f"{operand(gather, 0).name}.biased", (table + bias).astype(table.dtype))
    node = ir.node("Gather", [value, operand(gather, 1)], {"axis": 0})
    terms = [node.outputs[0] if term is lookup else term for term in old.terms]
    rewrite_sum(graph, old, terms, [node])


def _table_of(value: ir.Value) -> FloatArray | None:
    """Return the table that `value` is looked up in, if nothing else reads the result or the table."""
    gather = value.producer()
    if gather is None or gather.op_type != "Gather" or only_user(value) is None:
        return None
    if only_user(operand(gather, 0)) is None:
        return None
    table = constant_of(gather.inputs[0])
    return table if table is not None and table.ndim == 2 and gather.attributes.get_int("axis", 0) == 0 else None
