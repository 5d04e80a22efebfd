"""Every construct that lifting knows: a module each, and what becomes of it.

The table in `docs/lifting.md` is made from these: `python tests/export/lifting/constructs.py` prints it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, its usual name


@dataclass(frozen=True, slots=True)
class Construct:
    """A module over sequences, and what lifting must make of it.

    Attributes:
        group: The heading it stands under.
        title: What it shows.
        make: Returns the module.
        example: Its arguments.
        delay: The steps by which it lags; 0 for most.
        refused: What the refusal says; None if it lifts.
        frames: Frames per step.
        states: Names of states, where they matter.
        batch: What the Spec must say of the batch.
    """

    group: str
    title: str
    make: Callable[[], nn.Module]
    example: str
    delay: int = 0
    refused: str | None = None
    frames: int = 1
    states: tuple[str, ...] | None = None
    batch: str | int = "dynamic"


CONSTRUCTS: Final[list[Construct]] = []


def construct(group: str, title: str, example: str = "x=float32[B,T,6]", **expected: object) -> Callable[[type], type]:
    """Add a module class, made without arguments, to the list."""

    def add(module: type) -> type:
        CONSTRUCTS.append(Construct(group, title, module, example, **expected))  # type: ignore[arg-type]
        return module

    return add


class _Layer(nn.Module):
    """A recurrent layer of torch, called without a state."""

    kind: type = nn.LSTM
    options: Mapping[str, object] = MappingProxyType({"batch_first": True})

    def __init__(self) -> None:
        super().__init__()
        self.rnn = self.kind(6, 5, **self.options)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def _layer(
    title: str, kind: type, example: str = "x=float32[B,T,6]", *, expected: dict | None = None, **options: object
) -> None:
    module = type("Layer", (_Layer,), {"kind": kind, "options": options})
    construct("Recurrent layers", title, example, **(expected or {}))(module)


_layer("`nn.LSTM`", nn.LSTM, batch_first=True, expected={"states": ("state.rnn.0.h", "state.rnn.0.c")})
_layer("`nn.GRU`, two layers, time first", nn.GRU, "x=float32[T,B,6]", num_layers=2)
_layer("`nn.RNN`, tanh, without biases", nn.RNN, batch_first=True, bias=False)
_layer("`nn.RNN`, relu", nn.RNN, batch_first=True, nonlinearity="relu")
_layer("`nn.LSTM(proj_size=...)`, two layers", nn.LSTM, batch_first=True, proj_size=3, num_layers=2)
_layer("dropout between layers (off)", nn.GRU, batch_first=True, num_layers=2, dropout=0.5)
_layer("without a batch", nn.LSTM, "x=float32[T,6]", expected={"batch": 1})
_layer("three frames a step", nn.GRU, batch_first=True, expected={"frames": 3})
_layer(
    "bidirectional over time",
    nn.LSTM,
    batch_first=True,
    bidirectional=True,
    expected={"refused": "runs over time in both directions"},
)


@construct("Recurrent layers", "one layer called twice: two states")
class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.rnn(x)[0])[0]


@construct("Recurrent layers", "several anywhere in the module tree, with outputs in a dict")
class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.branches = nn.ModuleList([nn.GRU(6, 4, batch_first=True), nn.LSTM(6, 4, batch_first=True)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.front(x)
        left, right = (branch(x)[0] for branch in self.branches)
        return {"sum": left + right, "left": left}


@construct("Recurrent layers", "a learned initial state")
class LearnedStart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.start = nn.Parameter(torch.randn(1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, self.start.expand(-1, x.shape[0], -1).contiguous())[0]


@construct(
    "Recurrent layers",
    "an initial state computed from the input",
    refused="starts from a state that is computed from the sequence",
)
class ComputedStart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.start = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, self.start(x.mean(1)).unsqueeze(0))[0]


@construct("Recurrent layers", "batch and time folded into one axis for a layer between")
class Folded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        flat = torch.relu(self.head(y.reshape(-1, 5)))
        return self.rnn_free(flat.view(x.shape[0], x.shape[1], 4))

    def rnn_free(self, y: Tensor) -> Tensor:
        return y.softmax(-1)


@construct("Recurrent layers", "time and batch folded, time outside", "x=float32[T,B,6]")
class FoldedTimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.head(y.reshape(-1, 5)).view(x.shape[0], x.shape[1], 4)


@construct("Recurrent layers", "a state for each frequency: batch folded with frequency", "x=float32[B,T,8]")
class PerFrequency(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(1, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        b, t, f = x.shape
        y, _ = self.rnn(x.transpose(1, 2).reshape(b * f, t, 1))
        return y.reshape(b, f, t, 3).permute(0, 2, 1, 3)


@construct(
    "Recurrent layers",
    "recurrence over frequency inside each frame, both directions: no state",
    "x=float32[B,T,8]",
    states=(),
)
class OverFrequency(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(1, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        b, t, f = x.shape
        y, _ = self.rnn(x.reshape(b * t, f, 1))
        return y.reshape(b, t, f, 6)


@construct(
    "Recurrent layers",
    "packed sequences",
    "x=float32[B,T,6]",
    refused="packs its sequences, which mixes time with batch",
)
class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((x.shape[0],), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


# Explicit states, and states in attributes


@construct("Explicit state", "one tensor", "x=float32[B,T,6];h=float32[1,B,5]", states=("state.h",))
class ExplicitTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.rnn(x, h)


@construct(
    "Explicit state",
    "a tuple",
    "x=float32[B,T,6];state.0=float32[2,B,5];state.1=float32[2,B,5]",
    states=("state.state.0", "state.state.1"),
)
class ExplicitTuple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, 2, batch_first=True)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.rnn(x, state)


@construct(
    "Explicit state",
    "a dict that nests tuples",
    "x=float32[B,T,6];cache.low.0=float32[1,B,5];cache.low.1=float32[1,B,5];cache.high=float32[1,B,5]",
    states=("state.cache.low.0", "state.cache.low.1", "state.cache.high"),
)
class ExplicitDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low = nn.LSTM(6, 5, batch_first=True)
        self.high = nn.GRU(5, 5, batch_first=True)

    def forward(self, x: Tensor, cache: dict) -> tuple[Tensor, dict]:
        y, low = self.low(x, cache["low"])
        y, high = self.high(y, cache["high"])
        return y, {"low": low, "high": high}


@construct(
    "Explicit state", "a convolution with its cache", "x=float32[B,T,6];cache=float32[B,2,6]", states=("state.cache",)
)
class ExplicitCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 4, 3)

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, x], 1)
        return self.conv(joined.transpose(1, 2)).transpose(1, 2), joined[:, -2:]


@construct("Explicit state", "a module that is one step already", "x=float32[B,6];h=float32[B,5]", states=("state.h",))
class AlreadyStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return h.tanh(), h


@construct("Explicit state", "beside a hidden one", "x=float32[B,T,6];h=float32[1,B,5]")
class ExplicitAndHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(6, 5, batch_first=True)
        self.second = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.first(x, h)
        return self.second(y)[0], h


@construct("Explicit state", "a condition beside the sequence", "x=float32[B,T,6];speaker=float32[B,3]")
class Conditioned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(9, 5, batch_first=True)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        wide = speaker.unsqueeze(1).expand(-1, x.shape[1], -1)
        return self.rnn(torch.cat([x, wide], -1))[0]


@construct("State in attributes", "a buffer that `forward` replaces", "x=float32[B,T,6]", states=("state.h",))
class BufferReplaced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.register_buffer("h", torch.zeros(1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        y, self.h = self.rnn(x, self.h.expand(1, x.shape[0], 5).contiguous())
        return y


@construct(
    "State in attributes",
    "a buffer of one row that is written in place",
    "x=float32[B,T,6]",
    states=("state.inner.past",),
    batch=1,
)
class BufferWritten(nn.Module):
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("past", torch.zeros(1, 2, 6))

        def forward(self, x: Tensor) -> Tensor:
            joined = torch.cat([self.past, x], 1)
            self.past.copy_(joined[:, -2:])
            return joined.unfold(1, 3, 1).mean(-1)

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@construct(
    "State in attributes",
    "a plain attribute, None at first",
    "x=float32[B,T,6]",
    states=("state.state.0", "state.state.1"),
)
class AttributeNone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, batch_first=True)
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.state = self.rnn(x, self.state)
        return y


@construct(
    "State in attributes", "a number in Python", "x=float32[B,T,6]", refused="changes with every call and is no tensor"
)
class AttributeNumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = 0

    def forward(self, x: Tensor) -> Tensor:
        self.position += 1
        return x * self.position


# Cells in Python loops


@construct("Loops over time", "`nn.GRUCell`, outputs stacked")
class LoopGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 5)
        out = []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1)


@construct("Loops over time", "`nn.LSTMCell`, `unbind`, written into a tensor", "x=float32[T,B,6]")
class LoopLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        out = x.new_zeros(x.shape[0], x.shape[1], 5)
        for t, frame in enumerate(x.unbind(0)):
            state = self.cell(frame, state)
            out[t] = state[0]
        return out


@construct("Loops over time", "`nn.RNNCell`, the output before the update")
class LoopBeforeUpdate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], 5)
        out = []
        for t in range(x.shape[1]):
            out.append(h * 2)
            h = self.cell(x[:, t], h)
        return torch.stack(out, 1)


@construct("Loops over time", "the last state alone")
class LoopLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 5)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h).softmax(-1)


@construct("Loops over time", "outputs and the last state")
class LoopBoth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(6, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.shape[0], 5)
        out = []
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            out.append(h.unsqueeze(1))
        return torch.cat(out, 1), c


@construct(
    "Loops over time",
    "a layer-normalised LSTM with peepholes and a hard sigmoid",
    states=("state.loop.carry", "state.loop.carry.1"),
)
class LoopPeephole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Linear(6, 20)
        self.h = nn.Linear(5, 20, bias=False)
        self.norm = nn.LayerNorm(20)
        self.peep = nn.Parameter(torch.randn(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.size(0), 5)
        out = []
        for t in range(x.size(1)):
            i, f, g, o = self.norm(self.x(x[:, t]) + self.h(h)).chunk(4, -1)
            i, f = F.hardsigmoid(i + self.peep[0] * c), F.hardsigmoid(f + self.peep[1] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, dim=1)


@construct("Loops over time", "a multiplicative GRU with coupled gates, two layers in one loop")
class LoopMultiplicative(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([nn.Linear(6 + 5, 10), nn.Linear(5 + 5, 10)])

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_zeros(x.shape[0], 5) for _ in self.gates]
        out = []
        for frame in x.split(1, dim=1):
            y = frame[:, 0]
            for i, layer in enumerate(self.gates):
                gate, new = layer(torch.cat([y, states[i]], -1)).chunk(2, -1)
                gate = gate.sigmoid()
                states[i] = gate * states[i] + (1 - gate) * torch.tanh(new * states[i] + new)
                y = states[i]
            out.append(y)
        return torch.stack(out, 1)


@construct("Loops over time", "a loop per layer")
class LoopPerLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(6, 5), nn.RNNCell(5, 5)])

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            h = x.new_zeros(x.shape[0], 5)
            out = []
            for t in range(x.shape[1]):
                h = cell(x[:, t], h)
                out.append(h)
            x = torch.stack(out, 1)
        return x


@construct("Loops over time", "an exponential average that begins with the first frame")
class LoopEma(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mean = x[:, 0]
        out = [mean]
        for t in range(1, x.shape[1]):
            mean = 0.9 * mean + 0.1 * x[:, t]
            out.append(mean)
        return torch.stack(out, 1)


@construct("Loops over time", "the last three frames in a deque")
class LoopDeque(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(x.shape[0], 6)
        past = deque([zero, zero, zero], maxlen=3)
        out = []
        for t in range(x.shape[1]):
            past.append(x[:, t])
            out.append(self.head(torch.cat(list(past), -1)))
        return torch.stack(out, 1)


@construct("Loops over time", "on top of a causal convolution, three frames a step", "x=float32[B,6,T]", frames=3)
class LoopOverConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 4)
        self.cell = nn.GRUCell(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x, (3, 0)))
        h = y.new_zeros(y.shape[0], 5)
        out = []
        for t in range(y.shape[2]):
            h = self.cell(y[:, :, t], h)
            out.append(h)
        return torch.stack(out, 2)


@construct("Loops over time", "use of the iteration's number", refused="changes from iteration to iteration of a loop")
class LoopNumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, t] * t for t in range(x.shape[1])], 1)


@construct("Loops over time", "a reversed loop", refused="takes frame 0 of the sequence alone")
class LoopReversed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 5)
        out = []
        for t in reversed(range(x.shape[1])):
            h = self.cell(x[:, t], h)
            out.insert(0, h)
        return torch.stack(out, 1)


@construct("Loops over time", "a history that grows", refused="looks back more than")
class LoopGrowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        seen, out = [], []
        for t in range(x.shape[1]):
            seen.append(x[:, t])
            out.append(torch.stack(seen, 1).softmax(1).sum(1))
        return torch.stack(out, 1)


# Convolutions


class _Causal(nn.Module):
    """A convolution with left padding."""

    def __init__(self, kernel: int = 3, dilation: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, kernel, stride=stride, dilation=dilation, groups=groups)
        self.left = (kernel - 1) * dilation

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, as torch calls it
        return self.conv(F.pad(input, (self.left, 0)))


def _conv(title: str, make: Callable[[], nn.Module], example: str = "input=float32[B,6,T]", **expected: object) -> None:
    CONSTRUCTS.append(Construct("Convolutions and windows", title, make, example, **expected))  # type: ignore[arg-type]


_conv("causal, left padding", _Causal, states=("state.conv.past",))
_conv("dilated, depthwise", lambda: _Causal(3, dilation=4, groups=6))
_conv("strided, two frames a step", lambda: _Causal(4, stride=2), frames=2)
_conv(
    "strided, one frame a step",
    lambda: _Causal(4, stride=2),
    refused="moves 2 elements at a time, but a step has 1; use --frames-per-step 2",
)
_conv("padded on both sides", lambda: nn.Conv1d(6, 4, 5, padding=2), delay=2)
_conv(
    "padded on both sides, no delay allowed",
    lambda: nn.Conv1d(6, 4, 5, padding=2),
    refused="its output would lag by 2 steps; allow that with --allow-delay",
)
_conv("`padding='same'`, dilated", lambda: nn.Conv1d(6, 4, 3, padding="same", dilation=3), delay=3)
_conv(
    "stacked look-ahead, masked before time zero",
    lambda: nn.Sequential(nn.Conv1d(6, 5, 3, padding=1), nn.ReLU(), nn.Conv1d(5, 4, 5, padding=2)),
    delay=3,
)
_conv(
    "look-ahead, three frames a step",
    lambda: nn.Sequential(nn.Conv1d(6, 5, 3, padding=1), nn.ReLU(), nn.Conv1d(5, 4, 5, padding=2)),
    delay=1,
    frames=3,
)
_conv(
    "reflected padding",
    lambda: nn.Conv1d(6, 4, 3, padding=1, padding_mode="reflect"),
    refused="pads time in mode reflect, which reads frames to come",
)
_conv("batch normalisation after it", lambda: nn.Sequential(_Causal(), nn.BatchNorm1d(6), nn.PReLU()))
_conv(
    "`nn.GroupNorm` over time",
    lambda: nn.Sequential(_Causal(), nn.GroupNorm(2, 6)),
    refused="normalises over all time",
)
_conv("`nn.InstanceNorm1d` over time", lambda: nn.InstanceNorm1d(6), refused="normalises over all time")


@construct("Convolutions and windows", "pad both sides, chop the end", "x=float32[B,6,T]")
class Chopped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=4, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., :-4].relu()


@construct("Convolutions and windows", "two-dimensional, causal in time", "x=float32[B,1,T,8]")
class TwoDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, (3, 5), padding=(0, 2), stride=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 0, 2, 0)))


@construct("Convolutions and windows", "transposed, doubling the rate", "x=float32[B,6,T]")
class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(6, 4, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)[..., :-2]


@construct("Convolutions and windows", "down and up again with a skip connection", "x=float32[B,6,T]", frames=4)
class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(6, 8, 4, stride=2)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.up = nn.ConvTranspose1d(8, 6, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.pad(x, (2, 0))).relu()
        y = self.rnn(y.transpose(1, 2))[0].transpose(1, 2)
        return x + self.up(y)[..., : x.shape[-1]]


@construct("Convolutions and windows", "a skip connection around look-ahead", "x=float32[B,6,T]", delay=2)
class LookAheadSkip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 5, padding=2)
        self.rnn = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.conv(x).relu()
        return x + self.rnn(y.transpose(1, 2))[0].transpose(1, 2)


@construct("Convolutions and windows", "average pooling, causal", "x=float32[B,6,T]")
class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(F.pad(x, (3, 0)), 4, stride=1)


@construct("Convolutions and windows", "maximum pooling, two frames to one", "x=float32[B,6,T]", frames=2)
class MaxPooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, 2)


@construct("Convolutions and windows", "windows by `unfold`")
class Unfolded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 3, 0)).unfold(1, 4, 1).std(-1)


@construct("Convolutions and windows", "frames joined in pairs", frames=2)
class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.reshape(x.shape[0], x.shape[1] // 2, 12))[0]


# Along time


@construct("Along time", "differences")
class Difference(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))


@construct("Along time", "`torch.diff` with zeros before")
class Diff(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.diff(x, dim=1, prepend=torch.zeros_like(x[:, :1]))


@construct("Along time", "a shift by one, as teacher forcing has it")
class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, 6))
        self.rnn = nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(torch.cat([self.start.expand(x.shape[0], 1, 6), x[:, :-1]], 1))[0]


@construct("Along time", "cumulative sum")
class CumulativeSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1).tanh()


@construct("Along time", "cumulative mean")
class CumulativeMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1) / torch.ones_like(x).cumsum(1)


@construct("Along time", "cumulative mean, divided by `arange`")
class CumulativeMeanByPosition(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1).view(1, -1, 1)


@construct("Along time", "cumulative maximum, two frames a step", frames=2)
class CumulativeMax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cummax(1).values - x


@construct("Along time", "reversed time", refused="reverses time: its first output needs the last input")
class Flipped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


@construct("Along time", "rolled time", refused="wraps around: its first output needs the last input")
class Rolled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, 1)


@construct("Along time", "softmax over time", refused="normalises over all time")
class SoftmaxOverTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(1)


@construct("Along time", "attention over all time", refused="attends over all time")
class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


@construct("Along time", "each frame against every other", refused="sets each time step against every other")
class Pairwise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(2) - x.unsqueeze(1)).abs().sum(2)


@construct("Along time", "layer normalisation over features")
class FeatureNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@construct(
    "Along time",
    "normalisation by the mean over all time",
    refused="gives every time step what is known only at the end of the sequence",
)
class MeanNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


@construct("Along time", "learned positions", refused="depends on the position in the sequence")
class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4096, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(torch.arange(x.shape[1]))


@construct("Along time", "random numbers", refused="draws random numbers")
class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


# Many to one


@construct("Many to one", "the last output")
class LastOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@construct("Many to one", "the last state")
class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, 2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.rnn(x)
        embedding = self.head(h[-1]).relu()
        return embedding / embedding.norm(dim=1, keepdim=True).clamp_min(1e-6)


@construct("Many to one", "the mean over time, running")
class MeanPooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].mean(dim=1))


@construct("Many to one", "the mean of what a convolution without padding returns", "x=float32[B,6,T]")
class MeanOfValid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(2)


@construct("Many to one", "the maximum over time, running", "x=float32[B,6,T]", frames=2)
class MaxOverTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(-1)


@construct(
    "Many to one",
    "the last output of what looks ahead",
    "x=float32[B,6,T]",
    refused="takes the last element of a tensor that looks 1 elements ahead",
)
class LastOfLookAhead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., -1]


# Whole models


@construct("Whole models", "a token model", "token=int64[B,T]")
class TokenModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(19, 8)
        self.rnn = nn.GRU(8, 12, 2, batch_first=True)
        self.head = nn.Linear(12, 19)

    def forward(self, token: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(token))[0])


@construct("Whole models", "a WaveNet-style stack of dilated causal convolutions with a GRU on top", "x=float32[B,1,T]")
class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, 8, 1)
        self.filters = nn.ModuleList([nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(6)])
        self.mix = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in range(6)])
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, skips = self.front(x), 0
        for i, (filters, mix) in enumerate(zip(self.filters, self.mix, strict=True)):
            left, gate = filters(F.pad(y, (2**i, 0))).chunk(2, 1)
            z = left.tanh() * gate.sigmoid()
            skips = skips + z
            y = y + mix(z)
        return self.rnn(skips.relu().transpose(1, 2))[0]


@construct("Whole models", "a convolutional GRU denoiser with a recurrence over frequency", "spectrum=float32[B,T,16]")
class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(1, 4, (2, 3), stride=(1, 2), padding=(0, 1))
        self.norm = nn.BatchNorm2d(4)
        self.frequency = nn.GRU(4, 3, batch_first=True, bidirectional=True)
        self.time = nn.GRU(6, 6, batch_first=True)
        self.decode = nn.ConvTranspose2d(6, 1, (1, 4), stride=(1, 2), padding=(0, 1))

    def forward(self, spectrum: Tensor) -> Tensor:
        b, t, _ = spectrum.shape
        y = self.norm(self.encode(F.pad(spectrum.unsqueeze(1), (0, 0, 1, 0)))).relu()  # [b, 4, t, 8]
        y = y.permute(0, 2, 3, 1).reshape(b * t, 8, 4)
        y = self.frequency(y)[0].reshape(b, t, 8, 6)
        y = y.permute(0, 2, 1, 3).reshape(b * 8, t, 6)
        y = self.time(y)[0].reshape(b, 8, t, 6).permute(0, 3, 2, 1)
        return spectrum * self.decode(y).squeeze(1).sigmoid()


def table() -> str:
    """Return what becomes of each construct, as Markdown tables."""
    lines: list[str] = []
    for group in dict.fromkeys(each.group for each in CONSTRUCTS):
        lines += [f"### {group}", "", "| construct | result |", "|---|---|"]
        lines += [f"| {each.title} | {_outcome(each)} |" for each in CONSTRUCTS if each.group == group]
        lines.append("")
    return "\n".join(lines)


def _outcome(each: Construct) -> str:
    if each.refused is not None:
        return f"refused: {each.refused}"
    return f"lifts with a delay of {each.delay} step{'s' * (each.delay > 1)}" if each.delay else "lifts"


if __name__ == "__main__":
    print(table())
