"""What a run of the image task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """What an image run is told."""

    data: Annotated[
        Path | None,
        Setting("A folder of pictures, one folder a class; without it, scikit-learn's handwritten digits."),
    ] = None
    width: Annotated[int, Setting("Pixels in a row, that pictures are scaled to.", least=2, most=256)] = 8
    height: Annotated[int, Setting("Rows, that pictures are scaled to.", least=2, most=256)] = 8
    levels: Annotated[int, Setting("Greys of a pixel.", least=2, most=256)] = 16
    order: Annotated[
        Literal["pixels", "rows"],
        Setting("One network that steps every pixel, or two: one that steps every row, and one every pixel."),
    ] = "pixels"
    cell: CellName = "gru"
    hidden: int = 160
    layers: int = 1
    dropout: float = 0.5
    batch: int = 64
    weight_decay: float = 0.5
    valid_every: int = 50
