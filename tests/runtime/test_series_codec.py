"""Series with gaps: each way of meeting them, wherever they lie."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from edgernn_runtime import LabelCodec, SeriesCodec
from edgernn_runtime.codecs.series import Gaps
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.spec_json import codec_from_json, codec_to_json

NAN = np.nan
FILLING = ("last", "interpolate", "mean")
ANY_SERIES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12).filter(lambda shape: shape[1] > 0),
    elements=st.floats(-100, 100, width=32) | st.just(NAN),
)

LEADING, INNER, TRAILING, EMPTY = (
    [NAN, NAN, 3, 5],
    [1, NAN, NAN, 7],
    [1, 2, NAN, NAN],
    [NAN, NAN, NAN, NAN],
)


def codec_of(gaps: Gaps, columns: int, *, every: int = 1) -> SeriesCodec:
    return SeriesCodec(
        tuple(f"c{i}" for i in range(columns)), gaps, tuple(10.0 * (i + 1) for i in range(columns)), every
    )


def series(*columns: list[float]) -> NDArray[np.float32]:
    return np.array(columns, np.float32).T


@pytest.mark.parametrize(
    ("gaps", "columns"),
    [
        ("mask", [LEADING, INNER, TRAILING, EMPTY]),
        ("last", [[10, 10, 3, 5], [1, 1, 1, 7], [1, 2, 2, 2], [40] * 4]),
        ("interpolate", [[3, 3, 3, 5], [1, 3, 5, 7], [1, 2, 2, 2], [40] * 4]),
        ("mean", [[10, 10, 3, 5], [1, 20, 20, 7], [1, 2, 30, 30], [40] * 4]),
        ("delete", [[], [], [], []]),
    ],
)
def test_every_column_has_its_gaps_met_by_itself(gaps: Gaps, columns: list[list[float]]) -> None:
    made = codec_of(gaps, 4).encode(series(LEADING, INNER, TRAILING, EMPTY))
    np.testing.assert_array_equal(series(*columns), made)
    assert np.float32 == made.dtype


def test_deleting_keeps_the_steps_that_have_every_value() -> None:
    made = codec_of("delete", 2).encode(series([1, NAN, 3, 4], [5, 6, NAN, 8]))
    np.testing.assert_array_equal(series([1, 4], [5, 8]), made)


def test_resampling_takes_the_mean_of_what_is_known_and_drops_the_oldest_steps_that_fill_no_span() -> None:
    made = codec_of("resample", 2, every=3).encode(
        series([99, 99, 1, NAN, 3, NAN, NAN, NAN, 4, 5, 6], [99, 99, NAN, NAN, NAN, 1, 2, 3, NAN, NAN, NAN])
    )
    np.testing.assert_array_equal(series([2, 2, 5], [20, 2, 2]), made)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_series_shorter_than_a_span_resamples_to_nothing(steps: int) -> None:
    assert (0, 2) == codec_of("resample", 2, every=3).encode(np.ones((steps, 2), np.float32)).shape


@given(ANY_SERIES, st.sampled_from(FILLING))
def test_filling_keeps_every_known_value_and_leaves_no_gap(values: NDArray[np.float32], gaps: Gaps) -> None:
    made = codec_of(gaps, values.shape[1]).encode(values)
    assert values.shape == made.shape
    assert not np.isnan(made).any()
    np.testing.assert_array_equal(values[~np.isnan(values)], made[~np.isnan(values)])


@given(ANY_SERIES, st.integers(1, 5))
def test_resampling_leaves_no_gap_and_no_step_but_the_left_over(values: NDArray[np.float32], every: int) -> None:
    made = codec_of("resample", values.shape[1], every=every).encode(values)
    assert (len(values) // every, values.shape[1]) == made.shape
    assert not np.isnan(made).any()


@given(ANY_SERIES, st.integers(0, 12))
def test_last_never_looks_ahead(values: NDArray[np.float32], cut: int) -> None:
    codec = codec_of("last", values.shape[1])
    np.testing.assert_array_equal(codec.encode(values)[:cut], codec.encode(values[:cut]))


@given(ANY_SERIES, st.sampled_from(get_args(Gaps)))
def test_a_series_that_is_encoded_is_itself_left_alone(values: NDArray[np.float32], gaps: Gaps) -> None:
    before = values.copy()
    codec_of(gaps, values.shape[1]).encode(values)[...] = 0
    np.testing.assert_array_equal(before, values)


@pytest.mark.parametrize(
    "codec",
    [*(codec_of(gaps, 3) for gaps in get_args(Gaps)), codec_of("resample", 2, every=7), LabelCodec(("yes", "nö"))],
)
def test_a_codec_of_numbers_comes_back_from_its_json(codec: SeriesCodec | LabelCodec) -> None:
    assert codec == codec_from_json(codec_to_json(codec))


def test_a_codec_has_the_size_of_its_columns_or_labels() -> None:
    assert codec_of("mask", 3).size == 3
    assert LabelCodec(("a", "b")).size == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ()}, "codec has 0 columns and 2 means"),
        ({"means": (1.0,)}, "codec has 2 columns and 1 means"),
        ({"means": (1.0, NAN)}, r"codec\.means must be finite, got \[1\.0, nan\]"),
        ({"gaps": "guess"}, r"codec\.gaps must be one of mask, .*, resample, got guess"),
        ({"every": 0}, r"codec\.every must be 1, or more where gaps are met by resample, got 0"),
        ({"every": 2}, r"codec\.every must be 1, or more where gaps are met by resample, got 2"),
    ],
)
def test_a_codec_whose_parts_do_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(codec_of("last", 2), **change)


@pytest.mark.parametrize("labels", [(), ("a", "b", "a")])
def test_labels_that_are_missing_or_repeat_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=r"codec\.labels must be there and differ"):
        LabelCodec(labels)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (1, 4, 2)])
def test_a_series_of_other_columns_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a series must have the columns c0, c1, got "):
        codec_of("last", 2).encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_is_no_gap(value: float) -> None:
    with pytest.raises(InputError, match="must not hold infinite values; leave out what is missing, or write NaN"):
        codec_of("mask", 1).encode(series([1, value]))
