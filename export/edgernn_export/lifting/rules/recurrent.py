"""LSTM, GRU and RNN layers over time: a cell for each layer and element, its states carried."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, fx

from edgernn_export.lifting.nodes import arguments, overload, used_outputs
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import StateEntry, aten
from edgernn_export.lifting.values import Kind, Known, Place, Value
from edgernn_export.lifting.walk import Walk

_CELLS: Final = {
    aten.lstm.input: aten.lstm_cell.default,
    aten.gru.input: aten.gru_cell.default,
    aten.rnn_tanh.input: aten.rnn_tanh_cell.default,
    aten.rnn_relu.input: aten.rnn_relu_cell.default,
}
_LSTM_STATES: Final = ("h", "c")


@dataclass(frozen=True, slots=True)
class _Layer:
    """The weights of one layer: input, recurrent, their biases and, for a projected LSTM, the projection."""

    w_ih: fx.Node
    w_hh: fx.Node
    b_ih: fx.Node | None
    b_hh: fx.Node | None
    w_hr: fx.Node | None


def recurrent(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a recurrent layer."""
    args = arguments(node)
    value = walk.value(cast("fx.Node", args["input"]))
    axis = 1 if args["batch_first"] else 0
    if value.kind is Kind.STREAM:
        if value.where.axis != axis or value.where.folded:
            return None
    elif value.sample.shape[axis] != walk.sizes.frames or walk.sizes.steps > 1:
        return None
    if args["bidirectional"]:
        raise refusal(
            node,
            "runs over time in both directions: its first output needs the last input",
            "retrain it in one direction, or run it on chunks that are complete",
        )
    count = value.count if value.kind is Kind.STREAM else value.sample.shape[axis]
    layers = _layers(walk, args)
    carried = _States(walk, node, args, value, len(layers))
    elements = []
    for i in range(count):
        x = walk.step.call(aten.select.int, value.node, axis, i)
        before = list(carried.now)
        for number, layer in enumerate(layers):
            carried.now[number] = _cell(walk, node, layer, x, carried.now[number])
            x = carried.now[number][0]
        carried.now = carried.held_before_start(i, before)
        elements.append(x)
    output = walk.step.call(aten.stack.default, elements, axis)
    last = carried.finish()
    samples = cast("tuple[Tensor, ...]", walk.samples[node])
    if value.kind is Kind.STREAM:
        first = Value(output, samples[0], Kind.STREAM, Place(axis), count, value.shift)
        surplus = value.length - value.count * walk.sizes.steps
        kind = Kind.RUNNING
        if surplus != value.shift and any(used_outputs(node)):
            raise refusal(node, "gives its last state after looking ahead", "return its outputs instead")
    else:
        first, kind = Value(output, samples[0], Kind.STATIC), Kind.STATIC
    return (first, *(Value(made, sample, kind) for made, sample in zip(last, samples[1:], strict=True)))


class _States:
    """The states of a recurrent layer while its step is written. Mutable: `now` moves from element to element."""

    def __init__(self, walk: Walk, node: fx.Node, args: Mapping[str, object], value: Value, layers: int) -> None:
        """Take the initial states from where the original has them: constants become states of the step."""
        self._walk, self._node, self._value = walk, node, value
        given = args["hx"]
        initial = cast("Sequence[fx.Node]", given if isinstance(given, (list, tuple)) else [given])
        values = [walk.value(each) for each in initial]
        if any(each.kind in (Kind.STREAM, Kind.RUNNING) for each in values):
            raise refusal(
                node,
                "starts from a state that is computed from the sequence",
                "make the initial state an argument of the module, so that it can be set at reset",
            )
        self._shapes = [tuple(each.sample.shape[1:]) for each in values]
        self.entries: list[list[tuple[StateEntry, fx.Node]]] = []
        self._constant = all(each.kind is Kind.CONSTANT for each in values)
        if self._constant:
            samples = _after_prefix(walk, node, args, value, values)
            names = _LSTM_STATES if len(values) > 1 else ("h",)
            self.entries = [
                [
                    walk.carried(walk.name(node, f"{layer}.{name}"), sample[layer])
                    for name, sample in zip(names, samples, strict=True)
                ]
                for layer in range(layers)
            ]
            self.now = [[laid for _, laid in entries] for entries in self.entries]
        else:
            self.now = [
                [walk.step.call(aten.select.int, each.node, 0, layer) for each in values] for layer in range(layers)
            ]

    def held_before_start(self, element: int, before: "list[list[fx.Node]]") -> "list[list[fx.Node]]":
        """Return the new states, or the old ones where the element lies before the first of the original."""
        value = self._value
        if value.kind is not Kind.STREAM or value.shift >= 0:
            return self.now
        step = self._walk.step
        index = step.call(aten.select.int, self._walk.index(value.count, value.shift), 1, element)
        early = step.call(aten.lt.Scalar, index, 0)
        held = []
        for new, old in zip(self.now, before, strict=True):
            masks = [self._walk.rows_mask(early, shape) for shape in self._shapes]
            held.append([step.call(aten.where.self, *each) for each in zip(masks, old, new, strict=True)])
        return held

    def finish(self) -> list[fx.Node]:
        """Carry the states on, and return them as the original does: `[layers, batch, size]` each."""
        for entries, nodes in zip(self.entries, self.now, strict=False):
            for (entry, _), after in zip(entries, nodes, strict=True):
                self._walk.carry(entry, after)
        return [self._walk.step.call(aten.stack.default, list(each), 0) for each in zip(*self.now, strict=True)]


def _layers(walk: Walk, args: Mapping[str, object]) -> list[_Layer]:
    count, biased = cast("int", args["num_layers"]), bool(args["has_biases"])
    weights = [walk.value(each).node for each in cast("list[fx.Node]", args["params"])]
    each = len(weights) // count
    groups = [weights[i * each : (i + 1) * each] for i in range(count)]
    plain = 4 if biased else 2
    return [
        _Layer(
            group[0],
            group[1],
            group[2] if biased else None,
            group[3] if biased else None,
            group[plain] if len(group) > plain else None,
        )
        for group in groups
    ]


def _cell(walk: Walk, node: fx.Node, layer: _Layer, x: fx.Node, state: list[fx.Node]) -> list[fx.Node]:
    """Write one cell, and return its states, the output first."""
    weights = (layer.w_ih, layer.w_hh, layer.b_ih, layer.b_hh)
    cell = _CELLS[overload(node)]
    if len(state) == 1:
        return [walk.step.call(cell, x, state[0], *weights)]
    both = walk.step.call(cell, x, state, *weights)
    h, c = (walk.step.call(operator.getitem, both, i) for i in range(2))
    return [h if layer.w_hr is None else walk.step.call(aten.linear.default, h, layer.w_hr), c]


def _after_prefix(
    walk: Walk, node: fx.Node, args: Mapping[str, object], value: Value, initial: Sequence[Value]
) -> list[Tensor]:
    """Return the states with which step 0 begins: the original's, run over what lies before the first input."""
    states = [each.sample for each in initial]
    if value.kind is not Kind.STREAM or value.shift <= 0:
        return states
    prefix = value.sample.narrow(value.where.axis, 0, value.shift)

    def concrete(source: fx.Node) -> object:
        return prefix if source is args["input"] else walk.samples[source]

    run_args, run_kwargs = fx.node.map_arg((node.args, node.kwargs), concrete)  # type: ignore[arg-type]
    with torch.no_grad():
        return list(node.target(*run_args, **run_kwargs)[1:])  # type: ignore[operator]


RULES: Final = dict.fromkeys(_CELLS, recurrent)
