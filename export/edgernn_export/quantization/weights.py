"""Weights: the matrices of a step graph that can be stored in fewer bits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgernn_export.passes.edit import constant_of, nodes_of, operand
from edgernn_export.quantization.blocks import SMALLEST_BLOCK
from edgernn_runtime.errors import QuantizationError
from edgernn_runtime.spec import Spec

Kind = Literal["product", "table"]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a matrix that were a matrix of their own in the source, such as input or recurrent weights.

    Attributes:
        name: The name of those weights.
        start: The first row.
        stop: The row behind the last one.
    """

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A float32 matrix of a step graph.

    Attributes:
        name: Its name in the graph.
        kind: A `product` `[K, N]` that a MatMul multiplies by, or a `table` `[rows, N]` that a Gather reads.
        array: The weights, float32.
        inputs: The names of the values that a product multiplies; empty for a table.
        parts: What its rows were in the source.
        leads_to_state: Whether a state depends on it.
    """

    name: str
    kind: Kind
    array: NDArray[np.float32]
    inputs: tuple[str, ...]
    parts: tuple[Part, ...]
    leads_to_state: bool


def find_weights(model: ir.Model, spec: Spec) -> tuple[Weight, ...]:
    """Return the matrices of a step graph, in the order of its nodes; one that is product and table is left out.

    Raises:
        QuantizationError: If a weight is NaN or infinite.
    """
    before_state = _before(model.graph, {state.output for state in spec.states})
    found: dict[str, Weight] = {}
    read_twice: set[str] = set()
    for node in nodes_of(model.graph, "MatMul", "Gather"):
        kind: Kind = "product" if node.op_type == "MatMul" else "table"
        value = operand(node, 1 if kind == "product" else 0)
        array = constant_of(value)
        if array is None or array.ndim != 2 or array.dtype != np.float32 or not _fits(node, kind, array):
            continue
        name = str(value.name)
        if not np.isfinite(array).all():
            raise QuantizationError(f"{name} holds NaN or infinity, so it cannot be quantized")
        earlier = found.get(name)
        if earlier is not None and earlier.kind != kind:
            read_twice.add(name)
        inputs = (str(operand(node, 0).name),) if kind == "product" else ()
        inputs = tuple(dict.fromkeys((*(earlier.inputs if earlier else ()), *inputs)))
        leads = node in before_state or (earlier is not None and earlier.leads_to_state)
        found[name] = Weight(name, kind, array.astype(np.float32), inputs, tuple(_parts(node, name, array)), leads)
    return tuple(weight for name, weight in found.items() if name not in read_twice)


def _fits(node: ir.Node, kind: Kind, array: NDArray[np.floating]) -> bool:
    """Return whether a table is read by row, and its rows are long enough to be worth a block."""
    return kind == "product" or (node.attributes.get_int("axis", 0) == 0 and array.shape[1] >= SMALLEST_BLOCK)


def users_of(model: ir.Model, weight: Weight) -> list[ir.Node]:
    """Return the nodes that read a weight as what it is."""
    operator, index = ("MatMul", 1) if weight.kind == "product" else ("Gather", 0)
    return [node for node in nodes_of(model.graph, operator) if operand(node, index).name == weight.name]


def _before(graph: ir.Graph, outputs: set[str]) -> set[ir.Node]:
    """Return the nodes that the named outputs depend on."""
    waiting = [value.producer() for value in graph.outputs if value.name in outputs]
    found: set[ir.Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [value.producer() for value in node.inputs if value is not None]
    return found


def _parts(node: ir.Node, name: str, array: NDArray[np.floating]) -> Iterator[Part]:
    """Yield what the rows were before products of one sum were joined: one part for each input of a Concat."""
    joined = operand(node, 0).producer() if node.op_type == "MatMul" else None
    names = name.split("+")
    values = list(joined.inputs) if joined is not None and joined.op_type == "Concat" else []
    widths = [_width(value) for value in values]
    if len(widths) != len(names) or sum(widths) != len(array):
        yield Part(name, 0, len(array))
        return
    ends = np.cumsum(widths)
    for part, stop, width in zip(names, ends, widths, strict=True):
        yield Part(part, int(stop) - width, int(stop))


def _width(value: ir.Value | None) -> int:
    shape = None if value is None else value.shape
    return int(shape[-1]) if shape is not None and len(shape) and isinstance(shape[-1], int) else 0
