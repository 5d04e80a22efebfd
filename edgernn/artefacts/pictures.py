"""Pictures as artefacts: grids, pictures as text, and pictures as the latents that an encoder makes of them."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime import Bundle
from edgernn_runtime.drawing import image_codec
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError

Picture = NDArray[np.uint8]
"""Greys, uint8 `[height, width]`, 0 black and 255 white."""

_SHADES: Final = " .:-=+*#%@"
_GAP: Final = 1
_GAP_GREY: Final = 64


def grid(pictures: Sequence[Picture], *, columns: int, scale: int = 1) -> Picture:
    """Return pictures of one size side by side, `columns` in a row, every pixel `scale` pixels wide and high."""
    height, width = pictures[0].shape
    rows = -(-len(pictures) // columns)
    whole = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), _GAP_GREY, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + _GAP), (i % columns) * (width + _GAP)
        whole[top : top + height, left : left + width] = picture
    return whole.repeat(scale, axis=0).repeat(scale, axis=1)


def as_text(greys: Picture) -> str:
    """Return rows of pixels as lines of characters, two for a pixel, darker to lighter."""
    shades = (greys.astype(np.int64) * len(_SHADES)) >> 8
    return "\n".join("".join(2 * _SHADES[shade] for shade in row) for row in shades)


def encode_picture(bundle: Bundle, picture: Picture) -> Mapping[str, Array]:
    """Return what a bundle's encoder makes of a picture: the inputs that the bundle begins with, by name.

    Raises:
        InputError: If the bundle has no encoder of rows that gives such inputs.
    """
    codec = image_codec(bundle.model.spec)
    links = [link for link in bundle.spec.links if bundle.spec.stages[link.source].every is None]
    names = {tensor.name for tensor in bundle.model.spec.inputs}
    begun: dict[str, Array] = {}
    for source in {link.source for link in links}:
        encoder = bundle.stages[source]
        wanted = encoder.spec.main_input
        if wanted.dtype != "float32" or wanted.sized(1)[1:] != (codec.width,):
            raise InputError(f"the stage {source} does not read rows of {codec.width} numbers")
        stream = encoder.stream()
        stream.run((picture / np.float32(255)).astype(np.float32))
        begun |= {link.input: stream.output(link.output) for link in links if link.source == source}
    if not begun or not begun.keys() <= names:
        raise InputError("the model has no encoder to read a picture with; see its bundle.json")
    return begun


def between(pictures: Sequence[Mapping[str, Array]], share: float) -> Mapping[str, Array]:
    """Return the encodings on the way through several, in straight lines; `share` runs from 0 to 1."""
    place = share * (len(pictures) - 1)
    first = min(int(place), max(0, len(pictures) - 2))
    last, part = pictures[min(first + 1, len(pictures) - 1)], place - first
    return {
        name: np.asarray((1 - part) * value.astype(np.float64) + part * last[name].astype(np.float64), value.dtype)
        for name, value in pictures[first].items()
    }
