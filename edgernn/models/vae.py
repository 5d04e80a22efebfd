"""RowVAE: a variational autoencoder (Kingma and Welling 2014) of pictures, recurrent over rows on both sides."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.begin_step import BeginStep
from edgernn.models.state_specs import state_specs
from edgernn_export import StagedModules, StepModule
from edgernn_runtime.bundle_spec import Link
from edgernn_runtime.codecs import ImageCodec
from edgernn_runtime.spec import BATCH, Feedback, Spec, TensorSpec


@dataclass(frozen=True, slots=True)
class VaeConfig:
    """What makes a `RowVAE`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        width: Pixels in a row.
        height: Rows.
        latent: Numbers in the latent.
        hidden: Features of every layer.
        layers: The number of cells on top of each other, in encoder and decoder.
        dropout: The share of features set to zero between layers in training.
        every_step: Whether every step of the decoder takes the latent, and not its initial state alone.
    """

    cell: str
    width: int
    height: int
    latent: int
    hidden: int
    layers: int
    dropout: float
    every_step: bool


class RowVAE(nn.Module):
    """An encoder that reads rows, a Gaussian latent, and a decoder that draws rows, each fed the row before.

    The decoder's initial state is made of the latent. It is fed what it drew itself, in training as on a device, so
    all that it knows of a picture comes through the latent.
    """

    def __init__(self, config: VaeConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        stack = partial(make_stack, config.cell, layers=config.layers, dropout=config.dropout)
        self.encoder = stack(config.width, config.hidden)
        self.moments = nn.Linear(config.hidden, 2 * config.latent)
        features = config.width + (config.latent if config.every_step else 0)
        self.decoder = stack(features, config.hidden)
        self.begin = nn.Linear(config.latent, sum(tensor.shape[1] for tensor in self.decoder.init(1)))
        self.head = nn.Sequential(
            nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.width)
        )

    def encode_step(self, row: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Return mean and log variance `[batch, latent]` of the rows so far, float `[batch, width]` each."""
        y, after = self.encoder.step(row, state)
        mean, log_variance = self.moments(y).chunk(2, dim=-1)
        return mean, log_variance, after

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance `[batch, latent]` of whole pictures, float `[height, batch, width]`."""
        y, _ = self.encoder.scan(rows, self.encoder.init(rows.shape[1]))
        mean, log_variance = self.moments(y[-1]).chunk(2, dim=-1)
        return mean, log_variance

    def initial(self, latent: Tensor) -> State:
        """Return the decoder's state at reset for latents `[batch, latent]`."""
        sizes = [tensor.shape[1] for tensor in self.decoder.init(1)]
        return tuple(torch.split(torch.tanh(self.begin(latent)), sizes, dim=-1))

    def decode_step(self, row: Tensor, latent: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, width]` of the row after `row`, float `[batch, width]`, and the next state."""
        x = torch.cat([row, latent], dim=-1) if self.config.every_step else row
        y, after = self.decoder.step(x, state)
        return self.head(y), after

    def decode(self, latent: Tensor) -> Tensor:
        """Return the logits `[height, batch, width]` of pictures for latents `[batch, latent]`."""
        state, row = self.initial(latent), latent.new_zeros(len(latent), self.config.width)
        made = []
        for _ in range(self.config.height):
            logits, state = self.decode_step(row, latent, state)
            row = torch.sigmoid(logits)
            made.append(logits)
        return torch.stack(made)


class EncodeStep(nn.Module):
    """The encoder as a `StepModule`: `forward(row, *states) -> (mean, log_variance, *states)`."""

    def __init__(self, model: RowVAE) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config, encoder = self.model.config, self.model.encoder
        return Spec(
            inputs=(TensorSpec("row", "float32", (BATCH, config.width), "frame"),),
            outputs=(
                TensorSpec("mean", "float32", (BATCH, config.latent), "params"),
                TensorSpec("log_variance", "float32", (BATCH, config.latent), "params"),
            ),
            states=state_specs(encoder.state_names, encoder.init(1)),
        )

    def forward(self, row: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the moments of the latent and the next states, for rows float32 `[batch, width]`."""
        mean, log_variance, after = self.model.encode_step(row, state)
        return (mean, log_variance, *after)


class DecodeStep(nn.Module):
    """The decoder as a `StepModule`: `forward(row, [latent], *states) -> (pixels, *states)`."""

    def __init__(self, model: RowVAE) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step; what it draws is fed back as it is."""
        config, decoder = self.model.config, self.model.decoder
        return Spec(
            inputs=(
                TensorSpec("row", "float32", (BATCH, config.width), "frame"),
                *((latent_input(config),) if config.every_step else ()),
            ),
            outputs=(TensorSpec("pixels", "float32", (BATCH, config.width), "frame"),),
            states=state_specs(decoder.state_names, decoder.init(1)),
            feedback=Feedback(output="pixels", input="row", start=0),
            codec=ImageCodec(config.width, config.height, 256),
        )

    def forward(self, row: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the next row's greys 0 to 1 and the next states, for rows float32 `[batch, width]`."""
        latent, state = (rest[0], rest[1:]) if self.model.config.every_step else (row, rest)
        logits, after = self.model.decode_step(row, latent, state)
        return (torch.sigmoid(logits), *after)


def latent_input(config: VaeConfig) -> TensorSpec:
    """Return the input that takes the latent, standard normal where nothing is known."""
    return TensorSpec("latent", "float32", (BATCH, config.latent), "latent")


def stages(model: RowVAE) -> StagedModules:
    """Return a `RowVAE` as three stages.

    `encode` has a stream of its own, which reads the rows of a picture; `begin` makes the decoder's state of its
    mean, or of any latent; `decode` draws.
    """
    begin = BeginStep(model, latent_input(model.config))
    steps: dict[str, StepModule] = {"encode": EncodeStep(model), "begin": begin, "decode": DecodeStep(model)}
    links = [Link("encode", "mean", "begin", "latent")]
    links += [Link("encode", "mean", "decode", "latent")] if model.config.every_step else []
    links += [Link("begin", name, "decode", f"state.{name}") for name in model.decoder.state_names]
    return StagedModules(steps, {"encode": None, "begin": 0, "decode": 1}, tuple(links))
