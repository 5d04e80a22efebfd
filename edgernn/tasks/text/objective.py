"""The text task's loss, and loss and accuracy on held-out tokens."""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgernn.models import RecurrentLM
from edgernn.tasks.task import Evaluation
from edgernn.tasks.text.segments import Segment

LANES: Final = 16
_CHUNK: Final = 256


def segment_loss(model: RecurrentLM, segment: Segment, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the mean cross-entropy of a segment, in nats per token, and the state after it, cut from the gradient."""
    before = model.init(segment.inputs.shape[1]) if segment.first else state
    logits, after = model.scan(segment.inputs, before)
    loss = functional.cross_entropy(logits.flatten(0, 1), segment.targets.flatten())
    return loss, tuple(tensor.detach() for tensor in after)


def evaluate(model: RecurrentLM, tokens: NDArray[np.int64]) -> Evaluation:
    """Return loss and accuracy on `tokens` `[length]`, read as 16 contiguous lanes from a zero state."""
    lanes = min(LANES, tokens.size - 1)
    length = (tokens.size - 1) // lanes
    used = torch.from_numpy(tokens[: lanes * length + 1])
    inputs, targets = used[:-1].view(lanes, length).T, used[1:].view(lanes, length).T  # [time, batch]
    loss, correct = 0.0, 0
    state = model.init(lanes)
    for x, y in zip(torch.split(inputs, _CHUNK), torch.split(targets, _CHUNK), strict=True):
        logits, state = model.scan(x, state)
        loss += float(functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum"))
        correct += int((logits.argmax(-1) == y).sum())
    count = lanes * length
    return Evaluation(loss / count, {"bits_per_token": loss / count / math.log(2), "accuracy": correct / count})
