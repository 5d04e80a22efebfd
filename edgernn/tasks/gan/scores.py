"""Scores of generated windows by judges that are trained apart (Yoon, Jarrett and van der Schaar 2019).

The discriminative score is how far a classifier of real and generated windows is from chance, on windows that it was
not trained on: 0 if it cannot tell them apart, 0.5 if it always can. The predictive score is how well a model that was
trained on generated windows predicts real ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgernn.tasks.gan.data import Windows, as_batch

_HIDDEN: Final = 32
_STEPS: Final = 200
_BATCH: Final = 64
_RATE: Final = 5e-3


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Windows that judges are trained on, and others that they are tested on; float32 `[windows, time, columns]`.

    Attributes:
        train: The first.
        test: The others.
    """

    train: Windows
    test: Windows

    def scaled(self, like: Windows) -> "Judged":
        """Return the windows in standard deviations of `like` from its mean."""
        mean, deviation = like.mean((0, 1)), like.std((0, 1))
        return Judged((self.train - mean) / deviation, (self.test - mean) / deviation)


class _Judge(nn.Module):
    """A gated recurrent unit and a linear head at every step."""

    def __init__(self, columns: int, outputs: int) -> None:
        super().__init__()
        self.cells = nn.GRU(columns, _HIDDEN)
        self.head = nn.Linear(_HIDDEN, outputs)

    def forward(self, windows: Tensor) -> Tensor:
        """Return what the head says at every step, `[time, windows, outputs]`."""
        outputs: Tensor = self.head(self.cells(windows)[0])
        return outputs


def discriminative_score(real: Judged, made: Judged, *, seed: int) -> float:
    """Return how far from 1/2 the accuracy of a classifier is on the windows to test on, half of them real; 0 to 0.5.

    Args:
        real: Real windows.
        made: Generated ones.
        seed: Seed of the classifier's weights and batches.
    """
    one, two = real.scaled(real.train), made.scaled(real.train)

    def loss(judge: _Judge, rng: np.random.Generator) -> Tensor:
        windows = torch.cat([_some(each.train, _BATCH // 2, rng) for each in (one, two)], dim=1)
        labels = torch.arange(windows.shape[1]) < windows.shape[1] // 2
        return functional.binary_cross_entropy_with_logits(judge(windows)[-1, :, 0], labels.float())

    judge = _trained(_Judge(real.train.shape[2], 1), loss, seed)
    with torch.inference_mode():
        right = [float((judge(as_batch(each.test))[-1] > 0).float().mean()) for each in (one, two)]
    return abs((right[0] + 1 - right[1]) / 2 - 0.5)


def predictive_score(real: Judged, made: Windows, *, seed: int) -> float:
    """Return the mean absolute error of the next value of real windows by a model trained on `made`, in deviations.

    Args:
        real: Real windows; those to test on are predicted.
        made: What the predictor is trained on, float32 `[windows, time, columns]`.
        seed: Seed of the predictor's weights and batches.
    """
    test = as_batch(real.scaled(real.train).test)
    train = Judged(made, made).scaled(real.train).train

    def loss(judge: _Judge, rng: np.random.Generator) -> Tensor:
        windows = _some(train, _BATCH, rng)
        return functional.l1_loss(judge(windows[:-1]), windows[1:])

    judge = _trained(_Judge(made.shape[2], made.shape[2]), loss, seed)
    with torch.inference_mode():
        return float((judge(test[:-1]) - test[1:]).abs().mean())


def _some(windows: Windows, count: int, rng: np.random.Generator) -> Tensor:
    chosen: NDArray[np.int64] = rng.integers(len(windows), size=count)
    return as_batch(windows[chosen])


def _trained(judge: _Judge, loss: Callable[[_Judge, np.random.Generator], Tensor], seed: int) -> _Judge:
    """Return a judge with weights drawn from a seed, trained; torch's random state is left as it was."""
    rng = np.random.default_rng(seed)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.uniform_(-(_HIDDEN**-0.5), _HIDDEN**-0.5, generator=chance)
    optimizer = torch.optim.Adam(judge.parameters(), lr=_RATE)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(loss(judge, rng))
        optimizer.step()
    return judge.eval()
