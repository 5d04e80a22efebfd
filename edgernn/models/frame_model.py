"""FrameModel: frames in, the parameters of a distribution out at every step; a model that is its own step module."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.state_specs import state_specs
from edgernn_runtime.codecs import Codec
from edgernn_runtime.spec import BATCH, Distribution, Feedback, Spec, TensorSpec


class FrameModel(nn.Module):
    """Normalised channels, stacked cells, dropout and a linear head.

    `scan` runs over whole sequences, for training; `forward` takes one step, for export.

    Attributes:
        mean: What is taken off each channel, float32 `[channels]`.
        deviation: What each channel is then divided by, float32 `[channels]`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        cell: str,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        output: tuple[int, ...],
        distribution: Distribution,
        generative: bool = False,
        codec: Codec | None = None,
    ) -> None:
        """Make a model with torch's default initialisation.

        Args:
            cell: A name of `edgernn.cells.stack.CELLS`.
            mean: The mean of each channel of a frame, `[channels]`.
            deviation: Its standard deviation.
            hidden: Features of every layer.
            layers: The number of cells.
            dropout: The share of features set to zero between layers, and before the head, in training.
            output: The axes of the output of one step.
            distribution: What the output parametrises.
            generative: Whether a frame drawn from the output is the next one, the first of zeros.
            codec: What the numbers mean.
        """
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))
        self.stack = make_stack(cell, len(mean), hidden, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, math.prod(output))
        self._output, self._distribution = output, distribution
        self._generative, self._codec = generative, codec

    def init(self, batch: int) -> State:
        """Return the state at reset, tensors `[batch, ...]`."""
        return self.stack.init(batch)

    def scan(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs `[time, batch, ...]` and the last state, for frames float32 `[time, batch, channels]`."""
        y, after = self.stack.scan((frames - self.mean) / self.deviation, state)
        return self._head(y), after

    def step(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output `[batch, ...]` and the next state, for frames float32 `[batch, channels]`."""
        y, after = self.stack.step((frame - self.mean) / self.deviation, state)
        return self._head(y), after

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the output and the next states of a step, as a `StepModule` does."""
        output, after = self.step(frame, state)
        return (output, *after)

    @property
    def spec(self) -> Spec:
        """The interface of the step; the exporter adds what follows from the weights."""
        logits = self._distribution in ("categorical", "bernoulli")
        name = "logits" if logits else "params"
        return Spec(
            inputs=(TensorSpec("frame", "float32", (BATCH, len(self.mean)), "frame"),),
            outputs=(TensorSpec(name, "float32", (BATCH, *self._output), "logits" if logits else "params"),),
            states=state_specs(self.stack.state_names, self.init(1)),
            distribution=self._distribution,
            feedback=Feedback(output=name, input="frame", start=0) if self._generative else None,
            codec=self._codec,
        )

    def _head(self, y: Tensor) -> Tensor:
        made: Tensor = self.head(self.dropout(y))
        return made.view(*y.shape[:-1], *self._output)
