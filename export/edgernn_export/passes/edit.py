"""Small edits that the passes share: constants, uses and replacements."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def constant_of(value: ir.Value | None) -> FloatArray | None:
    """Return the floating array that `value` always has, or None if it is not such a constant."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array: NDArray[np.generic] = value.const_value.numpy()
    return array if np.issubdtype(array.dtype, np.floating) else None  # type: ignore[return-value]


def add_constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Add an initializer whose name starts with `name`, and return its value."""
    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}.{count}"
    tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_constants(graph: ir.Graph, name: str, parts: Mapping[str, NDArray[np.generic]]) -> list[ir.Value]:
    """Add an initializer for each part of what is called `name`, and return their values in order."""
    return [add_constant(graph, f"{name}.{part}", array) for part, array in parts.items()]


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads `value`; None if several do, or it is an output of the graph."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def replace(graph: ir.Graph, old: ir.Node, new: Sequence[ir.Node], results: Sequence[ir.Value]) -> None:
    """Put the nodes `new` in place of `old`, and remove the nodes behind it that nothing reads any more.

    `results` take over the names and uses of the outputs of `old`.
    """
    inputs = tuple(old.inputs)
    ir.convenience.replace_nodes_and_values(graph, old, [old], list(new), list(old.outputs), list(results))
    waiting = [value.producer() for value in inputs if value is not None]
    while waiting:
        node = waiting.pop()
        if node is None or node.graph is None or any(value.uses() or value.is_graph_output() for value in node.outputs):
            continue
        waiting += [value.producer() for value in node.inputs if value is not None]
        graph.remove(node, safe=True)


def nodes_of(graph: ir.Graph, *operators: str) -> list[ir.Node]:
    """Return the graph's nodes of the given operator types, as they are now."""
    return [node for node in graph if node.domain == "" and node.op_type in operators]


def operand(node: ir.Node, index: int) -> ir.Value:
    """Return an input that the operator requires."""
    value = node.inputs[index]
    assert value is not None  # noqa: S101, a valid graph has its required inputs
    return value
