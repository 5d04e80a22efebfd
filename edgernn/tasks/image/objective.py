"""The image task's loss: bits of every pixel, given those before it."""

import math

from torch import Tensor
from torch.nn import functional

from edgernn.models.pixels import PixelModel
from edgernn.models.rows import RowModel
from edgernn.tasks.image.data import ImageData
from edgernn.tasks.task import Evaluation


def pixel_loss(model: PixelModel | RowModel, pixels: Tensor, kind: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats per pixel of pictures int64 `[pixels, batch]` of classes `[batch]`."""
    logits = model.scan(pixels, kind)
    return functional.cross_entropy(logits.flatten(0, 1), pixels.flatten())


def evaluate(model: PixelModel | RowModel, data: ImageData) -> Evaluation:
    """Return the loss on the pictures held out, in nats and in bits per pixel (per dimension)."""
    loss = float(pixel_loss(model, *data.held_out()))
    return Evaluation(loss, {"bits_per_dimension": loss / math.log(2)})
