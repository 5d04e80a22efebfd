"""The classify task's own data sets: spoken vowels, and handwritten digits read row by row."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from edgernn.tasks.classify.series import LabelledSeries, hold_out, read_series
from edgernn_runtime.errors import MissingExtraError

DIGITS_SEED: Final = 0
_DIGITS_SHARE: Final = 0.2
_GREY: Final = 16.0


def vowels() -> tuple[LabelledSeries, LabelledSeries]:
    """Return 270 utterances to train on and 370 to test, 12 channels each, labelled by their speaker, 1 to 9.

    These are the Japanese Vowels of Kudo, Toyama and Shimbo (1999), in the split they were published with.

    Raises:
        MissingExtraError: If the package that carries them is not installed.
        DataError: If its files cannot be read.
    """
    folder = _aeon_folder() / "datasets" / "data" / "JapaneseVowels"
    return read_series(folder / "JapaneseVowels_TRAIN.ts"), read_series(folder / "JapaneseVowels_TEST.ts")


def digits() -> tuple[LabelledSeries, LabelledSeries]:
    """Return handwritten digits of 8 rows of 8 numbers, grey from 0 to 1; a fifth, drawn once, is the test.

    These are the 1,797 digits of scikit-learn, of Alpaydin and Kaynak (1998).

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("the digits need scikit-learn; install edgernn[tasks]") from error
    pictures, numbers = load_digits(return_X_y=True)
    images = (np.asarray(pictures) / _GREY).astype(np.float32).reshape(-1, 8, 8)
    series = LabelledSeries(tuple(images), tuple(str(number) for number in numbers))
    return hold_out(series, _DIGITS_SHARE, seed=DIGITS_SEED)


def _aeon_folder() -> Path:
    """Return where aeon is installed; it is not imported, for that would need all of its dependencies."""
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the vowels are in the package aeon; pip install --no-deps aeon==1.6.0")
    return Path(spec.submodule_search_locations[0])
