"""What models of pictures share: their configuration, and the interface of a step that gives one pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgernn_runtime.codecs import ImageCodec
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec


@dataclass(frozen=True, slots=True)
class PictureConfig:
    """What makes a model of pictures.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        width: Pixels in a row.
        height: Rows.
        levels: Greys of a pixel.
        classes: Classes that a picture can be of; with 1 there is no choice.
        hidden: Features of every layer.
        layers: The number of cells on top of each other.
        dropout: The share of features set to zero in training.
    """

    cell: str
    width: int
    height: int
    levels: int
    classes: int
    hidden: int
    layers: int
    dropout: float = 0.0

    @property
    def pixels(self) -> int:
        """Pixels in a picture."""
        return self.width * self.height

    @property
    def codec(self) -> ImageCodec:
        """How its tokens become a picture."""
        return ImageCodec(self.width, self.height, self.levels)


def picture_spec(config: PictureConfig, given: Sequence[TensorSpec], states: Sequence[StateSpec]) -> Spec:
    """Return the interface of a step that takes one pixel and what is `given` beside it, and gives the next one."""
    return Spec(
        inputs=(TensorSpec("token", "int64", (BATCH,), "token", size=config.levels), *given),
        outputs=(TensorSpec("logits", "float32", (BATCH, config.levels), "logits"),),
        states=tuple(states),
        distribution="categorical",
        feedback=Feedback(output="logits", input="token", start=0),
        codec=config.codec,
    )


def class_inputs(config: PictureConfig) -> tuple[TensorSpec, ...]:
    """Return the input that says of which class a picture is to be; none where there is no choice."""
    return (TensorSpec("class", "int64", (BATCH,), "condition", size=config.classes),) if config.classes > 1 else ()


def split_class(config: PictureConfig, rest: tuple[Tensor, ...], like: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the class, int64 of the shape of `like`, and the states, out of what a step takes after its main input."""
    return (rest[0], rest[1:]) if config.classes > 1 else (torch.zeros_like(like), rest)
