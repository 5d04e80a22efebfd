"""Vocoder: frames of speech in, samples out; a recurrent network of blocks that draws every sample; its step forms."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgernn.cells import State, make_stack
from edgernn.models.linear_prediction import ORDER, PREEMPHASIS, LinearPrediction
from edgernn.models.state_specs import begun_specs, state_specs
from edgernn_export import StagedModules, StepModule
from edgernn_runtime.bundle_spec import Link
from edgernn_runtime.codecs import MelCodec
from edgernn_runtime.spec import BATCH, Spec, TensorSpec

LEVELS: Final = 256
"""Excitations that are told apart, on a scale of mu-law."""

CONTEXT: Final = 3
"""Frames that a block knows: its own, and those before."""

PRUNED: Final = 0.0035
"""What is taken off the probability of each level before one is drawn; the most probable one has more."""

_MU: Final = LEVELS - 1
_SCALE: Final = math.log1p(_MU)
_MIDDLE: Final = LEVELS // 2
_RECENT: Final = 2


@dataclass(frozen=True, slots=True)
class VocoderConfig:
    """What makes a `Vocoder`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        hidden: Features of every recurrent layer, and of the condition that a frame becomes.
        layers: The number of cells.
        head: Features of the network that draws a sample.
        block: Samples that one step of the cells makes; the hop of the frames is a multiple.
        codec: The layout of the frames.
        mean: The mean of each number of a frame, `[features]`.
        deviation: Its standard deviation.
    """

    cell: str
    hidden: int
    layers: int
    head: int
    block: int
    codec: MelCodec
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """What was made before a block, all float32.

    Attributes:
        samples: The last `ORDER` pre-emphasised samples, the newest first, `[..., ORDER]`.
        excitations: The last block's excitations as shares of the scale from -1 to 1, `[..., block]`.
    """

    samples: Tensor
    excitations: Tensor


class Vocoder(nn.Module):
    """Linear prediction and a recurrent network for what it leaves over, after LPCNet (Valin and Skoglund 2019).

    A frame and the two before become a condition and the coefficients of a linear predictor. The cells step once a
    block. For each sample of a block a small network, told the cells' output, the samples before, the prediction and
    the last excitations, gives the distribution of the excitation: what a sample is beyond its prediction.
    """

    mean: Tensor
    deviation: Tensor
    table: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean))
        self.register_buffer("deviation", torch.tensor(config.deviation))
        self.register_buffer("table", expand(torch.arange(LEVELS)), persistent=False)
        self.prediction = LinearPrediction(config.codec)
        self.condition = nn.Linear(CONTEXT * len(config.mean), config.hidden)
        self.stack = make_stack(config.cell, config.hidden + ORDER + config.block, config.hidden, layers=config.layers)
        self.context = nn.Linear(config.hidden, config.block * config.head)
        self.near = nn.Linear(ORDER + 1 + _RECENT, config.head, bias=False)
        self.logits = nn.Linear(config.head, LEVELS)

    def conditions(self, frames: Tensor) -> Tensor:
        """Return the condition `[..., hidden]` of frames `[..., CONTEXT, features]`, the newest last."""
        scaled = (frames - self.mean) / self.deviation
        return torch.tanh(self.condition(scaled.flatten(-2)))

    def contexts(self, condition: Tensor, past: Past, state: State) -> tuple[Tensor, State]:
        """Return what the heads of all blocks are told `[time, batch, block, head]`, and the last state.

        Args:
            condition: `[time, batch, hidden]`.
            past: What was made before each block, `[time, batch, ...]`.
            state: As `init` of the stack gives it.
        """
        y, after = self.stack.scan(self._cell_input(condition, past), state)
        return self._split(self.context(y)), after

    def step(self, condition: Tensor, past: Past, state: State) -> tuple[Tensor, State]:
        """Return what the heads of one block are told `[batch, block, head]`, and the next state."""
        y, after = self.stack.step(self._cell_input(condition, past), state)
        return self._split(self.context(y)), after

    def excitation_logits(self, context: Tensor, samples: Tensor, predicted: Tensor, recent: Tensor) -> Tensor:
        """Return the logits of an excitation, `[..., LEVELS]`.

        Args:
            context: What the head is told of its place in the block, `[..., head]`.
            samples: The last `ORDER` samples, the newest first, `[..., ORDER]`.
            predicted: The predicted sample, `[..., 1]`.
            recent: The last two excitations from -1 to 1, the newest first, `[..., 2]`.
        """
        near = torch.cat([compress(torch.cat([samples, predicted], dim=-1)), recent], dim=-1)
        made: Tensor = self.logits(torch.tanh(context + self.near(near)))
        return made

    def _cell_input(self, condition: Tensor, past: Past) -> Tensor:
        return torch.cat([condition, compress(past.samples), past.excitations], dim=-1)

    def _split(self, context: Tensor) -> Tensor:
        return context.view(*context.shape[:-1], self.config.block, self.config.head)


def compress(values: Tensor) -> Tensor:
    """Return numbers from -1 to 1 on the scale of mu-law (ITU-T G.711), from -1 to 1."""
    return torch.sign(values) * torch.log1p(_MU * values.abs().clamp(max=1)) / _SCALE


def quantized(values: Tensor) -> Tensor:
    """Return the number of the level that is nearest to each excitation, int64 `[...]`."""
    return (compress(values) * (_MIDDLE - 1)).round().to(torch.int64) + _MIDDLE


def share(level: Tensor) -> Tensor:
    """Return levels as numbers from -1 to 1 on the scale of mu-law."""
    return (level.to(torch.float32) - _MIDDLE) / (_MIDDLE - 1)


def expand(level: Tensor) -> Tensor:
    """Return the excitation of each level, which may be a fraction, float32 `[...]`."""
    scaled = share(level)
    return torch.sign(scaled) * torch.expm1(scaled.abs() * _SCALE) / _MU


class ConditionStep(nn.Module):
    """What steps once a frame, as a `StepModule`: `forward(frame, past) -> (condition, predictor, past)`."""

    def __init__(self, model: Vocoder) -> None:
        """Wrap a trained model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config = self.model.config
        start = self.model.mean.expand(1, CONTEXT - 1, -1)
        return Spec(
            inputs=(TensorSpec("frame", "float32", (BATCH, config.codec.size), "frame"),),
            outputs=(
                TensorSpec("condition", "float32", (BATCH, config.hidden), "params"),
                TensorSpec("predictor", "float32", (BATCH, ORDER), "params"),
            ),
            states=begun_specs(("past",), (start,)),
            codec=config.codec,
            rate_hz=config.codec.rate_hz / config.codec.hop,
        )

    def forward(self, frame: Tensor, past: Tensor) -> tuple[Tensor, ...]:
        """Return the condition and the predictor of a frame, float32 `[batch, features]`, and the next past frames."""
        window = torch.cat([past, frame.unsqueeze(1)], dim=1)
        predictor = self.model.prediction(frame[:, : self.model.config.codec.bands])
        return self.model.conditions(window), predictor, window[:, 1:]


