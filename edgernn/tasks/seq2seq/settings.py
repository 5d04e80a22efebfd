"""What a run of the seq2seq task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings


@dataclass(frozen=True, kw_only=True)
class Seq2SeqSettings(Settings):
    """What a sequence-to-sequence run is told."""

    default_seconds = 300.0

    data: Annotated[
        Path | None,
        Setting("Lines of a word, a tab and symbols with blanks between them; without it, the CMU pronunciations."),
    ] = None
    embedding: Annotated[int, Setting("Features of each symbol.", least=1, most=2**16)] = 64
    places: Annotated[
        int,
        Setting(
            "The longest word, whose letters the decoder attends to; 0 for a decoder that knows only the encoder's "
            "last output.",
            least=0,
            most=1024,
        ),
    ] = 32
    features: Annotated[int, Setting("Features of each letter that the decoder attends to.", least=1, most=2**12)] = 64
    order: Annotated[
        Literal["forward", "reverse"], Setting("Whether the encoder reads words from their first letter or their last.")
    ] = "reverse"
    cell: CellName = "gru"
    hidden: int = 192
    layers: int = 1
    dropout: float = 0.1
    batch: int = 128
    learning_rate: float = 2e-3
    valid_every: int = 500
