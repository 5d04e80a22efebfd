"""Loudspeaker: sound played while it is made, through the optional package sounddevice."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import EngineError, MissingExtraError


def play(sound: Iterable[NDArray[np.float32]], *, rate_hz: int) -> None:
    """Play sound as its pieces come, float32 `[n]` from -1 to 1, and return when the last one was heard.

    Raises:
        MissingExtraError: If sounddevice or the PortAudio library is not installed.
        EngineError: If there is no device that plays sound.
    """
    try:
        import sounddevice  # noqa: PLC0415, an optional extra
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            "sound is played by sounddevice and the PortAudio library; install edgernn[audio], and on Debian "
            "libportaudio2"
        ) from error
    try:
        with sounddevice.OutputStream(samplerate=rate_hz, channels=1, dtype="float32") as device:
            for piece in sound:
                device.write(np.ascontiguousarray(piece)[:, None])
    except sounddevice.PortAudioError as error:
        raise EngineError(f"no sound device plays {rate_hz} Hz: {error}; write a file with -o") from error
