"""Pictures become tokens, and tokens or numbers become pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime import ImageCodec
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.spec_json import codec_from_json, codec_to_json

CODECS = st.builds(ImageCodec, st.integers(1, 7), st.integers(1, 7), st.integers(2, 256))


def picture(codec: ImageCodec, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (codec.height, codec.width), np.uint8)


@given(CODECS, st.integers(0, 99))
def test_a_picture_comes_back_to_within_half_a_grey(codec: ImageCodec, seed: int) -> None:
    before = picture(codec, seed)
    tokens = codec.encode(before)
    assert (np.int64, (codec.pixels,)) == (tokens.dtype, tokens.shape)
    after = codec.decode(tokens).reshape(before.shape)
    assert np.abs(before.astype(int) - after).max() <= 255 / (codec.levels - 1) / 2 + 0.5


@given(CODECS, st.integers(0, 99))
def test_what_a_picture_lost_once_is_all_that_it_loses(codec: ImageCodec, seed: int) -> None:
    tokens = codec.encode(picture(codec, seed))
    again = codec.encode(codec.decode(tokens).reshape(codec.height, codec.width))
    assert tokens.tolist() == again.tolist()


def test_with_256_levels_nothing_is_lost() -> None:
    before = np.arange(256, dtype=np.uint8).reshape(8, 32)
    codec = ImageCodec(32, 8, 256)
    assert before.ravel().tolist() == codec.decode(codec.encode(before)).tolist()


def test_pixels_are_in_reading_order_from_black_to_white() -> None:
    codec = ImageCodec(width=3, height=2, levels=2)
    assert [0, 1, 1, 0, 0, 1] == codec.encode(np.array([[0, 255, 200], [10, 100, 255]], np.uint8)).tolist()
    assert [0, 255] == codec.decode(np.array([0, 1])).tolist()


def test_numbers_are_cut_to_black_and_white() -> None:
    greys = ImageCodec(2, 2, 4).decode(np.array([[-1.0, 0.0], [0.5, 7.0]], np.float32))
    assert [[0, 0], [128, 255]] == greys.tolist()
    assert np.uint8 == greys.dtype


@given(CODECS)
def test_a_codec_of_pictures_comes_back_from_its_json(codec: ImageCodec) -> None:
    assert codec == codec_from_json(codec_to_json(codec))


def test_its_size_is_that_of_its_vocabulary() -> None:
    assert ImageCodec(28, 20, 16).size == 16
    assert ImageCodec(28, 20, 16).pixels == 560


@pytest.mark.parametrize("numbers", [(0, 2, 2), (2, 0, 2), (2, 2, 1), (2, 2, 257)])
def test_a_codec_of_no_picture_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(SpecError, match="codec must have a positive width and height and 2 to 256 levels"):
        ImageCodec(*numbers)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.zeros((3, 2), np.uint8), r"uint8\[3, 2\]"),
        (np.zeros((2, 3), np.float32), r"float32\[2, 3\]"),
        (np.zeros(6, np.uint8), r"uint8\[6\]"),
    ],
)
def test_a_picture_of_another_size_or_dtype_is_refused(wrong: np.ndarray, got: str) -> None:
    with pytest.raises(InputError, match=rf"a picture must be uint8\[2, 3\], got {got}"):
        ImageCodec(width=3, height=2, levels=4).encode(wrong)
