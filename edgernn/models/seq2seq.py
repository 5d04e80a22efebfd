"""Seq2Seq: a recurrent encoder of symbols, and a recurrent decoder that writes others, with attention in between."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.begin_step import BeginStep
from edgernn.models.state_specs import state_specs
from edgernn_export import StagedModules, StepModule
from edgernn_runtime.bundle_spec import Link
from edgernn_runtime.codecs import SymbolCodec
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec
from edgernn_runtime.transducer import MEMORY

_UNSEEN: Final = -1e4
"""The score of a place in the memory that holds nothing."""


@dataclass(frozen=True, slots=True)
class Seq2SeqConfig:
    """What makes a `Seq2Seq`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        source: How the text that is read becomes tokens.
        target: How the tokens that are written become text; it has tokens that begin and end.
        hidden: Features of every layer.
        layers: The number of cells on top of each other, in encoder and decoder.
        embedding: Features of each symbol.
        places: Symbols that the decoder can look back at; 0 for a decoder that knows only the encoder's last output.
        features: Features of each of them.
        dropout: The share of features set to zero between layers and before the heads in training.
    """

    cell: str
    source: SymbolCodec
    target: SymbolCodec
    hidden: int
    layers: int
    embedding: int
    places: int
    features: int
    dropout: float


class Seq2Seq(nn.Module):
    """An encoder and a decoder (Sutskever et al. 2014) with attention over a memory (Luong et al. 2015).

    The decoder's initial state is made of the encoder's last output. The memory has one place for each symbol read,
    the last ones if there are more: 1, and then features of the encoder's output there. The decoder's output asks for
    some of them by their product with it; what they hold, weighed, and the output make the logits.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        stack = partial(
            make_stack, config.cell, config.embedding, config.hidden, layers=config.layers, dropout=config.dropout
        )
        self.read = nn.Embedding(config.source.size, config.embedding)
        self.encoder = stack()
        self.begin = nn.Linear(config.hidden, sum(tensor.shape[1] for tensor in self.encoder.init(1)))
        self.written = nn.Embedding(config.target.size, config.embedding)
        self.decoder = stack()
        self.dropout = nn.Dropout(config.dropout)
        seen = 0
        if config.places:
            seen = config.features
            self.remember = nn.Linear(config.hidden, config.features)
            self.ask = nn.Linear(config.hidden, config.features)
            self.join = nn.Linear(config.hidden + seen, config.hidden)
        self.head = nn.Linear(config.hidden, config.target.size)

    def encode_step(self, symbol: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output `[batch, hidden]` after one more symbol, int64 `[batch]`, and the next state."""
        return self.encoder.step(self.read(symbol), state)

    def encode(self, symbols: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last output and the memory of whole texts.

        Args:
            symbols: int64 `[time, batch]`, anything behind the end of a text.
            lengths: int64 `[batch]`, at least 1.

        Returns:
            The output `[batch, hidden]` at the end of each text, and the memory `[batch, time, 1 + features]`, zeros
            behind that end; `[batch, 0, 0]` without attention.
        """
        y, _ = self.encoder.scan(self.read(symbols), self.encoder.init(symbols.shape[1]))
        last = y[lengths - 1, torch.arange(symbols.shape[1])]
        if not self.config.places:
            return last, y.new_zeros(symbols.shape[1], 0, 0)
        known = (torch.arange(len(symbols)).unsqueeze(1) < lengths).to(y.dtype).unsqueeze(-1)  # [time, batch, 1]
        return last, (self.noted(y) * known).transpose(0, 1)

    def noted(self, y: Tensor) -> Tensor:
        """Return what the memory keeps of the encoder's outputs `[..., hidden]`, `[..., 1 + features]`."""
        return torch.cat([torch.ones_like(y[..., :1]), self.remember(y)], dim=-1)

    def initial(self, last: Tensor) -> State:
        """Return the decoder's state at reset for the encoder's last outputs `[batch, hidden]`."""
        sizes = [tensor.shape[1] for tensor in self.decoder.init(1)]
        return tuple(torch.split(torch.tanh(self.begin(last)), sizes, dim=-1))

    def decode_step(self, symbol: Tensor, memory: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, symbols]` of what follows a symbol, int64 `[batch]`, and the next state."""
        y, after = self.decoder.step(self.written(symbol), state)
        return self.logits(y.unsqueeze(1), memory).squeeze(1), after

    def decode(self, symbols: Tensor, memory: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, time, symbols]` of what follows each symbol, int64 `[time, batch]`."""
        y, after = self.decoder.scan(self.written(symbols), state)
        return self.logits(y.transpose(0, 1), memory), after

    def logits(self, y: Tensor, memory: Tensor) -> Tensor:
        """Return the logits `[batch, time, symbols]` for the decoder's outputs `[batch, time, hidden]`."""
        y = self.dropout(y)
        if self.config.places:
            known, kept = memory[..., :1].transpose(1, 2), memory[..., 1:]  # [batch, 1, places], [batch, places, n]
            scores = self.ask(y) @ kept.transpose(1, 2) + (1 - known) * _UNSEEN  # [batch, time, places]
            y = self.dropout(torch.tanh(self.join(torch.cat([y, torch.softmax(scores, dim=-1) @ kept], dim=-1))))
        found: Tensor = self.head(y)
        return found


class EncodeStep(nn.Module):
    """The encoder as a `StepModule`: `forward(symbol, *states) -> (last, [memory], *states)`."""

    def __init__(self, model: Seq2Seq) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config, encoder = self.model.config, self.model.encoder
        memory = memory_shape(config)
        states = state_specs(encoder.state_names, encoder.init(1))
        if memory:
            states += (StateSpec("state.memory", "next_state.memory", "float32", (BATCH, *memory)),)
        return Spec(
            inputs=(TensorSpec("symbol", "int64", (BATCH,), "token", size=config.source.size),),
            outputs=(
                TensorSpec("last", "float32", (BATCH, config.hidden), "params"),
                *((TensorSpec(MEMORY, "float32", (BATCH, *memory), "params"),) if memory else ()),
            ),
            states=states,
            codec=config.source,
        )

    def forward(self, symbol: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the output so far, the memory and the next states, for symbols int64 `[batch]`."""
        cells = state[: len(self.model.encoder.state_names)]
        y, after = self.model.encode_step(symbol, cells)
        if not self.model.config.places:
            return (y, *after)
        memory = torch.cat([state[-1][:, 1:], self.model.noted(y).unsqueeze(1)], dim=1)
        return (y, memory, *after, memory)


class DecodeStep(nn.Module):
    """The decoder as a `StepModule`: `forward(symbol, [memory], *states) -> (logits, *states)`."""

    def __init__(self, model: Seq2Seq) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config, decoder = self.model.config, self.model.decoder
        memory = memory_shape(config)
        return Spec(
            inputs=(
                TensorSpec("symbol", "int64", (BATCH,), "token", size=config.target.size),
                *((TensorSpec(MEMORY, "float32", (BATCH, *memory), "condition"),) if memory else ()),
            ),
            outputs=(TensorSpec("logits", "float32", (BATCH, config.target.size), "logits"),),
            states=state_specs(decoder.state_names, decoder.init(1)),
            distribution="categorical",
            feedback=Feedback(output="logits", input="symbol", start=config.target.begin),
            codec=config.target,
        )

    def forward(self, symbol: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the next symbol and the next states, for symbols int64 `[batch]`."""
        memory, state = (rest[0], rest[1:]) if self.model.config.places else (symbol, rest)
        logits, after = self.model.decode_step(symbol, memory, state)
        return (logits, *after)


def memory_shape(config: Seq2SeqConfig) -> tuple[int, ...]:
    """Return the shape of the memory without the batch; empty if there is none."""
    return (config.places, 1 + config.features) if config.places else ()


def stages(model: Seq2Seq) -> StagedModules:
    """Return a `Seq2Seq` as three stages.

    `encode` has a stream of its own, which reads a text; `begin` makes the decoder's state of what it computed last;
    `decode` writes.
    """
    begin = BeginStep(model, TensorSpec("last", "float32", (BATCH, model.config.hidden), "condition"))
    steps: dict[str, StepModule] = {"encode": EncodeStep(model), "begin": begin, "decode": DecodeStep(model)}
    links = [Link("encode", "last", "begin", "last")]
    links += [Link("encode", MEMORY, "decode", MEMORY)] if model.config.places else []
    links += [Link("begin", name, "decode", f"state.{name}") for name in model.decoder.state_names]
    return StagedModules(steps, {"encode": None, "begin": 0, "decode": 1}, tuple(links))
