"""Gates that take the same activation become neighbours, so that one node computes them all."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import (
    FloatArray,
    add_constant,
    constant_of,
    nodes_of,
    only_user,
    operand,
)


def merge_gates(model: ir.Model) -> bool:
    """Reorder the columns behind a Split so that all Sigmoid gates come first and share one Sigmoid.

    `i, f, g, o = split(x @ W + b)` with a Sigmoid each on i, f and o becomes
    `ifo, g = split(x @ W' + b')`, `i, f, o = split(sigmoid(ifo))`.
    """
    changed = False
    for node in nodes_of(model.graph, "Split"):
        sizes = _sizes(node)
        gates = [i for i, value in enumerate(node.outputs) if _is_sigmoid(only_user(value))]
        if sizes is None or len(gates) < 2 or not _can_reorder(operand(node, 0), sum(sizes)):
            continue
        if any(value.is_graph_output() for value in node.outputs):
            continue
        _merge(model.graph, node, sizes, gates)
        changed = True
    return changed


def _merge(graph: ir.Graph, split: ir.Node, sizes: Sequence[int], gates: Sequence[int]) -> None:
    others = [i for i in range(len(sizes)) if i not in gates]
    starts = np.cumsum([0, *sizes])
    order = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in [*gates, *others]])
    source = _reorder(graph, operand(split, 0), order)

    gate_sizes = [sizes[i] for i in gates]
    outer_sizes = add_constant(graph, "gate_sizes", np.array([sum(gate_sizes), *(sizes[i] for i in others)], np.int64))
    outer = ir.node("Split", [source, outer_sizes], {"axis": -1}, num_outputs=1 + len(others))
    sigmoid = ir.node("Sigmoid", [outer.outputs[0]])
    inner_sizes = add_constant(graph, "gate_sizes", np.array(gate_sizes, np.int64))
    inner = ir.node("Split", [sigmoid.outputs[0], inner_sizes], {"axis": -1}, num_outputs=len(gates))

    graph.insert_before(split, [outer, sigmoid, inner])
    for index, value in zip(others, outer.outputs[1:], strict=True):
        split.outputs[index].replace_all_uses_with(value)
    for index, value in zip(gates, inner.outputs, strict=True):
        activation = only_user(split.outputs[index])
        assert activation is not None  # noqa: S101, _is_sigmoid found it
        activation.outputs[0].replace_all_uses_with(value)
        graph.remove(activation, safe=True)
    graph.remove(split, safe=True)


def _sizes(split: ir.Node) -> list[int] | None:
    """Return the sizes of a Split along the last axis of a matrix, if they are known."""
    shapes = [value.shape for value in split.outputs]
    known = [shape for shape in shapes if shape is not None and len(shape) == 2 and isinstance(shape[1], int)]
    if len(known) != len(shapes) or split.attributes.get_int("axis", 0) not in (1, -1):
        return None
    return [int(shape[1]) for shape in known]  # type: ignore[arg-type]


def _is_sigmoid(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Sigmoid" and not node.outputs[0].is_graph_output()


def _can_reorder(value: ir.Value, columns: int) -> bool:
    """Whether the columns of `value` can be reordered by reordering constants behind it."""
    node = value.producer()
    if only_user(value) is None or node is None:
        return False
    if node.op_type == "Add":
        terms = operand(node, 0), operand(node, 1)
        return all(_is_row(term, columns) or _can_reorder(term, columns) for term in terms)
    return _reordered_input(node) is not None


def _is_row(value: ir.Value, columns: int) -> bool:
    constant = constant_of(value)
    return constant is not None and constant.shape == (columns,)


def _reordered_input(node: ir.Node) -> int | None:
    """Return which input holds the columns of the node's result, if that is a constant matrix."""
    index = {"MatMul": 1, "Gather": 0}.get(node.op_type)
    if index is None or node.attributes.get_int("axis", 0) != 0:
        return None
    constant = constant_of(node.inputs[index])
    return index if constant is not None and constant.ndim == 2 else None


def _reorder(graph: ir.Graph, value: ir.Value, order: FloatArray) -> ir.Value:
    """Return `value` with its columns in another order, its nodes changed in place."""
    constant = constant_of(value)
    if constant is not None:
        return add_constant(graph, f"{value.name}.gates", constant[..., order])
    node = value.producer()
    assert node is not None  # noqa: S101, _can_reorder says so
    index = _reordered_input(node)
    for i in range(len(node.inputs)) if index is None else (index,):
        node.replace_input_with(i, _reorder(graph, operand(node, i), order))
    return value
