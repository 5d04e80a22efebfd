"""What a run of the classify task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings
from edgernn_runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClassifySettings(Settings):
    """What a run of a classifier is told.

    Raises:
        InputError: If a value is of another type, or out of range, or a test is named without data.
    """

    default_seconds = 60.0

    dataset: Annotated[
        Literal["vowels", "digits"], Setting("Spoken vowels by speaker, or digits row by row; not with --data.")
    ] = "vowels"
    data: Annotated[Path | None, Setting("Your own series, a .ts file; without it, those of --dataset.")] = None
    test: Annotated[
        Path | None, Setting("A .ts file to hold out; without it, a tenth of --data, of each label alike.")
    ] = None
    head: Annotated[Literal["softmax", "sigmoid"], Setting("One label of all holds, or each label holds or not.")] = (
        "softmax"
    )
    noise: Annotated[
        float, Setting("Deviation of noise added in training, in deviations of each channel.", least=0)
    ] = 0.6
    cell: CellName = "gru"
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.3

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        if self.test is not None and self.data is None:
            raise InputError("test is for data of your own; name what to train on with --data")
