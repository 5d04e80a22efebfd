"""Drawing: pictures out of a stream, pixel by pixel or row by row, also around pixels that are given."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs import ImageCodec
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec
from edgernn_runtime.stream import Stream


def image_codec(spec: Spec) -> ImageCodec:
    """Return the codec of a model that draws.

    Raises:
        InputError: If it does not draw.
    """
    if not isinstance(spec.codec, ImageCodec) or spec.feedback is None:
        raise InputError("the model draws no pictures; see edgernn inspect")
    return spec.codec


def draw_pixels(
    stream: Stream, spec: Spec, *, given: NDArray[np.uint8] | None = None, known: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield a picture as it is made, in reading order: greys, uint8 `[n]`, one pixel or one row at a time.

    Args:
        stream: A new stream of a model that draws.
        spec: The model's Spec.
        given: A picture to draw around, uint8 `[height, width]`; None to draw all of it.
        known: Which pixels of it stay, bool `[height, width]`.

    Raises:
        InputError: If the model does not draw, or pixels are given to one that does not draw pixel by pixel.
    """
    codec = image_codec(spec)
    if not spec.vocabulary:
        if given is not None:
            raise InputError("the model draws whole rows; only one that draws pixel by pixel can draw around others")
        size = int(np.prod(spec.main_input.sized(1)))
        for frame in stream.generate_frames(codec.pixels // size):
            yield codec.decode(frame.ravel())
        return
    tokens = np.zeros(codec.pixels, np.int64) if given is None else codec.encode(given)
    fixed = np.zeros(codec.pixels, bool) if given is None or known is None else known.ravel()
    if fixed[0] and spec.feedback is not None and spec.feedback.start is not None:
        stream.prefill([spec.feedback.start])  # as a picture begins that nothing is given of
    for token, stays in zip(tokens, fixed, strict=True):
        if stays:
            stream.prefill([int(token)])
            yield codec.decode(np.array([token]))
        else:
            yield codec.decode(np.array(list(stream.generate(1))))


def draw(
    stream: Stream, spec: Spec, *, given: NDArray[np.uint8] | None = None, known: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return a whole picture, greys, uint8 `[height, width]`; arguments and errors as in `draw_pixels`."""
    codec = image_codec(spec)
    greys = list(draw_pixels(stream, spec, given=given, known=known))
    return np.concatenate(greys).reshape(codec.height, codec.width)
