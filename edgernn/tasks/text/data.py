"""The text task's data: a corpus, its training part as segments, and recordings of both parts."""

from collections.abc import Mapping
from typing import cast

import numpy as np

from edgernn.tasks.calibration import even_spans
from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data, Part
from edgernn.tasks.text.corpus import Corpus
from edgernn.tasks.text.segments import Segment, Segments
from edgernn.tasks.text.settings import TextSettings
from edgernn_export.recording import Recording, first_step
from edgernn_runtime.spec_json import codec_to_json


class TextData(Data):
    """A text, split and cut into segments.

    Attributes:
        corpus: The split text and its tokens.
        segments: The training part.
    """

    def __init__(self, text: str, settings: TextSettings) -> None:
        """Split a text.

        Raises:
            DataError: If it is too short.
        """
        self.corpus = Corpus.from_text(text, settings.codec)
        self.segments = Segments(self.corpus.train, batch=settings.batch, length=settings.segment, seed=settings.seed)
        self.rows = settings.batch
        self.facts = {"codec": cast("Json", codec_to_json(self.corpus.codec))}
        self.sha256 = self.corpus.sha256
        self.summary = f"{self.corpus.train.size:,} tokens to train on, {self.corpus.valid.size:,} to validate"
        unknown = self.corpus.unknown
        self.warnings = (
            (f"{unknown} validation characters never occur in training; they count as U+FFFD",) if unknown else ()
        )

    def batch(self, step: int) -> Segment:
        """Return this process's lanes of what a training step trains on."""
        whole = self.segments.at(step)
        return Segment(self.share.of(whole.inputs, 1), self.share.of(whole.targets, 1), first=whole.first)

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        train = self.corpus.train
        spans = even_spans(train.size - 1)
        pieces = [self.corpus.valid] if part == "valid" else [train[span.start : span.stop + 1] for span in spans]
        inputs, targets = (np.concatenate([piece[at] for piece in pieces]) for at in (slice(-1), slice(1, None)))
        starts = np.concatenate([first_step(len(piece) - 1) for piece in pieces])
        return {MODEL: Recording({"token": inputs}, starts, targets)}
