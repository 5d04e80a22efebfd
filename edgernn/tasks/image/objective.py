"""The image task's loss: bits of every pixel, given those before it."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.pixels import PixelModel
from edgernn.models.rows import RowModel
from edgernn.tasks.image.data import ImageData
from edgernn.tasks.task import Evaluation

_CHUNK: Final = 256


def pixel_loss(model: PixelModel | RowModel, pixels: Tensor, kind: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats per pixel of pictures int64 `[pixels, batch]` of classes `[batch]`."""
    logits = model.scan(pixels, kind)
    return functional.cross_entropy(logits.flatten(0, 1), pixels.flatten())


def evaluate(model: PixelModel | RowModel, data: ImageData) -> Evaluation:
    """Return the loss on the pictures held out, in nats and in bits per pixel (per dimension)."""
    pixels, kind = data.held_out()
    parts = zip(torch.split(pixels, _CHUNK, dim=1), torch.split(kind, _CHUNK), strict=True)
    loss = sum(float(pixel_loss(model, part, each)) * len(each) for part, each in parts) / len(kind)
    return Evaluation(loss, {"bits_per_dimension": loss / math.log(2)})
