"""What the GAN task learns: recordings of columns over time, and which of them are held out."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.classify.series import read_series as read_recordings
from edgernn.tasks.gan.settings import GanSettings
from edgernn.tasks.series.builtin import builtin_series
from edgernn.tasks.series.table import Series, read_series
from edgernn_runtime.codecs.gaps import interpolate
from edgernn_runtime.errors import DataError, MissingExtraError

Values = NDArray[np.float32]
"""float32 `[rows, columns]`."""

_MOTIONS: Final = ("ax", "ay", "az", "gx", "gy", "gz")
_HELD_WINDOWS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """Recordings without gaps.

    Attributes:
        columns: The name of each column.
        train: Those to learn, float32 `[rows, columns]` each.
        held: Those held out.
        left_out: Columns of a table that are none of the series.
    """

    columns: tuple[str, ...]
    train: tuple[Values, ...]
    held: tuple[Values, ...]
    left_out: tuple[str, ...] = ()


def load_recordings(settings: GanSettings) -> Recordings:
    """Return what the settings name.

    Of a single series the last tenth is held out, or three windows, whichever is longer.

    Raises:
        DataError: If it cannot be read, or is too short.
        MissingExtraError: If the package that carries it is not installed.
    """
    if settings.data is None and settings.series == "motions":
        return _motions()
    series = _series(settings)
    means = np.nan_to_num(np.nanmean(series.values, axis=0)) if len(series.values) else np.zeros(0)
    values = detrended(interpolate(series.values, means.astype(np.float32)), settings.detrend_rows)
    held = max(len(values) // 10, _HELD_WINDOWS * settings.window_steps)
    if len(values) - held < 2 * settings.window_steps:
        raise DataError(
            f"{len(values)} rows are too few: {held} are held out, and two windows of {settings.window_steps} are "
            "needed before them; use a longer series, or a smaller --window or --detrend"
        )
    return Recordings(series.columns, (values[:-held],), (values[-held:],), series.left_out)


def detrended(values: Values, rows: int) -> Values:
    """Return each value less the mean of the `rows` that end with it, the first `rows` - 1 left out; as is for 0.

    >>> detrended(np.array([[1.0], [2.0], [6.0]], np.float32), 2).ravel().tolist()
    [0.5, 2.0]
    """
    if not rows:
        return values
    if len(values) < rows:
        return values[:0]
    sums = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values.astype(np.float64)]), axis=0)
    left: Values = (values[rows - 1 :] - (sums[rows:] - sums[:-rows]) / rows).astype(np.float32)
    return left


def _series(settings: GanSettings) -> Series:
    if settings.data is None:
        assert settings.series != "motions"  # noqa: S101, they are no single series
        return builtin_series(settings.series)
    columns = None if settings.columns is None else [name.strip() for name in settings.columns.split(",")]
    return read_series(settings.data, columns)


def _motions() -> Recordings:
    """Return 40 recordings to train on and 40 held out, in the split they were published with.

    These are the BasicMotions of the UEA archive (Bagnall et al. 2018): standing, walking, running and badminton,
    ten seconds each, ten times a second, acceleration and rotation along three axes.
    """
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the motions are in the package aeon; pip install --no-deps aeon==1.6.0")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "BasicMotions"
    train, held = (read_recordings(folder / f"BasicMotions_{part}.ts").sequences for part in ("TRAIN", "TEST"))
    return Recordings(_MOTIONS, train, held)
