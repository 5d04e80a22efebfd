"""Pronunciation: the phonemes of a text, phrase by phrase, word by word."""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from edgernn_runtime.bundle import Bundle
from edgernn_runtime.errors import InputError
from edgernn_runtime.transducer import Transducer
from edgernn_runtime.voice.words import Phrase, phrases

PAUSE: Final = "_"
"""The phoneme of silence."""


class Pronunciation:
    """Says how words are pronounced. Mutable: its streams are used again, and what was asked is kept."""

    def __init__(self, bundle: Bundle) -> None:
        """Make the streams of a bundle that turns words into phonemes."""
        self._transducer = Transducer(bundle)
        self._known: dict[str, tuple[str, ...]] = {}

    def phonemes(self, text: str) -> Iterator[str]:
        """Return the phonemes of a text, each word pronounced when it is asked for; pauses around each phrase.

        Raises:
            InputError: If the text holds nothing to say, or a word that the voice cannot pronounce; before any word
                is pronounced.
        """
        found = phrases(text)
        for phrase in found:
            for word in phrase.words:
                self._check(word)
        return chain([PAUSE], *(self._phonemes(phrase) for phrase in found))

    def word(self, word: str) -> tuple[str, ...]:
        """Return the phonemes of one word."""
        if word not in self._known:
            self._known[word] = self._transducer.transduce(word).symbols
        return self._known[word]

    def _phonemes(self, phrase: Phrase) -> Iterator[str]:
        for word in phrase.words:
            yield from self.word(word)
        yield PAUSE

    def _check(self, word: str) -> None:
        try:
            self._transducer.check(word)
        except InputError as error:
            raise InputError(f"the voice cannot pronounce {word!r}: {error}") from error
