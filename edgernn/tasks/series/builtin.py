"""The series that statsmodels brings: weekly carbon dioxide over Mauna Loa, and yearly sunspots."""

import importlib
from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from edgernn.tasks.series.table import Series
from edgernn_runtime.errors import MissingExtraError

SeriesName = Literal["co2", "sunspots"]

_COLUMNS: Final[Mapping[SeriesName, str]] = {"co2": "co2", "sunspots": "SUNACTIVITY"}


def builtin_series(name: SeriesName) -> Series:
    """Return a series of statsmodels.

    `co2` holds parts per million, 2,284 weeks from 1958 to 2001, 59 of them missing; `sunspots` holds 309 years from
    1700 to 2008.

    Raises:
        MissingExtraError: If statsmodels is not installed.
    """
    try:
        module = importlib.import_module(f"statsmodels.datasets.{name}")
    except ImportError as error:
        raise MissingExtraError(f"the series {name} comes with statsmodels; install edgernn[tasks]") from error
    column = module.load_pandas().data[_COLUMNS[name]]
    return Series((name,), np.asarray(column, np.float32)[:, None])
