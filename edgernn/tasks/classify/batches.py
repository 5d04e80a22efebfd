"""Batches: labelled sequences of any length, padded to be trained on side by side."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from edgernn.tasks.classify.series import LabelledSeries
from edgernn.tasks.share import Share


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences side by side.

    Attributes:
        frames: Float32 `[time, batch, channels]`, zero behind the end of a sequence.
        lengths: The steps of each sequence, int64 `[batch]`.
        labels: The number of each sequence's label, int64 `[batch]`.
    """

    frames: Tensor
    lengths: Tensor
    labels: Tensor

    def part(self, share: Share) -> "Batch":
        """Return one process's sequences, padded as they are in the whole batch."""
        return Batch(share.of(self.frames, 1), share.of(self.lengths, 0), share.of(self.labels, 0))


class Batches:
    """The sequences of a data set in batches, each a pure function of the step, so that a resumed run reads the same.

    An epoch reads every sequence once, but for a rest that fills no batch; its order is drawn from the seed.

    Attributes:
        size: The sequences of a batch.
        per_epoch: The batches of an epoch.
    """

    def __init__(self, series: LabelledSeries, labels: tuple[str, ...], *, batch: int, seed: int) -> None:
        """Prepare batches of `batch` sequences, or of all where there are fewer."""
        self._frames = [torch.from_numpy(sequence) for sequence in series.sequences]
        self._lengths = torch.tensor([len(sequence) for sequence in series.sequences])
        self._labels = torch.tensor([labels.index(label) for label in series.labels])
        self.size, self._seed = min(batch, len(self._frames)), seed
        self.per_epoch = len(self._frames) // self.size

    def at(self, step: int) -> Batch:
        """Return the batch that step `step` of the run trains on."""
        epoch, index = divmod(step, self.per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._frames))
        return self._of(order[index * self.size : (index + 1) * self.size])

    def whole(self) -> Batch:
        """Return all sequences as one batch, in their order."""
        return self._of(np.arange(len(self._frames)))

    def _of(self, chosen: NDArray[np.intp]) -> Batch:
        frames = pad_sequence([self._frames[i] for i in chosen])
        return Batch(frames, self._lengths[chosen], self._labels[chosen])
