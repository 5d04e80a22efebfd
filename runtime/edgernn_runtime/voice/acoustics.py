"""Acoustics: phonemes to frames, as they come."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.bundle import Bundle
from edgernn_runtime.codecs import SymbolCodec

DURATIONS: Final = "durations"
"""The stage of an acoustic model that says how long phonemes last."""

_LONGEST: Final = 160
"""Frames of a phoneme at most, two seconds: what is longer is an error of the model."""


class Acoustics:
    """The frames of phonemes, by an acoustic model. Mutable: for one utterance, which may be of several phrases."""

    def __init__(self, bundle: Bundle) -> None:
        """Make the streams of a bundle with the stages `durations` and `frames`."""
        self._durations = bundle.stages[DURATIONS].stream()
        self._stream = bundle.model.stream()
        codec = cast("SymbolCodec", bundle.stages[DURATIONS].spec.codec)
        self._tokens = {symbol: token for token, symbol in enumerate(codec.symbols)}
        self._size = bundle.model.spec.main_input.sized(1)[1]
        self._made = 0
        self._wanted = 0.0

    def frames(self, phonemes: Iterable[str]) -> Iterator[NDArray[np.float32]]:
        """Yield frames float32 `[features]` as phonemes come; the model looks two of them ahead.

        What durations are beyond whole frames is carried on, so that speech keeps its time.
        """
        for window in self._windows(phonemes):
            self._wanted += min(float(self._durations.step(window)), _LONGEST)
            count = max(0, round(self._wanted) - self._made)
            self._made += count
            self._stream.set_input("frames", np.array(count, np.float32))
            for i in range(count):
                self._stream.set_input("index", np.array(i, np.float32))
                yield cast("NDArray[np.float32]", self._stream.step(window))

    def _windows(self, phonemes: Iterable[str]) -> Iterator[NDArray[np.int64]]:
        """Yield each phoneme between its neighbours, silence beyond the ends, int64 `[size]`."""
        ahead = self._size // 2
        tokens = (self._tokens[phoneme] for phoneme in phonemes)
        window = deque([0] * self._size, maxlen=self._size)
        for i, token in enumerate(chain(tokens, [0] * ahead)):
            window.append(token)
            if i >= ahead:
                yield np.array(window, np.int64)