class BlockStep(nn.Module):
    """What steps once a block, as a `StepModule`: `forward(condition, predictor, noise, *states) -> (samples, ...)`.

    It draws its samples itself, one after the other, each from a uniform of the step.
    """

    def __init__(self, model: Vocoder) -> None:
        """Wrap a trained model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config, stack = self.model.config, self.model.stack
        own = {"samples": ORDER, "excitations": config.block, "last": 1}
        return Spec(
            inputs=(
                TensorSpec("condition", "float32", (BATCH, config.hidden), "condition"),
                TensorSpec("predictor", "float32", (BATCH, ORDER), "condition"),
                TensorSpec("noise", "float32", (BATCH, config.block), "noise"),
            ),
            outputs=(TensorSpec("samples", "float32", (BATCH, config.block), "frame", frames=config.block),),
            states=(
                *state_specs(tuple(own), tuple(torch.zeros(1, size) for size in own.values())),
                *state_specs(stack.state_names, stack.init(1)),
            ),
            rate_hz=config.codec.rate_hz,
            frames_per_step=config.block,
        )

    def forward(  # noqa: PLR0917, a step takes inputs and states by position
        self,
        condition: Tensor,
        predictor: Tensor,
        noise: Tensor,
        samples: Tensor,
        excitations: Tensor,
        last: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return a block of samples and the next states.

        Args:
            condition: float32 `[batch, hidden]`.
            predictor: float32 `[batch, ORDER]`.
            noise: Uniforms, float32 `[batch, block]`.
            samples: The last pre-emphasised samples, the newest first, float32 `[batch, ORDER]`.
            excitations: The last block's excitations, float32 `[batch, block]`.
            last: The last sample as it sounds, float32 `[batch, 1]`.
            state: The states of the cells.
        """
        model = self.model
        context, after = model.step(condition, Past(samples, excitations), state)
        recent = torch.cat([excitations[:, -1:], excitations[:, -2:-1]], dim=1)
        shares, sounds = [], []
        for i in range(model.config.block):
            predicted = (predictor * samples).sum(1, keepdim=True)
            logits = model.excitation_logits(context[:, i], samples, predicted, recent)
            level = drawn_level(logits, noise[:, i : i + 1])
            shares.append(share(level))
            sample = (predicted + functional.embedding(level, model.table.unsqueeze(1)).squeeze(1)).clamp(-1, 1)
            samples = torch.cat([sample, samples[:, :-1]], dim=1)
            recent = torch.cat([shares[-1], recent[:, :1]], dim=1)
            last = sample + PREEMPHASIS * last
            sounds.append(last)
        return torch.cat(sounds, dim=1), samples, torch.cat(shares, dim=1), last, *after


def drawn_level(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return a level drawn from logits `[batch, LEVELS]` by a uniform `[batch, 1]`, int64 `[batch, 1]`.

    `PRUNED` is taken off each probability first, so that no level is drawn that hardly ever comes: the sound is purer
    (Valin and Skoglund 2019, section 3.6).
    """
    cumulative = torch.relu(torch.softmax(logits, 1) - PRUNED).cumsum(1)
    below = (cumulative <= uniform * cumulative[:, -1:]).to(torch.float32).sum(1, keepdim=True)
    return below.clamp(max=LEVELS - 1).to(torch.int64)


def stages(model: Vocoder) -> StagedModules:
    """Return the model in two stages: `condition`, which steps once a frame, and `block`, once a block."""
    steps: dict[str, StepModule] = {"condition": ConditionStep(model), "block": BlockStep(model)}
    config = model.config
    links = (Link("condition", "condition", "block", "condition"), Link("condition", "predictor", "block", "predictor"))
    return StagedModules(steps, {"condition": config.codec.hop // config.block, "block": 1}, links)
