"""Forecasts of a series: sampled futures as quantiles, written as CSV and drawn as a picture."""

import csv
import math
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.series.table import Series as Series
from edgernn.tasks.series.table import read_series as read_series
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.errors import InputError, MissingExtraError
from edgernn_runtime.files import write_bytes
from edgernn_runtime.model import Model
from edgernn_runtime.sampling import Sampler

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The probabilities of the quantiles that a forecast gives."""

Values = NDArray[np.float32]

_SHOWN: Final = 3  # times the horizon: how much of the history is drawn


@dataclass(frozen=True, slots=True)
class _Calendar:
    """Where the steps of a model lie: in rows of the series, 1 the first row behind the history.

    Attributes:
        last: Where the last step that was fed lies.
        pitch: Rows from one step to the next.
        horizon: Rows to forecast.
    """

    last: float
    pitch: float
    horizon: int

    @property
    def steps(self) -> int:
        """The steps that reach the last row."""
        return max(1, math.ceil((self.horizon - self.last) / self.pitch - 1e-9))

    def rows(self, path: Values) -> Values:
        """Return `[steps + 1, columns]`, from the last step that was fed on, at the rows, `[horizon, columns]`."""
        places = self.last + self.pitch * np.arange(len(path))
        rows = np.arange(1, self.horizon + 1)
        return np.stack([np.interp(rows, places, column) for column in path.T], axis=1).astype(np.float32)


def forecast(model: Model, history: Values, *, horizon: int, samples: int = 100, seed: int = 0) -> Values:
    """Return quantiles of what follows a history, float32 `[horizon, columns, quantiles]`, those of `QUANTILES`.

    The model is fed the history once, and then draws `samples` futures, each from its own predictions. Where it
    takes fewer steps than the series has rows, for gaps are deleted or resampled, the rows in between lie on straight
    lines.

    Args:
        model: A model with a codec of series.
        history: The series so far, float32 `[rows, columns]`, NaN where a value is missing.
        horizon: Rows to forecast.
        samples: Futures to draw.
        seed: The seed of the draws, 0 to 2**64 - 1.

    Raises:
        InputError: If the model has no codec of series, the history does not fit it or holds no step, or a number is
            out of range.
    """
    codec = series_codec(model)
    if horizon < 1 or samples < 1 or seed < 0:
        raise InputError(
            f"horizon and samples must be positive, got {horizon} and {samples}, and seed {seed} not below 0"
        )
    fed = codec.encode(np.asarray(history, np.float32))
    if not len(fed):
        raise InputError("the history is too short: it fills no step of the model")
    calendar = _calendar(codec, np.asarray(history), horizon)
    stream = model.stream(sampler=Sampler())
    stream.prefill(fed)
    start = stream.snapshot()
    futures = np.empty((samples, horizon, codec.size), np.float32)
    for future, each in zip(futures, np.random.SeedSequence(seed).generate_state(samples, np.uint64), strict=True):
        stream.restore(replace(start, seed=int(each)))
        future[...] = calendar.rows(np.stack([fed[-1], *stream.generate_frames(calendar.steps)]))
    return np.moveaxis(np.quantile(futures, QUANTILES, axis=0), 0, -1).astype(np.float32)


def series_codec(model: Model) -> SeriesCodec:
    """Return the codec of a model of series.

    Raises:
        InputError: If the model has another codec, or none.
    """
    codec = model.spec.codec
    if not isinstance(codec, SeriesCodec):
        raise InputError(
            "the model forecasts no series: it has no codec of series; train one with: edgernn train series"
        )
    return codec


def write_forecast_csv(
    target: Path | TextIO, codec: SeriesCodec, quantiles: Values, *, overwrite: bool = False
) -> None:
    """Write a line for each row of a forecast, with the quantiles of each column.

    Args:
        target: A file to write whole or not at all, or an open one.
        codec: The model's codec, which names the columns.
        quantiles: As `forecast` returns them.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: If the file cannot be written; OutputExistsError if it exists.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *(f"{name} {level:.0%}" for name in codec.columns for level in QUANTILES)])
    for step, row in enumerate(quantiles.reshape(len(quantiles), -1), 1):
        writer.writerow([step, *(f"{number:.7g}" for number in row)])
    if isinstance(target, Path):
        write_bytes(target, text.getvalue().encode(), overwrite=overwrite)
    else:
        target.write(text.getvalue())


def draw_forecast(
    path: Path,
    codec: SeriesCodec,
    history: Values,
    quantiles: Values,
    truth: Values | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Draw the end of a history and the forecast behind it as a PNG, a panel for each column.

    Args:
        path: The file to write.
        codec: The model's codec, which names the columns.
        history: float32 `[rows, columns]`, NaN where a value is missing.
        quantiles: As `forecast` returns them.
        truth: What really followed, float32 `[rows, columns]`, if it is known.
        overwrite: Whether an existing file may be replaced.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OutputError: If the file cannot be written; OutputExistsError if it exists.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("pictures of forecasts need matplotlib; install edgernn[report]") from error
    horizon = len(quantiles)
    shown = history[-_SHOWN * horizon :]
    figure = Figure(figsize=(7, 1 + 2.4 * codec.size), layout="constrained")
    panels = figure.subplots(codec.size, 1, sharex=True, squeeze=False)[:, 0]
    ahead = np.arange(1, horizon + 1)
    for i, (panel, name) in enumerate(zip(panels, codec.columns, strict=True)):
        panel.plot(np.arange(1 - len(shown), 1), shown[:, i], color="black", linewidth=1, label="history")
        low, lower, median, upper, high = quantiles[:, i].T
        panel.fill_between(ahead, low, high, alpha=0.2, color="tab:blue", linewidth=0, label="5 to 95 %")
        panel.fill_between(ahead, lower, upper, alpha=0.35, color="tab:blue", linewidth=0, label="25 to 75 %")
        panel.plot(ahead, median, color="tab:blue", linewidth=1.2, label="median")
        if truth is not None:
            panel.plot(np.arange(1, len(truth) + 1), truth[:, i], color="tab:red", linewidth=1, label="what followed")
        panel.set_ylabel(name)
    panels[0].legend(fontsize="small", loc="upper left")
    panels[-1].set_xlabel("steps from the end of the history")
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_bytes(path, picture.getvalue(), overwrite=overwrite)


def _calendar(codec: SeriesCodec, history: Values, horizon: int) -> _Calendar:
    """Return where the steps of a model lie behind a history; a deleted gap passes as often as it did in it."""
    if codec.gaps == "resample":
        return _Calendar((1 - codec.every) / 2, codec.every, horizon)
    if codec.gaps == "delete":
        whole = np.flatnonzero(~np.isnan(history).any(axis=1))
        return _Calendar(float(whole[-1] + 1 - len(history)), len(history) / len(whole), horizon)
    return _Calendar(0.0, 1.0, horizon)
