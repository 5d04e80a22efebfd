"""The series task's data: a series, its training part as windows, and recordings of both parts."""

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.calibration import even_spans
from edgernn.tasks.series.builtin import builtin_series
from edgernn.tasks.series.frames import Frames, Values, drop_values, make_frames
from edgernn.tasks.series.scores import naive_errors
from edgernn.tasks.series.settings import SeriesSettings
from edgernn.tasks.series.table import Series, read_series
from edgernn.tasks.series.windows import Window, Windows
from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data, Part, sha256_of
from edgernn_export.recording import Recording, first_step
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json

_LEAST_TARGETS: Final = 8
_SMALLEST: Final = 1e-6  # of a column's size: what lies below is the rounding of float32
_WARM_SEASONS: Final = 3
_WARM_STEPS: Final = 64


class SeriesData(Data):
    """A series, split and cut into windows.

    Attributes:
        series: The series, whole.
        codec: How its gaps are met; made from the training part alone.
        fed: The series without the values that were dropped, float32 `[rows, columns]`.
        train_rows: Rows of the training part; the others are held out.
        train: The training part.
        windows: The same, cut.
        held_out: The held-out part behind some steps of history, which have no targets.
    """

    def __init__(self, series: Series, settings: SeriesSettings) -> None:
        """Split a series.

        Raises:
            DataError: If it is too short, or a column has no value in the training part.
        """
        self.series = series
        self.train_rows = _train_rows(len(series.values), settings)
        self.fed = drop_values(series.values, settings.drop, settings.seed)
        train = self.fed[: self.train_rows]
        self.codec = _make_codec(series.columns, train, settings)
        season = _season_steps(train, settings)
        frames = make_frames(self.codec, train, train) if len(self.codec.encode(train)) else None
        needed = season + _LEAST_TARGETS
        if frames is None or len(frames) < needed or np.isnan(frames.targets[season:]).all(axis=0).any():
            raise DataError(
                f"the training part, {self.train_rows} rows, gives {len(frames) if frames else 0} steps; a season of "
                f"{season} steps needs {needed} with known values: use a longer series, or a smaller --season"
            )
        self.train = frames
        self.rows = settings.batch
        self.windows = Windows(
            frames,
            batch=settings.batch,
            length=settings.window,
            warm=season,
            hidden=settings.hide if settings.gaps == "mask" else 0.0,
            seed=settings.seed,
        )
        self.held_out = self._held_out(season)
        self._season = season
        self.naive_errors = naive_errors(series.values[: self.train_rows], settings.season_rows)
        changes = np.sqrt(np.nanmean(np.square(frames.targets.astype(np.float64) - frames.inputs), axis=0))
        self.facts = {
            "codec": cast("Json", codec_to_json(self.codec)),
            "season": season,
            "deviations": _scales(np.nanstd(train.astype(np.float64), axis=0), self.codec.means),
            "changes": _scales(np.nan_to_num(changes), self.codec.means),
        }
        self.sha256 = sha256_of(repr(series.columns), self.fed)
        missing = int(np.isnan(self.fed).sum())
        self.summary = (
            f"{', '.join(series.columns[:4])}{', ...' if len(series.columns) > 4 else ''}: {self.train_rows:,} rows to "
            f"train on, {len(series.values) - self.train_rows:,} to validate, {missing:,} of "
            f"{self.fed.size:,} values missing"
        )
        self.warnings = (f"left out: the columns {', '.join(series.left_out)}",) if series.left_out else ()

    def batch(self, step: int) -> Window:
        """Return this process's windows of a training step."""
        return self.windows.at(step).part(self.share)

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        pieces = [self.held_out] if part == "valid" else self._extract()
        inputs = np.concatenate([piece.inputs for piece in pieces])
        targets = np.concatenate([piece.targets for piece in pieces])
        starts = np.concatenate([first_step(len(piece)) for piece in pieces])
        scored = np.asarray(~np.isnan(targets).all(axis=1))
        return {MODEL: Recording({"value": inputs}, starts, targets, scored)}

    def _extract(self) -> list[Frames]:
        """Return spans of the training part to calibrate on; as in its windows, their first season has no targets."""
        pieces = []
        for span in even_spans(len(self.train), warm=self._season):
            targets = self.train.targets[span].copy()
            targets[: self._season] = np.nan
            pieces.append(Frames(self.train.inputs[span], targets, self.train.rows[span]))
        return pieces

    def _held_out(self, season: int) -> Frames:
        frames = make_frames(self.codec, self.fed, self.series.values)
        held = frames.rows >= self.train_rows - 1  # its target lies in the held-out part
        first = max(0, int(held.argmax()) - _WARM_SEASONS * season - _WARM_STEPS)
        targets = np.where(held[:, None], frames.targets, np.nan).astype(np.float32)
        if not held.any() or np.isnan(targets).all():
            raise DataError("no value of the held-out part is known; use a longer series, or a smaller --drop")
        return Frames(frames.inputs[first:], targets[first:], frames.rows[first:])


def load_series(settings: SeriesSettings) -> Series:
    """Return the series that the settings name; errors as in `read_series` and `builtin_series`."""
    if settings.data is None:
        return builtin_series(settings.series)
    columns = None if settings.columns is None else [name.strip() for name in settings.columns.split(",")]
    return read_series(settings.data, columns)


def _train_rows(rows: int, settings: SeriesSettings) -> int:
    """Return the rows before the held-out part: the last tenth, or one horizon if that is longer."""
    held = max(rows // 10, settings.horizon_rows(rows))
    least = settings.season_rows + _LEAST_TARGETS
    if rows - held < least:
        raise DataError(
            f"the series has {rows} rows; {held} are held out, and a season of {settings.season_rows} needs {least} "
            "more at least: use a longer series, or a smaller --season or --horizon"
        )
    return rows - held


def _make_codec(columns: tuple[str, ...], train: Values, settings: SeriesSettings) -> SeriesCodec:
    known: NDArray[np.bool_] = ~np.isnan(train)
    counts = known.sum(axis=0)
    if not counts.all():
        name = columns[int(counts.argmin())]
        raise DataError(f"column {name} has no value in the training part, its first {len(train)} rows")
    means = np.where(known, train, 0).sum(axis=0, dtype=np.float64) / counts
    return SeriesCodec(columns, settings.gaps, tuple(map(float, means)), settings.every_rows)


def _season_steps(train: Values, settings: SeriesSettings) -> int:
    """Return the steps of the model in a season: fewer than rows where steps are deleted or span several."""
    kept = float((~np.isnan(train).any(axis=1)).mean()) if settings.gaps == "delete" else 1.0
    return max(1, round(settings.season_rows * kept / settings.every_rows))


def _scales(found: NDArray[np.float64], means: tuple[float, ...]) -> list[Json]:
    """Return scales to divide by: those found, where they are more than rounding."""
    sizes = np.abs(means)
    least = _SMALLEST * np.where(sizes > 0, sizes, 1.0)
    return [float(scale) for scale in np.maximum(found, least)]
