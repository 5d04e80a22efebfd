"""Pairs: words and the phonemes that a voice says them with, to train a model of pronunciations on."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from edgernn.speech.corpus import spoken_phonemes
from edgernn_runtime.files import write_bytes

_LONGEST: Final = 24


def spoken_pairs(
    words: Iterable[str], known: Collection[str], *, voice: str = "en-us+edward"
) -> list[tuple[str, tuple[str, ...]]]:
    """Return words with their phonemes as eSpeak NG says them alone, those left out that a voice cannot say.

    Args:
        words: The words, in letters and apostrophes; longer ones than 24 letters are left out.
        known: The phonemes that the acoustic model of the voice knows.
        voice: The voice of eSpeak NG.
    """
    made = []
    for word in dict.fromkeys(words):
        if len(word) > _LONGEST or not all(letter.isalpha() or letter == "'" for letter in word):
            continue
        phonemes = spoken_phonemes(word, voice=voice)
        if phonemes and all(phoneme in known for phoneme in phonemes):
            made.append((word, phonemes))
    return made


def write_pairs(path: Path, pairs: Iterable[tuple[str, tuple[str, ...]]], *, overwrite: bool = False) -> None:
    """Write pairs as `edgernn train seq2seq --data` reads them, a word, a tab, and its phonemes in each line.

    Raises:
        OutputError: If the file cannot be written; OutputExistsError if it exists and `overwrite` is false.
    """
    lines = [f"{word}\t{' '.join(phonemes)}\n" for word, phonemes in pairs]
    write_bytes(path, "".join(lines).encode(), overwrite=overwrite)
