"""A recogniser that judges synthetic speech: pocketsphinx with a grammar of digits."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.seq2seq.error_rates import edit_distance
from edgernn_runtime.errors import MissingExtraError
from edgernn_runtime.voice.words import ONES

DIGITS: Final = tuple(ONES[:10])

_RATE_HZ: Final = 16_000
_SILENCE_S: Final = 0.3
_PEAK: Final = 0.6
_GRAMMAR: Final = f"#JSGF V1.0; grammar digits; public <digits> = ({' | '.join(DIGITS)})+;"


class DigitRecogniser:
    """Writes down strings of digits, with pocketsphinx's English acoustic model.

    Raises:
        MissingExtraError: If pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        """Load the acoustic model."""
        try:
            from pocketsphinx import Decoder  # noqa: PLC0415, an optional extra
        except ImportError as error:
            raise MissingExtraError("speech is judged by pocketsphinx; install edgernn[speech]") from error
        self._decoder = Decoder(samprate=_RATE_HZ, lm=None, loglevel="FATAL")
        self._decoder.add_jsgf_string("digits", _GRAMMAR)
        self._decoder.activate_search("digits")

    def digits(self, samples: NDArray[np.float32]) -> tuple[str, ...]:
        """Return the digits that are heard, as words.

        Args:
            samples: float32 `[n]` at 16 kHz; the loudness does not matter.
        """
        peak = float(np.abs(samples).max(initial=0))
        scaled = samples * (_PEAK / peak) if peak else samples
        padded = np.pad(scaled, round(_SILENCE_S * _RATE_HZ))
        content = (padded * 32_767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(content, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return tuple(hypothesis.hypstr.split()) if hypothesis else ()


def share_right(said: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Return the share of words that were heard: 1 less substitutions, deletions and insertions a word said."""
    errors = sum(edit_distance(one, other) for one, other in zip(said, heard, strict=True))
    return 1 - errors / sum(map(len, said))
