"""The text task's data: a corpus, its training part as segments, its last tenth as a recording."""

from collections.abc import Mapping
from typing import cast

from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data
from edgernn.tasks.text.corpus import Corpus
from edgernn.tasks.text.segments import Segments
from edgernn.tasks.text.settings import TextSettings
from edgernn_export.recording import Recording
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
        self.facts = {"codec": cast("Json", codec_to_json(self.corpus.codec))}
        self.sha256 = self.corpus.sha256
        self.summary = f"{self.corpus.train.size:,} tokens to train on, {self.corpus.valid.size:,} to validate"
        unknown = self.corpus.unknown
        self.warnings = (
            (f"{unknown} validation characters never occur in training; they count as U+FFFD",) if unknown else ()
        )

    def recordings(self) -> Mapping[str, Recording]:
        return {MODEL: Recording.of_tokens("token", self.corpus.valid)}
