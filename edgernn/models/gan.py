"""SeriesGan: a recurrent generator of series and a recurrent discriminator of its windows; the generator's one step."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.state_specs import state_specs
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.spec import BATCH, Feedback, Spec, TensorSpec

_UNIFORM_DEVIATION: Final = 12**-0.5


@dataclass(frozen=True, slots=True)
class GanConfig:
    """What makes a `SeriesGan`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        hidden: Features of every layer, of both networks.
        layers: The number of cells of each network.
        noise: Uniform numbers that the generator takes at every step.
        latent: Normal numbers that it takes for a whole stream; 0 for none.
        means: The mean of each column.
        deviations: The standard deviation of each column.
        changes: The typical change of each scaled column from one step to the next.
        compress: How far large values are compressed; 0 for not at all.
        limit: What no scaled value that is generated exceeds; 0 for no limit.
    """

    cell: str
    hidden: int
    layers: int
    noise: int
    latent: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    changes: tuple[float, ...]
    compress: float = 0.0
    limit: float = 0.0

    @property
    def columns(self) -> int:
        """The numbers of a frame."""
        return len(self.means)


class Scales(nn.Module):
    """Values in their own unit, and scaled: in standard deviations `z` from the mean.

    With `compress` c they are `asinh(c z) / asinh(c)`: 1 stays 1, larger values become smaller, and values far below
    one deviation become larger, so that quiet windows count beside loud ones.

    Attributes:
        means: float32 `[columns]`.
        deviations: float32 `[columns]`.
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, config: GanConfig) -> None:
        """Keep the scales of the columns."""
        super().__init__()
        self.compress = config.compress
        self.register_buffer("means", torch.tensor(config.means, dtype=torch.float32))
        self.register_buffer("deviations", torch.tensor(config.deviations, dtype=torch.float32))

    def scaled(self, values: Tensor) -> Tensor:
        """Return values `[..., columns]`, scaled."""
        scaled = (values - self.means) / self.deviations
        return torch.asinh(self.compress * scaled) / math.asinh(self.compress) if self.compress else scaled

    def raw(self, scaled: Tensor) -> Tensor:
        """Return values `[..., columns]` in their own unit; what `scaled` undoes."""
        if self.compress:
            scaled = torch.sinh(math.asinh(self.compress) * scaled) / self.compress
        return self.means + self.deviations * scaled


class Generator(nn.Module):
    """Cells that are fed the value they made, fresh noise, and a latent that stays; a linear head makes the next value.

    Values are raw: the scales of the columns lie in the model.
    """

    def __init__(self, config: GanConfig) -> None:
        """Make a generator with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.scales = Scales(config)
        inputs = config.columns + config.noise + config.latent
        self.stack = make_stack(config.cell, inputs, config.hidden, layers=config.layers)
        self.head = nn.Linear(config.hidden, config.columns)

    def init(self, batch: int) -> State:
        """Return the state at reset, tensors `[batch, hidden]`."""
        return self.stack.init(batch)

    def step(self, value: Tensor, noise: Tensor, latent: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the next value float32 `[batch, columns]` and the next state.

        Args:
            value: The value before, float32 `[batch, columns]`; 0 at first.
            noise: Uniform in [0, 1), float32 `[batch, noise]`.
            latent: Standard normal, float32 `[batch, latent]`.
            state: As `init` gives it.
        """
        drawn = (noise - 0.5) / _UNIFORM_DEVIATION
        y, after = self.stack.step(torch.cat([self.scales.scaled(value), drawn, latent], dim=-1), state)
        scaled, limit = self.head(y), self.config.limit
        return self.scales.raw(limit * torch.tanh(scaled / limit) if limit else scaled), after


