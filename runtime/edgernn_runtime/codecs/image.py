"""The codec of pictures: grey pixels in reading order, as tokens or as numbers from 0 to 1."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError, SpecError

_WHITE = 255


@dataclass(frozen=True, slots=True)
class ImageCodec:
    """Grey pixels, row by row from the top and left to right in a row.

    A model of tokens gives one pixel a step, token 0 black and token `levels - 1` white. A model of frames gives
    one pixel or one row a step, in numbers from 0 (black) to 1 (white).

    Attributes:
        width: Pixels in a row.
        height: Rows.
        levels: The number of greys.

    Raises:
        SpecError: If a number is out of range.
    """

    width: int
    height: int
    levels: int
    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.width < 1 or self.height < 1 or not 2 <= self.levels <= _WHITE + 1:
            raise SpecError(
                f"codec must have a positive width and height and 2 to 256 levels, got {self.width}, {self.height} "
                f"and {self.levels}"
            )

    @property
    def size(self) -> int:
        """The number of different tokens."""
        return self.levels

    @property
    def pixels(self) -> int:
        """Pixels in a picture."""
        return self.width * self.height

    def encode(self, picture: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the tokens of a picture, int64 `[height * width]`.

        Args:
            picture: Greys, uint8 `[height, width]`, 0 black and 255 white.

        Raises:
            InputError: If it has another size or dtype.
        """
        if picture.shape != (self.height, self.width) or picture.dtype != np.uint8:
            raise InputError(
                f"a picture must be uint8[{self.height}, {self.width}], got {picture.dtype}{list(picture.shape)}"
            )
        return np.asarray(np.rint(picture.ravel() * ((self.levels - 1) / _WHITE)), np.int64)

    def decode(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return greys, uint8 of the shape of `values`: tokens, or numbers from 0 to 1; what lies outside is cut."""
        if np.issubdtype(values.dtype, np.integer):
            shares = values.astype(np.float64) / (self.levels - 1)
        else:
            shares = values.astype(np.float64)
        return np.rint(np.clip(shares, 0, 1) * _WHITE).astype(np.uint8)
