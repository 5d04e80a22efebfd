"""The classify task's data: sequences to train on, held-out ones, and recordings of both."""

from collections.abc import Mapping

import numpy as np

from edgernn.tasks.calibration import CALIBRATION_STEPS, even_sequences
from edgernn.tasks.classify.batches import Batch, Batches
from edgernn.tasks.classify.series import LabelledSeries
from edgernn.tasks.classify.settings import ClassifySettings
from edgernn.tasks.task import MODEL, Data, Part, sha256_of
from edgernn_export.recording import Recording
from edgernn_runtime.errors import DataError

_LEAST_DEVIATION = 1e-6


class ClassifyData(Data):
    """Labelled sequences to train on, and others to be judged by.

    Attributes:
        train: The first, in batches.
        held: The others.
        head: Whether labels exclude each other.
        noise: The deviation of the noise in training, in deviations of each channel.
        labels: The labels in the order of the logits: numbers by size, else words by letter.
    """

    def __init__(self, train: LabelledSeries, held: LabelledSeries, settings: ClassifySettings) -> None:
        """Join the two parts.

        Raises:
            DataError: If there is one label only, or the parts differ in channels or labels.
        """
        self.labels = tuple(sorted(set(train.labels), key=_order))
        if len(self.labels) < 2:
            raise DataError(f"every sequence is labelled {self.labels[0]}; two labels at least are needed")
        if held.channels != train.channels:
            raise DataError(f"the test has {held.channels} channels, and training {train.channels}")
        unseen = sorted(set(held.labels) - set(self.labels), key=_order)
        if unseen:
            raise DataError(f"the test holds the label {unseen[0]}, which training never saw")
        every = np.concatenate(train.sequences).astype(np.float64)
        self.facts = {
            "labels": list(self.labels),
            "mean": every.mean(0).tolist(),
            "deviation": np.maximum(every.std(0), _LEAST_DEVIATION).tolist(),
        }
        self.sha256 = sha256_of(*train.sequences, *train.labels, *held.sequences, *held.labels)
        self.summary = (
            f"{len(train.labels):,} sequences of {len(self.labels)} labels to train on, {len(held.labels):,} held out"
        )
        self.train = Batches(train, self.labels, batch=settings.batch, seed=settings.seed)
        self.held = Batches(held, self.labels, batch=len(held.labels), seed=settings.seed)
        self.rows = self.train.size
        self.head, self.noise = settings.head, settings.noise
        self._series, self._held_series = train, held

    def batch(self, step: int) -> Batch:
        """Return this process's sequences of a training step."""
        return self.train.at(step).part(self.share)

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        """Return sequences one behind the other, the label scored at the last step of each."""
        series = self._held_series if part == "valid" else self._extract()
        lengths = np.array([len(sequence) for sequence in series.sequences])
        ends = np.cumsum(lengths)
        starts, scored = np.zeros(ends[-1], np.bool_), np.zeros(ends[-1], np.bool_)
        starts[ends - lengths] = scored[ends - 1] = True
        numbers = np.repeat([self.labels.index(label) for label in series.labels], lengths)
        targets = np.eye(len(self.labels), dtype=np.float32)[numbers] if self.head == "sigmoid" else numbers
        return {MODEL: Recording({"frame": np.concatenate(series.sequences)}, starts, targets, scored)}

    def _extract(self) -> LabelledSeries:
        """Return sequences to calibrate on."""
        lengths = [len(sequence) for sequence in self._series.sequences]
        series = self._series.at(even_sequences(lengths, [self.labels.index(label) for label in self._series.labels]))
        return LabelledSeries(tuple(each[:CALIBRATION_STEPS] for each in series.sequences), series.labels)


def _order(label: str) -> tuple[bool, float, str]:
    """Return what labels are sorted by."""
    return (False, float(label), label) if label.isdecimal() else (True, 0.0, label)
