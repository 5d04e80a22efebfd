"""The codec of series: what the columns of a model's frames are called, and how gaps in them are met."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs import gaps
from edgernn_runtime.errors import InputError, SpecError

Gaps = Literal["mask", "last", "interpolate", "mean", "delete", "resample"]
"""What is done about missing values."""


@dataclass(frozen=True, slots=True)
class SeriesCodec:
    """Columns of numbers over time, NaN where a value is missing.

    Attributes:
        columns: The name of each column.
        gaps: What is done about missing values: `mask` leaves them to the model, which takes NaN; `last`,
            `interpolate` and `mean` fill them; `delete` drops the steps that have one; `resample` takes the mean of
            each `every` steps.
        means: What `mean` fills with, and what stands for a value before the first one of a column.
        every: Steps of the series that one step of the model spans; more than 1 for `resample` alone.

    Raises:
        SpecError: If the parts do not fit each other.
    """

    columns: tuple[str, ...]
    gaps: Gaps
    means: tuple[float, ...]
    every: int = 1
    kind: ClassVar[str] = "series"

    def __post_init__(self) -> None:
        """Check the parts."""
        if not self.columns or len(self.columns) != len(self.means):
            raise SpecError(f"codec has {len(self.columns)} columns and {len(self.means)} means")
        if len(set(self.columns)) < len(self.columns):
            raise SpecError(f"codec.columns must differ, got {', '.join(self.columns)}")
        if not np.isfinite(self.means).all():
            raise SpecError(f"codec.means must be finite, got {list(self.means)}")
        if self.every < 1 or (self.every > 1 and self.gaps != "resample"):
            raise SpecError(f"codec.every must be 1, or more where gaps are met by resample, got {self.every}")
        if self.gaps not in get_args(Gaps):
            raise SpecError(f"codec.gaps must be one of {', '.join(get_args(Gaps))}, got {self.gaps}")

    @property
    def size(self) -> int:
        """The number of columns."""
        return len(self.columns)

    def encode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a series as the model takes it, float32 `[steps, columns]`; no NaN is left but for `mask`.

        Args:
            values: float32 `[steps, columns]`, NaN where a value is missing.

        Raises:
            InputError: If the columns are not these, or a value is infinite.
        """
        if values.ndim != 2 or values.shape[1] != self.size:
            raise InputError(f"a series must have the columns {', '.join(self.columns)}, got {list(values.shape)}")
        if np.isinf(values).any():
            raise InputError("a series must not hold infinite values; leave out what is missing, or write NaN")
        means = np.array(self.means, np.float32)
        if self.gaps == "mask":
            return values.astype(np.float32)
        if self.gaps == "last":
            return gaps.fill_last(values, means)
        if self.gaps == "interpolate":
            return gaps.interpolate(values, means)
        if self.gaps == "mean":
            return gaps.fill_mean(values, means)
        if self.gaps == "delete":
            return gaps.delete(values)
        return gaps.resample(values, means, every=self.every)
