"""LSTM, GRU and RNN over the few frames of a step, in either direction; those of one frame are lowered before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.operators.products import product
from edgernn_export.compile.program import Tensor
from edgernn_export.compile.views import sliced

_DIRECTIONS: Final[Mapping[str, tuple[bool, ...]]] = {
    "forward": (False,),
    "reverse": (True,),
    "bidirectional": (False, True),
}
"""Whether each direction of a node begins at the end."""

_ACTIVATIONS: Final = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@dataclass(frozen=True, slots=True)
class _Layer:
    """The weights of one direction, gates in ONNX's order.

    Attributes:
        w: float32 `[inputs, gates * hidden]`.
        r: float32 `[hidden, gates * hidden]`.
        biases: Those of both products, float32 `[gates * hidden]`.
        reset_last: Whether a GRU resets the product of its state, not the state.
    """

    w: NDArray[np.float32]
    r: NDArray[np.float32]
    biases: tuple[NDArray[np.float32], NDArray[np.float32]]
    reset_last: bool

    @property
    def hidden(self) -> int:
        """Features of a state."""
        return int(self.r.shape[0])


def _recurrent(builder: Builder, node: Node) -> None:
    x = builder.tensor(node.inputs[0])
    names = [*node.inputs, *[""] * (8 - len(node.inputs))]
    directions = _DIRECTIONS[node.text("direction", "forward")]
    layers = _layers(builder, node, names, len(directions))
    _check(node, names, x)
    frames, hidden = x.shape[0], layers[0].hidden
    y = builder.scratch((frames, len(directions), 1, hidden), "float32", "states")
    ends: list[list[Tensor]] = []
    for place, (backwards, layer) in enumerate(zip(directions, layers, strict=True)):
        states = [_initial(builder, name, place, hidden) for name in names[5 : 7 if node.operator == "LSTM" else 6]]
        for frame in reversed(range(frames)) if backwards else range(frames):
            here = builder.reshaped(sliced(x, 0, frame, 1), (x.shape[2],))
            states = [builder.stored(state) for state in _STEPS[node.operator](builder, layer, here, states)]
            target = sliced(sliced(y, 0, frame, 1), 1, place, 1)
            builder.store(builder.reshaped(states[0], target.shape), target)
        ends.append(states)
    results = [y, *(_stacked(builder, parts, hidden) for parts in zip(*ends, strict=True))]
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            builder.bind(name, result)


def _check(node: Node, names: Sequence[str], x: Tensor) -> None:
    usual = _ACTIVATIONS[node.operator]
    given = [each.decode() for each in node.attributes.get("activations", [])]  # type: ignore[attr-defined]  # texts
    if (given and given != usual * (len(given) // len(usual))) or "clip" in node.attributes:
        node.refuse("must have its usual activations, and no clip")
    if names[4] or names[7] or node.integer("layout", 0) or node.integer("input_forget", 0) or x.shape[1] != 1:
        node.refuse("must have frames in front, and neither lengths of sequences nor peepholes")


def _layers(builder: Builder, node: Node, names: Sequence[str], count: int) -> list[_Layer]:
    w, r, b = (builder.constant(name) for name in names[1:4])
    if w is None or r is None or (names[3] and b is None):
        node.refuse("must have constant weights")
    biases = np.zeros((count, 2 * w.shape[1]), np.float32) if b is None else b.astype(np.float32)
    return [
        _Layer(
            np.ascontiguousarray(w[i].T),
            np.ascontiguousarray(r[i].T),
            (biases[i, : w.shape[1]], biases[i, w.shape[1] :]),
            bool(node.integer("linear_before_reset", 0)),
        )
        for i in range(count)
    ]


def _initial(builder: Builder, name: str, place: int, hidden: int) -> Tensor:
    if not name:
        return builder.fixed(np.zeros(hidden, np.float32), "zeros")
    return builder.reshaped(sliced(builder.tensor(name), 0, place, 1), (hidden,))


def _stacked(builder: Builder, parts: Sequence[Tensor], hidden: int) -> Tensor:
    result = builder.scratch((len(parts), 1, hidden), "float32", "last")
    for place, part in enumerate(parts):
        builder.store(part, builder.reshaped(sliced(result, 0, place, 1), (hidden,)))
    return result


def _both(builder: Builder, layer: _Layer, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products of input and state, biases added."""
    found = []
    for value, weights, bias in zip((x, h), (layer.w, layer.r), layer.biases, strict=True):
        result = product(builder, value, weights, None)
        found.append(builder.pointwise("{0} + {1}", result, builder.fixed(bias, "bias"), dtype="float32", name="gates"))
    return found[0], found[1]


def _gates(total: Tensor, hidden: int) -> list[Tensor]:
    return [sliced(total, 0, start, hidden) for start in range(0, total.shape[0], hidden)]


def _lstm(builder: Builder, layer: _Layer, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    total = builder.pointwise("{0} + {1}", *_both(builder, layer, x, states[0]), dtype="float32", name="gates")
    i, o, f, g = _gates(total, layer.hidden)
    template = "sigmoid_f32({0}) * {1} + sigmoid_f32({2}) * tanh_f32({3})"
    c = builder.stored(builder.pointwise(template, f, states[1], i, g, dtype="float32", name="cell"))
    h = builder.pointwise("sigmoid_f32({0}) * tanh_f32({1})", o, c, dtype="float32", name="hidden")
    return [h, c]


def _gru(builder: Builder, layer: _Layer, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    (h,), size = states, layer.hidden
    from_x, from_h = _both(builder, layer, x, h)
    (x_z, x_r, x_n), (h_z, h_r, h_n) = _gates(from_x, size), _gates(from_h, size)
    r = builder.pointwise("sigmoid_f32({0} + {1})", x_r, h_r, dtype="float32", name="reset")
    if layer.reset_last:
        n = builder.pointwise("tanh_f32({0} + {1} * {2})", x_n, r, h_n, dtype="float32", name="new")
    else:
        kept = builder.pointwise("{0} * {1}", r, h, dtype="float32", name="kept")
        again = product(builder, kept, np.ascontiguousarray(layer.r[:, 2 * size :]), None)
        bias = builder.fixed(layer.biases[1][2 * size :], "bias")
        n = builder.pointwise("tanh_f32({0} + {1} + {2})", x_n, again, bias, dtype="float32", name="new")
    n = builder.stored(n)
    template = "{2} + sigmoid_f32({0} + {1}) * ({3} - {2})"
    return [builder.pointwise(template, x_z, h_z, n, h, dtype="float32", name="hidden")]


def _rnn(builder: Builder, layer: _Layer, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    return [builder.pointwise("tanh_f32({0} + {1})", *_both(builder, layer, x, states[0]), dtype="float32", name="h")]


_STEPS: Final = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}

OPERATORS: Final[Mapping[str, Operator]] = dict.fromkeys(_STEPS, _recurrent)
