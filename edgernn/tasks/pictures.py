"""Pictures for training: scikit-learn's digits, or a folder of files, all of one size, in grey."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.task import sha256_of
from edgernn_runtime.errors import DataError, MissingExtraError, first_line

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SMALLEST: Final = 10

_DIGIT_WHITE: Final = 16
_HELD_OUT: Final = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Grey pictures and their classes.

    Attributes:
        greys: uint8 `[pictures, height, width]`, 0 black and 255 white.
        classes: The index of each one's label, int64 `[pictures]`.
        labels: The labels, by index.
    """

    greys: NDArray[np.uint8]
    classes: NDArray[np.int64]
    labels: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of pixels, classes and labels."""
        return sha256_of(self.greys, self.classes, repr(self.labels))

    def split(self, seed: int) -> tuple["Pictures", "Pictures"]:
        """Return a random four fifths, and the rest; which ones depends on `seed` alone."""
        order = np.random.default_rng(seed).permutation(len(self.greys))
        cut = len(order) - round(_HELD_OUT * len(order))
        return self._at(order[:cut]), self._at(order[cut:])

    def _at(self, index: NDArray[np.intp]) -> "Pictures":
        return Pictures(self.greys[index], self.classes[index], self.labels)


def read_pictures(folder: Path | None, *, width: int, height: int) -> Pictures:
    """Return the pictures in a folder, else scikit-learn's digits, scaled; errors as below."""
    return digits(width=width, height=height) if folder is None else read_folder(folder, width=width, height=height)


def digits(*, width: int = 8, height: int = 8) -> Pictures:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998), scaled.

    Raises:
        MissingExtraError: If scikit-learn is not installed, or Pillow, which scales.
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("the digits need scikit-learn; install edgernn[tasks]") from error
    found = load_digits()
    greys = np.rint(found.images * (255 / _DIGIT_WHITE)).astype(np.uint8)
    if greys.shape[1:] != (height, width):
        image = _pillow()
        greys = np.stack([np.asarray(image.fromarray(each).resize((width, height))) for each in greys])
    return Pictures(greys, found.target.astype(np.int64), tuple(map(str, found.target_names)))


def read_folder(folder: Path, *, width: int, height: int) -> Pictures:
    """Return the pictures in a folder, in grey and scaled; those in a folder of their own share its name as label.

    Raises:
        DataError: If there are too few, or one cannot be read.
        MissingExtraError: If Pillow is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name one that holds pictures")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(files) < SMALLEST:
        raise DataError(f"{folder} holds {len(files)} pictures ({', '.join(SUFFIXES)}); {SMALLEST} at least are needed")
    names = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in files]
    labels = tuple(sorted(set(names)))
    greys = np.stack([read_picture(path, width=width, height=height)[0] for path in files])
    return Pictures(greys, np.array([labels.index(name) for name in names], np.int64), labels)


def read_picture(path: Path, *, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a picture in grey, scaled, uint8 `[height, width]`, and where it is opaque, bool of that shape.

    Raises:
        DataError: If it cannot be read.
        MissingExtraError: If Pillow is not installed.
    """
    image = _pillow()
    try:
        with image.open(path) as opened:
            mode = opened.mode
            both = opened.convert("LA").resize((width, height))
    except (OSError, ValueError, image.DecompressionBombError) as error:
        raise DataError(f"{path} is no picture that can be read: {first_line(error)}") from error
    if mode.startswith(("I", "F")):
        raise DataError(f"{path} has greys of more than 8 bits ({mode}); convert it to 8 bits first")
    pixels = np.asarray(both)
    return pixels[..., 0].copy(), pixels[..., 1] > 127


def _pillow() -> ModuleType:
    try:
        from PIL import Image  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("reading and scaling pictures needs Pillow; install edgernn[tasks]") from error
    return Image


def batch_index(count: int, *, batch: int, step: int, seed: int) -> NDArray[np.int64]:
    """Return which examples a training step takes, `[batch]`: each once an epoch, in an order drawn from the seed.

    A pure function, so that a resumed run takes the same ones.
    """
    first = step * batch
    epochs: Sequence[int] = range(first // count, (first + batch - 1) // count + 1)
    orders = [np.random.default_rng([seed, epoch]).permutation(count) for epoch in epochs]
    return np.concatenate(orders)[first % count :][:batch]
