"""WAV files of speech: written as sound comes, beside their target, and renamed when they are whole."""

import wave
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.files import write_file


def write_wav(path: Path, sound: Iterable[NDArray[np.float32]], *, rate_hz: int, overwrite: bool = False) -> None:
    """Write sound as a WAV file of one channel and 16 bits, whole or not at all.

    Args:
        path: The file.
        sound: Pieces of it, float32 `[n]` from -1 to 1.
        rate_hz: Samples a second.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: If it cannot be written; OutputExistsError if it exists and `overwrite` is false.
    """

    def write(file: BinaryIO) -> None:
        with wave.open(file, "wb") as target:
            target.setnchannels(1)
            target.setsampwidth(2)
            target.setframerate(rate_hz)
            for piece in sound:
                target.writeframes(pcm(piece))

    write_file(path, write, overwrite=overwrite)


def pcm(sound: NDArray[np.float32]) -> bytes:
    """Return sound from -1 to 1 as 16-bit samples, little-endian."""
    return (np.clip(sound, -1, 1) * 32_767).round().astype("<i2").tobytes()
