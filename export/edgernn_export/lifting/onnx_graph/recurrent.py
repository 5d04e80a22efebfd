"""ONNX's recurrent operators in torch: its own layers where they compute the same, else a loop over cells."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from edgernn_export.lifting.onnx_graph.values import Attributes, Given, Operator, numbers, tensor
from edgernn_runtime.errors import LiftError

_LSTM_ORDER: Final = (0, 2, 3, 1)  # ONNX i, o, f, c; torch i, f, c, o
_GRU_ORDER: Final = (1, 0, 2)  # ONNX z, r, h; torch r, z, h


def lstm(attributes: Attributes, *given: Given) -> tuple[Tensor, Tensor, Tensor]:
    """Compute an LSTM: Y `[time, directions, batch, hidden]`, Y_h and Y_c `[directions, batch, hidden]`."""
    layer = _Layer("LSTM", 4, attributes, given)
    peepholes = given[7] if len(given) > 7 else None
    states = (layer.state(5), layer.state(6))
    if layer.activations in ([], ["Sigmoid", "Tanh", "Tanh"]) and peepholes is None and not layer.special:
        y, h, c = layer.fused(torch.lstm, list(states), _LSTM_ORDER)
        return layer.result(y), layer.last(h), layer.last(c)
    f, g, k = layer.functions(["Sigmoid", "Tanh", "Tanh"])
    pi, po, pf = torch.zeros(3, 1) if peepholes is None else tensor(peepholes)[0].chunk(3)

    def cell(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        h, c = state
        i, o, forget, new = (layer.x_gates(x) + layer.h_gates(h)).chunk(4, -1)
        i, forget = f(i + pi * c), f(forget + pf * c)
        forget = 1 - i if attributes.get("input_forget") else forget
        c = forget * c + i * g(new)
        return [f(o + po * c) * k(c), c]

    y, (h, c) = layer.looped(cell, [state[0] for state in states])
    return layer.result(y), layer.last(h.unsqueeze(0)), layer.last(c.unsqueeze(0))


def gru(attributes: Attributes, *given: Given) -> tuple[Tensor, Tensor]:
    """Compute a GRU: Y `[time, directions, batch, hidden]`, Y_h `[directions, batch, hidden]`."""
    layer = _Layer("GRU", 3, attributes, given)
    state = layer.state(5)
    after = bool(attributes.get("linear_before_reset"))
    if layer.activations in ([], ["Sigmoid", "Tanh"]) and after and not layer.special:
        y, h = layer.fused(torch.gru, state, _GRU_ORDER)
        return layer.result(y), layer.last(h)
    f, g = layer.functions(["Sigmoid", "Tanh"])

    def cell(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        (h,) = state
        xz, xr, xn = layer.x_gates(x).chunk(3, -1)
        hz, hr, hn = layer.h_gates(h).chunk(3, -1)
        z, r = f(xz + hz), f(xr + hr)
        n = g(xn + r * hn) if after else g(xn + layer.product(r * h, 2))
        return [(1 - z) * n + z * h]

    y, (h,) = layer.looped(cell, [state[0]])
    return layer.result(y), layer.last(h.unsqueeze(0))


def rnn(attributes: Attributes, *given: Given) -> tuple[Tensor, Tensor]:
    """Compute an Elman RNN: Y `[time, directions, batch, hidden]`, Y_h `[directions, batch, hidden]`."""
    layer = _Layer("RNN", 1, attributes, given)
    state = layer.state(5)
    fused = {"Tanh": torch.rnn_tanh, "Relu": torch.rnn_relu}.get((layer.activations or ["Tanh"])[0])
    if fused is not None and not layer.special:
        y, h = layer.fused(fused, state, (0,))
        return layer.result(y), layer.last(h)
    (f,) = layer.functions(["Tanh"])
    y, (h,) = layer.looped(lambda x, state: [f(layer.x_gates(x) + layer.h_gates(state[0]))], [state[0]])
    return layer.result(y), layer.last(h.unsqueeze(0))


class _Layer:
    """What the three have in common: weights, direction and layout."""

    def __init__(self, name: str, gates: int, attributes: Attributes, given: Sequence[Given]) -> None:
        self.name, self.gates, self.given = name, gates, given
        self.hidden = int(attributes["hidden_size"])
        direction = attributes.get("direction", b"forward")
        self.direction = direction.decode() if isinstance(direction, bytes) else str(direction)
        self.directions = 2 if self.direction == "bidirectional" else 1
        names = [each.decode() if isinstance(each, bytes) else each for each in attributes.get("activations", [])]
        self.activations = names[: len(names) // self.directions] if self.directions > 1 else names
        self.special = bool(attributes.get("input_forget"))
        self.batch_first = bool(attributes.get("layout"))
        self.alphas, self.betas = attributes.get("activation_alpha", []), attributes.get("activation_beta", [])
        if attributes.get("clip"):
            raise LiftError(f"{name} with clip is not read; clip its inputs instead")
        x = tensor(given[0])
        self.x = x.transpose(0, 1) if self.batch_first else x
        if self.direction == "reverse":
            self.x = self.x.flip(0)
        lengths = given[4] if len(given) > 4 else None
        if lengths is not None and set(numbers(lengths, f"the sequence_lens of {name}")) != {self.x.shape[0]}:
            raise LiftError(
                f"{name} has sequences of different lengths; a stream has no padding, so drop sequence_lens"
            )

    def state(self, position: int) -> Tensor:
        """Return an initial state `[directions, batch, hidden]`."""
        value = self.given[position] if len(self.given) > position else None
        if value is None:
            return torch.zeros(self.directions, self.x.shape[1], self.hidden)
        return tensor(value).transpose(0, 1) if self.batch_first else tensor(value)

    def _weights(self, direction: int) -> list[Tensor]:
        bias = self.given[3] if len(self.given) > 3 else None
        parts = [tensor(each)[direction] for each in self.given[1:3]]
        if bias is not None:
            parts += list(tensor(bias)[direction].chunk(2))
        return parts

    def fused(
        self, layer: Callable[..., tuple[Tensor, ...]], state: "Tensor | list[Tensor]", order: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Run torch's own layer, gates reordered."""
        weights = []
        for direction in range(self.directions):
            for part in self._weights(direction):
                blocks = part.chunk(self.gates)
                weights.append(torch.cat([blocks[i] for i in order]).contiguous())
        biased = len(weights) > 2 * self.directions
        return layer(self.x, state, weights, biased, 1, 0.0, False, self.directions > 1, False)

    def functions(self, defaults: Sequence[str]) -> list[Callable[[Tensor], Tensor]]:
        """Return the activations that were asked for."""
        if self.directions > 1:
            raise LiftError(f"{self.name} runs over time in both directions: its first output needs the last input")
        names = self.activations or list(defaults)
        return [_activation(name, i, self.alphas, self.betas) for i, name in enumerate(names)]

    def x_gates(self, x: Tensor) -> Tensor:
        """Return the products of an input with the weights, bias included."""
        weights = self._weights(0)
        return torch.nn.functional.linear(x, weights[0], weights[2] if len(weights) > 2 else None)

    def h_gates(self, h: Tensor) -> Tensor:
        """Return the products of a state with the recurrent weights, bias included."""
        weights = self._weights(0)
        return torch.nn.functional.linear(h, weights[1], weights[3] if len(weights) > 2 else None)

    def product(self, h: Tensor, gate: int) -> Tensor:
        """Return the product of a state with one gate's recurrent weights."""
        weights = self._weights(0)
        rows = slice(gate * self.hidden, (gate + 1) * self.hidden)
        return torch.nn.functional.linear(h, weights[1][rows], weights[3][rows] if len(weights) > 2 else None)

    def looped(
        self, cell: Callable[[Tensor, list[Tensor]], list[Tensor]], state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a cell over time."""
        outputs = []
        for frame in self.x.unbind(0):
            state = cell(frame, state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def result(self, y: Tensor) -> Tensor:
        """Return outputs `[time, batch, directions * hidden]` in ONNX's layout."""
        time, batch = y.shape[:2]
        y = y.flip(0) if self.direction == "reverse" else y
        split = y.reshape(time, batch, self.directions, self.hidden)
        return split.transpose(0, 1) if self.batch_first else split.transpose(1, 2)

    def last(self, state: Tensor) -> Tensor:
        """Return a state `[directions, batch, hidden]` in ONNX's layout."""
        return state.transpose(0, 1) if self.batch_first else state


def _activation(name: str, i: int, alphas: Sequence[float], betas: Sequence[float]) -> Callable[[Tensor], Tensor]:
    alpha = alphas[i] if i < len(alphas) else None
    beta = betas[i] if i < len(betas) else None
    plain = {"Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Relu": torch.relu, "Softsign": torch.nn.functional.softsign}
    if name in plain:
        return plain[name]
    if name == "HardSigmoid":
        slope, offset = 0.2 if alpha is None else alpha, 0.5 if beta is None else beta
        return lambda x: torch.clamp(slope * x + offset, 0.0, 1.0)
    if name == "Affine":
        slope, offset = 1.0 if alpha is None else alpha, 0.0 if beta is None else beta
        return lambda x: slope * x + offset
    raise LiftError(
        f"the activation {name} of a recurrent operator is not read; use Sigmoid, Tanh, Relu or HardSigmoid"
    )


RECURRENT: Final[dict[str, Operator]] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
