"""What a run of the series task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings
from edgernn_runtime.errors import InputError

_SEASONS = {"co2": 52, "sunspots": 11}


@dataclass(frozen=True, kw_only=True)
class SeriesSettings(Settings):
    """What a series run is told."""

    default_seconds = 30.0

    data: Annotated[Path | None, Setting("A CSV file; without it, --series.")] = None
    series: Annotated[
        Literal["co2", "sunspots"], Setting("Without --data: weekly carbon dioxide, or yearly sunspots.")
    ] = "co2"
    columns: Annotated[str | None, Setting("Columns of the file, with commas between; without it, all numbers.")] = None
    season: Annotated[
        int | None, Setting("Rows in a period (52 for co2, 11 for sunspots, 1 for a file).", least=1, most=2**16)
    ] = None
    horizon: Annotated[
        int | None, Setting("Rows that forecasts reach; a season, or a tenth of a file.", least=1, most=2**16)
    ] = None
    gaps: Annotated[
        Literal["mask", "last", "interpolate", "mean", "delete", "resample"],
        Setting("What is done about missing values; mask leaves them to the model."),
    ] = "mask"
    every: Annotated[
        int | None, Setting("Rows that a step spans with --gaps resample (4 for co2, else 2).", least=2, most=2**16)
    ] = None
    drop: Annotated[
        float, Setting("Share of values to remove at random, to measure what that costs.", least=0, below=1)
    ] = 0.0
    hide: Annotated[
        float,
        Setting("Share of values hidden in training, others in every window; with --gaps mask.", least=0, below=1),
    ] = 0.15
    distribution: Annotated[Literal["gaussian", "logistic_mixture"], Setting("How the next value is distributed.")] = (
        "gaussian"
    )
    components: Annotated[int, Setting("Components of a mixture.", least=1, most=64)] = 3
    window: Annotated[int, Setting("Steps of a window that are predicted, behind a season.", least=1)] = 104
    cell: CellName = "gru"
    hidden: int = 24
    layers: int = 1
    dropout: float = 0.3
    batch: int = 16
    learning_rate: float = 1e-2
    weight_decay: float = 1.0
    valid_every: int = 25
    patience: int = 10

    def __post_init__(self) -> None:
        """Check types and ranges, and that `every` is asked for where it acts."""
        super().__post_init__()
        if self.every is not None and self.gaps != "resample":
            raise InputError(f"every is for gaps that are met by resample, not by {self.gaps}")

    @property
    def season_rows(self) -> int:
        """Rows in a period."""
        return self.season or (1 if self.data is not None else _SEASONS[self.series])

    @property
    def every_rows(self) -> int:
        """Rows that one step of the model spans."""
        if self.gaps != "resample":
            return 1
        return self.every or (4 if self.data is None and self.series == "co2" else 2)

    def horizon_rows(self, rows: int) -> int:
        """Return the rows that forecasts of a series of `rows` reach."""
        return self.horizon or (max(1, rows // 10) if self.data is not None else _SEASONS[self.series])
