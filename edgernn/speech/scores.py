"""Scores of synthetic speech against the original: its voicing and pitch, and the distance of its spectrum."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.speech.pitch import track_pitch
from edgernn_runtime.codecs.mel import MelCodec
from edgernn_runtime.voice.spectrogram import log_mel

_CEPSTRA: Final = 24
_TO_DECIBELS: Final = 10 / np.log(10)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much speech is like the original that it was made from, frame by frame.

    Attributes:
        voiced_recall: The share of the original's voiced frames that are voiced.
        pitch_error: The median relative error of the pitch where both are voiced; NaN where none is.
        log_mel: The mean absolute difference of log mel bands, in nepers, with the overall loudness taken out.
        cepstral_distortion_db: Mel-cepstral distortion (Kubichek 1993) of coefficients 1 to 24, in decibels.
    """

    voiced_recall: float
    pitch_error: float
    log_mel: float
    cepstral_distortion_db: float


def likeness(original: NDArray[np.float32], made: NDArray[np.float32], codec: MelCodec) -> Likeness:
    """Return how much `made` is like `original`, both float32 `[n]` and aligned; what is longer is cut."""
    n = min(len(original), len(made))
    pitch, found = track_pitch(original[:n], codec), track_pitch(made[:n], codec)
    both = (pitch > 0) & (found > 0)
    bands, other = log_mel(original[:n], codec), log_mel(made[:n], codec)
    difference = bands - other
    cepstra = difference @ _cosines(codec.bands).T  # [frames, coefficients]
    distortion = _TO_DECIBELS * np.sqrt(2 * (cepstra**2).sum(1))
    return Likeness(
        float(both.sum() / max(1, (pitch > 0).sum())),
        float(np.median(np.abs(found[both] / pitch[both] - 1))) if both.any() else float("nan"),
        float(np.abs(difference - difference.mean()).mean()),
        float(distortion.mean()),
    )


def _cosines(bands: int) -> NDArray[np.float64]:
    """Return the cosine transform that makes cepstra of log bands, coefficients 1 to 24, `[24, bands]`."""
    places = (np.arange(bands) + 0.5) / bands
    return np.cos(np.pi * np.arange(1, _CEPSTRA + 1)[:, None] * places) * (2 / bands)
