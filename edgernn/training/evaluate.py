"""Evaluation: loss and accuracy of a token model on held-out tokens."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edgernn.models import RecurrentLM

LANES: Final = 16
_CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model predicts held-out tokens.

    Attributes:
        loss: Mean negative log-likelihood, in nats per token.
        accuracy: The share of tokens that had the highest logit.
        tokens: The number of tokens predicted.
    """

    loss: float
    accuracy: float
    tokens: int

    @property
    def bits_per_token(self) -> float:
        """The loss in bits."""
        return self.loss / math.log(2)


def evaluate(model: RecurrentLM, tokens: NDArray[np.int64]) -> Evaluation:
    """Return loss and accuracy on `tokens` `[length]`, read as 16 contiguous lanes from a zero state.

    The model is in evaluation mode while it is measured.
    """
    lanes = min(LANES, tokens.size - 1)
    length = (tokens.size - 1) // lanes
    used = torch.from_numpy(tokens[: lanes * length + 1])
    inputs, targets = used[:-1].view(lanes, length).T, used[1:].view(lanes, length).T  # [time, batch]
    training = model.training
    model.eval()
    loss, correct = 0.0, 0
    with torch.inference_mode():
        state = model.init(lanes)
        for x, y in zip(torch.split(inputs, _CHUNK), torch.split(targets, _CHUNK), strict=True):
            logits, state = model.scan(x, state)
            loss += float(functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum"))
            correct += int((logits.argmax(-1) == y).sum())
    model.train(training)
    count = lanes * length
    return Evaluation(loss / count, correct / count, count)
