"""Frames: what models of speech learn: mel bands and pitch, hop by hop."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.speech.pitch import track_pitch
from edgernn_runtime.codecs.mel import FLOOR, MelCodec
from edgernn_runtime.voice.spectrogram import log_mel

_NO_PITCH_HZ: Final = 100.0  # of an utterance that is voiced nowhere


def speech_frames(samples: NDArray[np.float32], codec: MelCodec) -> NDArray[np.float32]:
    """Return the frames of speech, float32 `[frames, codec.size]`.

    Behind the mel bands stand the logarithm of the pitch in hertz, which goes on in a straight line where a frame is
    not voiced, and 1 where it is.
    """
    pitch = track_pitch(samples, codec)
    voiced = pitch > 0
    places = np.flatnonzero(voiced)
    known = np.log(pitch[places]) if places.size else np.array([np.log(_NO_PITCH_HZ)])
    line = np.interp(np.arange(len(pitch)), places if places.size else [0], known)
    return np.column_stack([log_mel(samples, codec), line, voiced]).astype(np.float32)


def is_silent(frames: NDArray[np.float32], codec: MelCodec) -> bool:
    """Return whether no band of any frame is above the floor."""
    return bool((frames[:, : codec.bands] <= np.log(FLOOR) + 1e-3).all())
