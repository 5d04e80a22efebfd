"""PNG files of grey pictures (ISO/IEC 15948), so that a device needs no imaging library to show what it draws."""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def grey_png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as the bytes of a PNG file.

    Args:
        picture: Greys, uint8 `[height, width]`, 0 black and 255 white.
    """
    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey, not interlaced
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture], axis=1)  # each row begins with its filter, none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
