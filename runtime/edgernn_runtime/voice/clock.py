"""Clock: when sound came, while it is passed on."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast sound was made.

    Attributes:
        seconds: How much sound there is.
        first_sound_ms: From the text to the first piece.
        rtf: The time of making it over how long it lasts: below 1 is real time.
        p50_us: The median time of a piece.
        p99_us: What 99 of 100 pieces took at most.
        piece_us: How long a piece lasts.
    """

    seconds: float
    first_sound_ms: float
    rtf: float
    p50_us: float
    p99_us: float
    piece_us: float


class Clock:
    """Passes sound on, and notes what each piece took. Mutable, for one utterance; it starts when it is made."""

    def __init__(self, rate_hz: int) -> None:
        """Start."""
        self._rate_hz = rate_hz
        self._started = time.perf_counter()
        self._took: list[float] = []
        self._samples = 0

    def pass_on(self, sound: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield pieces of sound as they come; what is done with them is not timed."""
        pieces = iter(sound)
        before = self._started
        for piece in pieces:
            self._took.append(time.perf_counter() - before)
            self._samples += len(piece)
            yield piece
            before = time.perf_counter()

    @property
    def timing(self) -> Timing:
        """How fast the sound was made that was passed on so far; there must be some."""
        took, seconds = np.array(self._took), self._samples / self._rate_hz
        later = took[1:] if len(took) > 1 else took
        return Timing(
            seconds,
            1e3 * self._took[0],
            float(took.sum()) / seconds,
            1e6 * float(np.median(later)),
            1e6 * float(np.quantile(later, 0.99)),
            1e6 * seconds / len(took),
        )
