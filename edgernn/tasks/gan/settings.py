"""What a run of the gan task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from edgernn.tasks.settings import CellName, Setting, Settings
from edgernn_runtime.errors import InputError

SourceName = Literal["sunspots", "co2", "motions"]
"""The series that need no file."""

Number = TypeVar("Number", int, float)

Stabiliser = Literal["r1", "spectral", "none"]
"""What keeps the game of the two networks from running away."""

_WINDOWS = {"sunspots": 24, "co2": 48, "motions": 24}
_DETREND = {"sunspots": 0, "co2": 52, "motions": 0}
_COMPRESS = {"sunspots": 0.0, "co2": 0.0, "motions": 10.0}
_LATENT = {"sunspots": 0, "co2": 0, "motions": 8}
_PENALTY = {"sunspots": 1.0, "co2": 1.0, "motions": 4.0}
_OWN = 24


@dataclass(frozen=True, kw_only=True)
class GanSettings(Settings):
    """What a GAN run is told."""

    default_seconds = 90.0

    data: Annotated[Path | None, Setting("A CSV file; without it, --series.")] = None
    series: Annotated[
        SourceName,
        Setting("Without --data: yearly sunspots, weekly carbon dioxide, or recordings of motions by a smart watch."),
    ] = "sunspots"
    columns: Annotated[str | None, Setting("Columns of the file, with commas between; without it, all numbers.")] = None
    window: Annotated[
        int | None, Setting("Steps that the discriminator sees (48 for co2, else 24).", least=4, most=2**12)
    ] = None
    detrend: Annotated[
        int | None,
        Setting("Rows whose mean, the last of them included, is taken off each (52 for co2, else 0).", least=0),
    ] = None
    compress: Annotated[
        float | None,
        Setting("How far large values are compressed, so that quiet windows count (10 for motions, else 0).", least=0),
    ] = None
    noise: Annotated[int, Setting("Random numbers that the generator takes at each step.", least=1, most=4096)] = 8
    latent: Annotated[
        int | None,
        Setting("Random numbers that it takes for a whole stream (8 for motions, else 0).", least=0, most=4096),
    ] = None
    stabiliser: Annotated[
        Stabiliser, Setting("A penalty on the discriminator's gradient, a bound on its weights, or nothing.")
    ] = "r1"
    penalty: Annotated[
        float | None, Setting("Weighs the penalty on the gradient (4 for motions, else 1).", least=0)
    ] = None
    average: Annotated[
        float, Setting("What the averaged weights of the generator keep of themselves at a step.", least=0, below=1)
    ] = 0.995
    restart: Annotated[
        float, Setting("Share of the streams that begin anew at each training step; others go on.", least=0, most=1)
    ] = 0.5
    cell: CellName = "gru"
    hidden: int = 32
    layers: int = 1
    dropout: float = 0.0
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    clip_norm: float = 1000.0
    valid_every: int = 100

    def __post_init__(self) -> None:
        """Check types and ranges, and that nothing is dropped: neither network would know of it."""
        super().__post_init__()
        if self.dropout:
            raise InputError(f"dropout must be 0 for a GAN, whose noise is an input, got {self.dropout}")

    @property
    def window_steps(self) -> int:
        """Steps of a window."""
        return _given(self.window, _OWN if self.data is not None else _WINDOWS[self.series])

    @property
    def detrend_rows(self) -> int:
        """Rows whose mean is taken off; 0 for none."""
        return _given(self.detrend, 0 if self.data is not None else _DETREND[self.series])

    @property
    def compression(self) -> float:
        """How far large values are compressed; 0 for not at all."""
        return _given(self.compress, 0.0 if self.data is not None else _COMPRESS[self.series])

    @property
    def latent_numbers(self) -> int:
        """Numbers of the latent."""
        return _given(self.latent, 0 if self.data is not None else _LATENT[self.series])

    @property
    def penalty_weight(self) -> float:
        """What weighs the penalty; 0 where another stabiliser holds the discriminator."""
        if self.stabiliser != "r1":
            return 0.0
        return _given(self.penalty, 1.0 if self.data is not None else _PENALTY[self.series])


def _given(value: Number | None, default: Number) -> Number:
    return default if value is None else value