@dataclass(frozen=True, slots=True)
class Streams:
    """Streams of a generator, side by side, between two steps.

    Attributes:
        value: The values that were made last, float32 `[batch, columns]`.
        latent: float32 `[batch, latent]`.
        state: The generator's state.
    """

    value: Tensor
    latent: Tensor
    state: State

    @classmethod
    def start(cls, generator: Generator, latent: Tensor) -> "Streams":
        """Return streams that begin with latents float32 `[batch, latent]`."""
        batch = len(latent)
        return cls(latent.new_zeros(batch, generator.config.columns), latent, generator.init(batch))

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...]) -> "Streams":
        """Return the streams that `tensors` gave."""
        value, latent, *state = tensors
        return cls(value, latent, tuple(state))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, without what their gradients would need."""
        return tuple(each.detach() for each in (self.value, self.latent, *self.state))

    def where(self, kept: Tensor, other: "Streams") -> "Streams":
        """Return these streams in the rows where `kept`, bool `[batch]`, holds, and `other` elsewhere."""
        rows = kept.unsqueeze(1)
        mixed = [torch.where(rows, one, two) for one, two in zip(self.tensors, other.tensors, strict=True)]
        return Streams.of(tuple(mixed))

    def make(self, generator: Generator, noise: Tensor) -> tuple[Tensor, "Streams"]:
        """Return what the streams make of noise `[time, batch, noise]`, `[time, batch, columns]`, and go on."""
        value, state, made = self.value, self.state, []
        for drawn in noise:
            value, state = generator.step(value, drawn, self.latent, state)
            made.append(value)
        return torch.stack(made), Streams(value, self.latent, state)


class Discriminator(nn.Module):
    """Cells that read a window, values and changes, and the logit that it is real, from their mean and last output."""

    changes: Tensor

    def __init__(self, config: GanConfig) -> None:
        """Make a discriminator with torch's default initialisation."""
        super().__init__()
        self.register_buffer("changes", torch.tensor(config.changes, dtype=torch.float32))
        self.stack = make_stack(config.cell, 2 * config.columns, config.hidden, layers=config.layers)
        self.head = nn.Linear(2 * config.hidden, 1)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return logits `[batch]` of scaled windows, float32 `[time, batch, columns]`."""
        changes = scaled.diff(dim=0) / self.changes
        y, _ = self.stack.scan(torch.cat([scaled[1:], changes], dim=-1), self.stack.init(scaled.shape[1]))
        logits: Tensor = self.head(torch.cat([y.mean(0), y[-1]], dim=-1))
        return logits.squeeze(-1)


class SeriesGan(nn.Module):
    """A generator and a discriminator.

    Attributes:
        average: The moving average of the generator's weights, one after the other; these are exported.
        astray: Validations in a row at which windows were nearly all alike, or far too different, int64 `[]`.
    """

    average: Tensor
    astray: Tensor

    def __init__(self, config: GanConfig) -> None:
        """Make both networks with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        self.register_buffer("average", self._weights())
        self.register_buffer("astray", torch.zeros((), dtype=torch.int64))

    def follow(self, decay: float) -> None:
        """Move the average towards the generator's weights, by a share of 1 - `decay`."""
        self.average.lerp_(self._weights(), 1 - decay)

    def averaged(self) -> Generator:
        """Return a generator with the averaged weights, in evaluation mode."""
        generator = copy.deepcopy(self.generator).eval()
        with torch.no_grad():
            nn.utils.vector_to_parameters(self.average.clone(), generator.parameters())
        return generator

    def _weights(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.generator.parameters()).detach().clone()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module, and none into its weights."""
    module.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=True)


class GeneratorStep(nn.Module):
    """A `Generator` as a `StepModule`: `forward(value, noise, [latent], *states) -> (made, *states)`."""

    def __init__(self, generator: Generator, codec: SeriesCodec) -> None:
        """Wrap a trained generator, and what its columns are; it is put into evaluation mode."""
        super().__init__()
        self.generator = generator.eval()
        self.codec = codec

    @property
    def spec(self) -> Spec:
        """The interface of the step; the value that it makes is fed back as it is."""
        config = self.generator.config
        latent = (TensorSpec("latent", "float32", (BATCH, config.latent), "latent"),) if config.latent else ()
        return Spec(
            inputs=(
                TensorSpec("value", "float32", (BATCH, config.columns), "frame"),
                TensorSpec("noise", "float32", (BATCH, config.noise), "noise"),
                *latent,
            ),
            outputs=(TensorSpec("made", "float32", (BATCH, config.columns), "frame"),),
            states=state_specs(self.generator.stack.state_names, self.generator.init(1)),
            feedback=Feedback(output="made", input="value", start=0),
            codec=self.codec,
        )

    def forward(self, value: Tensor, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the next value and the next states, for values float32 `[batch, columns]`."""
        latent, state = (rest[0], rest[1:]) if self.generator.config.latent else (value[:, :0], rest)
        made, after = self.generator.step(value, noise, latent, state)
        return (made, *after)
