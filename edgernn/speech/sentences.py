"""Sentences: what a voice is made to say, so that a model of it can be trained."""

import pydoc_data.topics
import re
from collections import Counter
from typing import Final

import numpy as np

from edgernn_runtime.voice.words import number_words, phrases

_SENTENCE: Final = re.compile(r"[A-Z][a-z]+(?:,? [a-z]+){3,13}\.")
_WORD: Final = re.compile(r"(?<![\w.'])[a-z]{2,14}(?![\w.'])")
_COMMON: Final = 4  # times that a word must stand in the manual
_LONGEST_STRING: Final = 8
_WORDS: Final = (3, 8)
_KINDS: Final = ("digits", "number", "words", "sentence")
_SHARES: Final = (0.35, 0.1, 0.25, 0.3)


def make_sentences(count: int, *, seed: int) -> list[str]:
    """Return texts in words alone: strings of digits, numbers, words at random, and sentences of Python's manual.

    Args:
        count: How many; no two are alike.
        seed: The seed of the choice.
    """
    rng = np.random.default_rng(seed)
    topics = list(pydoc_data.topics.topics.values())
    manual = sorted({found for topic in topics for found in _SENTENCE.findall(topic)})
    words = Counter(word for topic in topics for word in _WORD.findall(topic))
    vocabulary = sorted(word for word, times in words.items() if times >= _COMMON)
    made: dict[str, None] = {}
    while len(made) < count:
        kind = rng.choice(_KINDS, p=_SHARES)
        if kind == "digits":
            text = digit_string(rng, int(rng.integers(1, _LONGEST_STRING + 1)))
        elif kind == "number":
            text = " ".join(number_words(str(rng.integers(0, 10 ** int(rng.integers(2, 7))))))
        elif kind == "words":
            text = " ".join(rng.choice(vocabulary, int(rng.integers(*_WORDS))).tolist())
        else:
            text = ", ".join(" ".join(phrase.words) for phrase in phrases(str(rng.choice(manual))))
        made[text] = None
    return list(made)


def digit_string(rng: np.random.Generator, length: int) -> str:
    """Return digits as words, `length` of them."""
    return " ".join(number_words(str(digit))[0] for digit in rng.integers(0, 10, length))
