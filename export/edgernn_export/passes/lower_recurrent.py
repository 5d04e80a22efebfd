"""LSTM, GRU and RNN operators of one step become plain products and activations: the way back to the cell form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import FloatArray, add_constant, constant_of, nodes_of, operand, replace
from edgernn_export.passes.merge_views import merge_views

_GATES: Final = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS: Final = {
    "LSTM": (("sigmoid", "tanh", "tanh"),),
    "GRU": (("sigmoid", "tanh"),),
    "RNN": (("tanh",), ("relu",)),
}
_PLAIN: Final = {"direction": "forward", "layout": 0, "input_forget": 0}
_OTHER: Final = ("activations", "hidden_size", "linear_before_reset", *_PLAIN)
"""The attributes that a node may have; `clip` and the parameters of activations are none of them."""


def lower_recurrent(model: ir.Model) -> bool:
    """Turn LSTM, GRU and RNN nodes into plain operators, where they take one step in one direction.

    A node stays if it has a sequence of more than one step, lengths of sequences, peepholes, a clip, other
    activations than the usual ones, weights that are not constant, or no initial state. `optimize` makes the
    same of the result as of what was exported in the cell lowering.
    """
    changed = False
    for node in nodes_of(model.graph, *_GATES):
        layer = _read(node)
        if layer is not None:
            _lower(model.graph, node, layer)
            changed = True
    if changed:
        merge_views(model)
    return changed


@dataclass(frozen=True, slots=True)
class _Layer:
    """A recurrent node that can be lowered; gates are in ONNX's order.

    Attributes:
        x: The input, `[1, batch, input]`.
        states: The initial states, `[1, batch, hidden]`.
        w: The weights of the input, `[gates * hidden, input]`.
        r: The weights of the state, `[gates * hidden, hidden]`.
        biases: The biases of both, `[gates * hidden]` each, or none.
        activation: The operator of the last activation.
        reset_first: Whether a GRU resets the state before its product.
    """

    x: ir.Value
    states: tuple[ir.Value, ...]
    w: FloatArray
    r: FloatArray
    biases: tuple[FloatArray, ...]
    activation: str
    reset_first: bool

    @property
    def hidden(self) -> int:
        """Features of a state."""
        return int(self.r.shape[1])


class _Nodes:
    """The nodes that replace one; mutable. All values that it makes are `[batch, columns]`."""

    def __init__(self, graph: ir.Graph, name: str, like: ir.Value) -> None:
        """Make nodes for `graph`, with constants called after `name`, and the type and batch of `like`."""
        assert like.shape is not None  # noqa: S101, _read checked it
        self.made: list[ir.Node] = []
        self._graph, self._name, self._type, self._batch = graph, name, like.type, like.shape[1]

    def add(self, operator: str, *inputs: ir.Value, columns: int) -> ir.Value:
        """Return the result of an operator."""
        return self._append(ir.node(operator, inputs), [columns])[0]

    def first(self, value: ir.Value) -> ir.Value:
        """Return `value`, `[1, batch, columns]`, without its first axis."""
        assert value.shape is not None  # noqa: S101, _read checked it
        return self.add("Squeeze", value, self._axes(1), columns=int(value.shape[2]))  # type: ignore[arg-type]

    def linear(self, x: ir.Value, name: str, weight: FloatArray, bias: FloatArray | None) -> ir.Value:
        """Return `x @ weight.T`, and `bias` added."""
        columns = len(weight)
        product = self.add("MatMul", x, self._constant(f"{name}.T", weight.T), columns=columns)
        if bias is None:
            return product
        return self.add("Add", product, self._constant(f"{name}.bias", bias), columns=columns)

    def split(self, value: ir.Value, columns: Sequence[int]) -> Sequence[ir.Value]:
        """Return the parts of `value`."""
        sizes = add_constant(self._graph, "sizes", np.array(columns, np.int64))
        return self._append(ir.node("Split", [value, sizes], {"axis": 1}, num_outputs=len(columns)), columns)

    def outputs(self, states: Sequence[ir.Value], count: int) -> list[ir.Value]:
        """Return the outputs of a recurrent node that ends in `states`: that of its sequence, and its states."""
        views = [(states[0], 2), *((state, 1) for state in states)][:count]
        nodes = [ir.node("Unsqueeze", [state, self._axes(axes)]) for state, axes in views]
        self.made += nodes
        return [node.outputs[0] for node in nodes]

    def _constant(self, name: str, array: FloatArray) -> ir.Value:
        return add_constant(self._graph, f"{self._name}.{name}", array)

    def _axes(self, count: int) -> ir.Value:
        return add_constant(self._graph, "axes", np.arange(count))

    def _append(self, node: ir.Node, columns: Sequence[int]) -> Sequence[ir.Value]:
        for value, each in zip(node.outputs, columns, strict=True):
            value.shape, value.type = ir.Shape([self._batch, each]), self._type
        self.made.append(node)
        return node.outputs


def _lower(graph: ir.Graph, node: ir.Node, layer: _Layer) -> None:
    nodes = _Nodes(graph, str(operand(node, 1).name), layer.x)
    x, states = nodes.first(layer.x), [nodes.first(state) for state in layer.states]
    after = _STEPS[node.op_type](nodes, layer, x, states)
    results = nodes.outputs(after, len(node.outputs))
    replace(graph, node, nodes.made, results)


def _lstm(nodes: _Nodes, layer: _Layer, x: ir.Value, states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    """`c' = f * c + i * g`, `h' = o * tanh(c')`; gates in the order i, o, f, g."""
    size = layer.hidden
    i, o, f, g = nodes.split(_gates(nodes, layer, x, states[0]), [size] * 4)
    i, o, f = (nodes.add("Sigmoid", gate, columns=size) for gate in (i, o, f))
    kept = nodes.add("Mul", f, states[1], columns=size)
    added = nodes.add("Mul", i, nodes.add("Tanh", g, columns=size), columns=size)
    c = nodes.add("Add", kept, added, columns=size)
    return nodes.add("Mul", o, nodes.add("Tanh", c, columns=size), columns=size), c


def _gru(nodes: _Nodes, layer: _Layer, x: ir.Value, states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    """`h' = n + z * (h - n)`; gates in the order z, r, n."""
    (h,), size = states, layer.hidden
    x_bias, h_bias = layer.biases or (None, None)
    x_gates, x_n = nodes.split(nodes.linear(x, "input", layer.w, x_bias), [2 * size, size])
    if layer.reset_first:
        bias, last = (None, None) if h_bias is None else (h_bias[: 2 * size], h_bias[2 * size :])
        h_gates = nodes.linear(h, "state", layer.r[: 2 * size], bias)
    else:
        h_gates, h_n = nodes.split(nodes.linear(h, "state", layer.r, h_bias), [2 * size, size])
    gates = nodes.add("Sigmoid", nodes.add("Add", x_gates, h_gates, columns=2 * size), columns=2 * size)
    z, r = nodes.split(gates, [size, size])
    if layer.reset_first:
        reset = nodes.linear(nodes.add("Mul", r, h, columns=size), "reset", layer.r[2 * size :], last)
    else:
        reset = nodes.add("Mul", r, h_n, columns=size)
    n = nodes.add("Tanh", nodes.add("Add", x_n, reset, columns=size), columns=size)
    moved = nodes.add("Mul", z, nodes.add("Sub", h, n, columns=size), columns=size)
    return (nodes.add("Add", n, moved, columns=size),)


def _rnn(nodes: _Nodes, layer: _Layer, x: ir.Value, states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    total = _gates(nodes, layer, x, states[0])
    return (nodes.add(layer.activation, total, columns=layer.hidden),)


def _gates(nodes: _Nodes, layer: _Layer, x: ir.Value, h: ir.Value) -> ir.Value:
    x_bias, h_bias = layer.biases or (None, None)
    x_part, h_part = nodes.linear(x, "input", layer.w, x_bias), nodes.linear(h, "state", layer.r, h_bias)
    return nodes.add("Add", x_part, h_part, columns=len(layer.w))


_STEPS: Final[dict[str, Callable[[_Nodes, _Layer, ir.Value, Sequence[ir.Value]], tuple[ir.Value, ...]]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
}


def _read(node: ir.Node) -> _Layer | None:
    """Return what a recurrent node computes; None if it cannot be lowered."""
    activations = _activations(node)
    if activations is None or not _is_plain(node):
        return None
    inputs: list[ir.Value | None] = [*node.inputs, *[None] * (8 - len(node.inputs))]
    x, w_value, r_value, b_value, lengths = inputs[:5]
    states = inputs[5:]
    count = 2 if node.op_type == "LSTM" else 1
    given = [state for state in states[:count] if state is not None and _is_one_step(state)]
    w, r = constant_of(w_value), constant_of(r_value)
    if x is None or not _is_one_step(x) or lengths is not None or any(states[count:]) or len(given) < count:
        return None
    if w is None or r is None or w.shape[0] != 1:
        return None
    b = None if b_value is None else constant_of(b_value)
    if b_value is not None and b is None:
        return None
    biases = () if b is None else tuple(np.split(b[0], 2))
    reset_first = node.op_type == "GRU" and not node.attributes.get_int("linear_before_reset", 0)
    return _Layer(x, tuple(given), w[0], r[0], biases, activations[-1].capitalize(), reset_first)


def _is_one_step(value: ir.Value) -> bool:
    """Whether `value` is `[1, batch, columns]`."""
    shape = value.shape
    return shape is not None and len(shape) == 3 and shape[0] == 1 and isinstance(shape[2], int)


def _is_plain(node: ir.Node) -> bool:
    if any(name not in _OTHER for name in node.attributes):
        return False
    return all(node.attributes[name].value == value for name, value in _PLAIN.items() if name in node.attributes)


def _activations(node: ir.Node) -> tuple[str, ...] | None:
    """Return the activations in lower case; None if they are others than the usual ones."""
    usual = _ACTIVATIONS[node.op_type]
    found = tuple(name.lower() for name in node.attributes.get_strings("activations", usual[0]))
    return found if found in usual else None
