"""What a run of the vocoder task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgernn.speech.settings import SpeechSettings
from edgernn.tasks.settings import CellName, Setting
from edgernn_runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class VocoderSettings(SpeechSettings):
    """What a vocoder run is told."""

    default_seconds = 600.0

    data: Annotated[
        Path | None, Setting("A folder of WAV files of one voice, 16 kHz mono; without it, eSpeak NG speaks.")
    ] = None
    head: Annotated[int, Setting("Features of the network that draws a sample.", least=1, most=4096)] = 96
    block: Annotated[int, Setting("Samples that one step makes; 200 must be a multiple.", least=2, most=200)] = 8
    window: Annotated[int, Setting("Frames of a training sequence.", least=2, most=4096)] = 12
    noise: Annotated[
        float, Setting("Deviation of the noise on past samples in training, in steps of mu-law.", least=0)
    ] = 0.15
    cell: CellName = "gru"
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.0
    batch: int = 16
    learning_rate: float = 2e-3
    valid_every: int = 200

    def __post_init__(self) -> None:
        """Check types and ranges, and that blocks fill a hop."""
        super().__post_init__()
        if 200 % self.block:
            raise InputError(f"block must divide the 200 samples of a frame, got {self.block}")
        if self.dropout:
            raise InputError(f"a vocoder has no dropout, got {self.dropout}")
