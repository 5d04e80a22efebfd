"""Forecasts for `edgernn generate`: quantiles of what follows a series, as lines, CSV or a picture."""

import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.artefacts.forecast import (
    QUANTILES,
    draw_forecast,
    forecast,
    read_series,
    series_codec,
    write_forecast_csv,
)
from edgernn.cli.console import print_json, print_message, print_text
from edgernn.cli.recordings import run_file
from edgernn_export import Recording
from edgernn_runtime import Model
from edgernn_runtime.errors import InputError
from edgernn_runtime.files import check_target

HORIZON: Final = 20
"""Steps that are forecast where nothing else says how many."""


def write_forecast(
    path: Path,
    model: Model,
    given: Path | None,
    *,
    keep: float,
    horizon: int | None,
    samples: int,
    seed: int,
    output: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Forecast a series, and print or write the quantiles.

    Args:
        path: Where the model lies.
        model: The model.
        given: A CSV of the series so far; None for what the run keeps for validation.
        keep: The share of it that the model sees; what follows is shown beside the forecast.
        horizon: Steps to forecast; None for as many as follow, else 20.
        samples: Futures to sample.
        seed: The seed of the samples.
        output: A `.png` to draw or a `.csv` to write; None to print.
        force: Whether an existing file may be replaced.
        json: Whether to print JSON.

    Raises:
        InputError: If the model or the options do not fit.
        DataError: If the series cannot be read.
        OutputError: If the file cannot be written.
    """
    codec = series_codec(model)
    if output is not None:
        if output.suffix not in (".png", ".csv"):
            raise InputError(f"a forecast is written as .png or .csv, not as {output.name}")
        check_target(output, overwrite=force)
    whole = _history(path, model, given)
    cut = round(keep * len(whole))
    history, truth = whole[:cut], whole[cut:]
    steps = horizon or len(truth) or HORIZON
    quantiles = forecast(model, history, horizon=steps, samples=samples, seed=seed)
    if output is None and not json:
        write_forecast_csv(sys.stdout, codec, quantiles)
    elif output is not None and output.suffix == ".csv":
        write_forecast_csv(output, codec, quantiles, overwrite=force)
    elif output is not None:
        draw_forecast(output, codec, history, quantiles, truth[:steps] if len(truth) else None, overwrite=force)
    if json:
        for step, row in enumerate(quantiles, 1):
            print_json({"step": step, **{name: row[i].tolist() for i, name in enumerate(codec.columns)}})
        named = None if output is None else str(output)
        print_json({"tokens": steps, "seed": seed, "samples": samples, "quantiles": QUANTILES, "path": named})
    elif output is not None:
        print_text(str(output))
        print_message(f"{steps} steps ahead of {len(history)}, from {samples} samples")


def _history(path: Path, model: Model, given: Path | None) -> NDArray[np.float32]:
    """Return the series to go on from, float32 `[steps, columns]`."""
    codec = series_codec(model)
    if given is not None:
        return read_series(given, codec.columns).values
    file = run_file(path, None)
    if codec.gaps in ("delete", "resample") or not file.is_file():
        raise InputError("give the series to go on from, a CSV, with --given")
    recording = Recording.load(file)
    recording.check(model.spec)
    return recording.inputs[model.spec.main_input.name].astype(np.float32)
