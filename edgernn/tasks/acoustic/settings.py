"""What a run of the acoustic task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgernn.speech.settings import SpeechSettings
from edgernn.tasks.settings import CellName, Setting


@dataclass(frozen=True, kw_only=True)
class AcousticSettings(SpeechSettings):
    """What an acoustic run is told."""

    default_seconds = 180.0

    data: Annotated[
        Path | None,
        Setting("A folder of WAV files of one voice, 16 kHz mono, with label tracks; without it, eSpeak NG speaks."),
    ] = None
    longest: Annotated[int, Setting("Frames of a training sequence at most.", least=8, most=65536)] = 400
    cell: CellName = "gru"
    hidden: int = 256
    layers: int = 2
    dropout: float = 0.1
    batch: int = 16
    learning_rate: float = 2e-3
    valid_every: int = 50
