"""AcousticModel: phonemes in, how long each lasts and the frames of its sound out; and its two step forms."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.state_specs import state_specs
from edgernn_export import StagedModules, StepModule
from edgernn_runtime.codecs import MelCodec, SymbolCodec
from edgernn_runtime.spec import BATCH, Spec, TensorSpec

NEIGHBOURS: Final = 2
"""Phonemes before and behind that the model knows."""

WINDOW: Final = 2 * NEIGHBOURS + 1

PLACES: Final = 4
"""Numbers that say where in its phoneme a frame is: see `places`."""

_EMBEDDING: Final = 48
_LONG: Final = 20.0  # frames


@dataclass(frozen=True, slots=True)
class AcousticConfig:
    """What makes an `AcousticModel`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        hidden: Features of every layer.
        layers: The number of cells.
        phonemes: The number of phonemes.
        mean: The mean of each number of a frame, `[features]`.
        deviation: Its standard deviation.
        dropout: The share of features set to zero between layers in training.
    """

    cell: str
    hidden: int
    layers: int
    phonemes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    dropout: float = 0.0


class AcousticModel(nn.Module):
    """A small network of durations, and recurrent cells that give a frame for each place in each phoneme.

    It is not fed what it gave: what it knows of the past lies in the cells. Phonemes come with `NEIGHBOURS` on both
    sides, so it looks that far ahead.

    Attributes:
        mean: The mean of each number of a frame, float32 `[features]`.
        deviation: Its standard deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: AcousticConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean))
        self.register_buffer("deviation", torch.tensor(config.deviation))
        self.embedding = nn.Embedding(config.phonemes, _EMBEDDING)
        self.durations = nn.Sequential(
            nn.Linear(WINDOW * _EMBEDDING, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
        )
        self.stack = make_stack(
            config.cell, WINDOW * _EMBEDDING + PLACES, config.hidden, layers=config.layers, dropout=config.dropout
        )
        self.head = nn.Linear(config.hidden, len(config.mean))

    def log_frames(self, phonemes: Tensor) -> Tensor:
        """Return the logarithms of durations in frames `[...]`, for windows of phonemes int64 `[..., WINDOW]`."""
        made: Tensor = self.durations(self.embedding(phonemes).flatten(-2)).squeeze(-1)
        return made

    def scan(self, phonemes: Tensor, place: Tensor, state: State) -> tuple[Tensor, State]:
        """Return normalised frames `[time, batch, features]` and the last state.

        Args:
            phonemes: The window of the phoneme of each frame, int64 `[time, batch, WINDOW]`.
            place: What `places` says of each frame, float32 `[time, batch, PLACES]`.
            state: As `init` of the stack gives it.
        """
        y, after = self.stack.scan(torch.cat([self.embedding(phonemes).flatten(-2), place], dim=-1), state)
        return self.head(y), after

    def step(self, phonemes: Tensor, place: Tensor, state: State) -> tuple[Tensor, State]:
        """Return a frame `[batch, features]` and the next state; arguments as in `scan`, without the time."""
        y, after = self.stack.step(torch.cat([self.embedding(phonemes).flatten(-2), place], dim=-1), state)
        return self.head(y) * self.deviation + self.mean, after


def places(index: Tensor, frames: Tensor) -> Tensor:
    """Return where frames are in their phonemes, float32 `[..., PLACES]`.

    The share of the phoneme that is over in the middle of the frame; the frames before and behind it, and all of the
    phoneme, in twenties of frames.

    Args:
        index: The number of each frame in its phoneme, from 0, `[...]`.
        frames: How many frames the phoneme has, `[...]`.
    """
    before, total = index.to(torch.float32), frames.to(torch.float32)
    return torch.stack([(before + 0.5) / total, before / _LONG, (total - before - 1) / _LONG, total / _LONG], dim=-1)


class DurationStep(nn.Module):
    """The durations as a `StepModule`: `forward(phonemes) -> frames`."""

    def __init__(self, model: AcousticModel, codec: SymbolCodec) -> None:
        """Wrap a trained model, and what its phonemes are; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()
        self.codec = codec

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        return Spec(
            inputs=(phoneme_input(self.model.config),),
            outputs=(TensorSpec("frames", "float32", (BATCH,), "params"),),
            states=(),
            codec=self.codec,
        )

    def forward(self, phonemes: Tensor) -> tuple[Tensor, ...]:
        """Return how many frames a phoneme lasts, a float, for windows of phonemes int64 `[batch, WINDOW]`."""
        return (torch.exp(self.model.log_frames(phonemes)),)


class FrameStep(nn.Module):
    """The frames as a `StepModule`: `forward(phonemes, index, frames, *states) -> (frame, *states)`."""

    def __init__(self, model: AcousticModel, codec: MelCodec) -> None:
        """Wrap a trained model, and what its frames are; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()
        self.codec = codec

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config, stack = self.model.config, self.model.stack
        return Spec(
            inputs=(
                phoneme_input(config),
                TensorSpec("index", "float32", (BATCH,), "condition"),
                TensorSpec("frames", "float32", (BATCH,), "condition"),
            ),
            outputs=(TensorSpec("frame", "float32", (BATCH, len(config.mean)), "frame"),),
            states=state_specs(stack.state_names, stack.init(1)),
            codec=self.codec,
            rate_hz=self.codec.rate_hz / self.codec.hop,
        )

    def forward(self, phonemes: Tensor, index: Tensor, frames: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the frame at a place of a phoneme, and the next states.

        Args:
            phonemes: int64 `[batch, WINDOW]`, the phoneme in the middle.
            index: The number of the frame in its phoneme, from 0, float32 `[batch]`.
            frames: How many frames the phoneme has, at least 1, float32 `[batch]`.
            state: The states.
        """
        frame, after = self.model.step(phonemes, places(index, frames.clamp(min=1)), state)
        return (frame, *after)


def phoneme_input(config: AcousticConfig) -> TensorSpec:
    """Return the input that takes a phoneme between its neighbours."""
    return TensorSpec("phonemes", "int64", (BATCH, WINDOW), "token", size=config.phonemes)


def stages(model: AcousticModel, symbols: SymbolCodec, mel: MelCodec) -> StagedModules:
    """Return the model in two stages: `durations`, which has a stream of its own, and `frames`, which steps along."""
    steps: dict[str, StepModule] = {"durations": DurationStep(model, symbols), "frames": FrameStep(model, mel)}
    return StagedModules(steps, {"durations": None, "frames": 1}, ())
