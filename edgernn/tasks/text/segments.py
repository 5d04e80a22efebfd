"""Segments: the training tokens as a batch of contiguous lanes, cut in pieces along time."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn_runtime.errors import DataError


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of truncated backpropagation through time.

    Attributes:
        inputs: Tokens, int64 `[time, batch]`.
        targets: The token after each, int64 `[time, batch]`.
        first: Whether the lanes start anew, so that the state must be reset.
    """

    inputs: Tensor
    targets: Tensor
    first: bool


class Segments:
    """The segments of a run, each a pure function of the step, so that a resumed run reads the same ones.

    An epoch reads every lane once from left to right. Each epoch starts at another offset, drawn from
    the seed, so that the cuts between segments move.
    """

    def __init__(self, tokens: NDArray[np.int64], *, batch: int, length: int, seed: int) -> None:
        """Cut `tokens` `[length]` into `batch` lanes and segments of `length` steps.

        Raises:
            DataError: If the tokens do not fill one segment of every lane.
        """
        needed = batch * length + length + 1
        if tokens.size < needed:
            raise DataError(
                f"the training text has {tokens.size} tokens; a batch of {batch} and segments of {length} "
                f"need {needed}; use more text, or a smaller batch or segment"
            )
        self._tokens = torch.from_numpy(tokens)
        self._batch, self._length, self._seed = batch, length, seed
        self._lane = (tokens.size - 1 - length) // batch
        self.per_epoch = self._lane // length

    def at(self, step: int) -> Segment:
        """Return the segment that step `step` of the run trains on."""
        epoch, index = divmod(step, self.per_epoch)
        offset = int(np.random.default_rng([self._seed, epoch]).integers(self._length))
        starts = offset + index * self._length + torch.arange(self._batch) * self._lane
        positions = starts + torch.arange(self._length).unsqueeze(1)  # [time, batch]
        return Segment(self._tokens[positions], self._tokens[positions + 1], first=index == 0)
