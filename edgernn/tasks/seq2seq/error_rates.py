"""Error rates of what was written for words: by symbol and by word."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How much of what was written is wrong.

    Attributes:
        symbol: Insertions, deletions and substitutions over the symbols that should be there; for phonemes the
            phoneme error rate.
        word: The share of words with an error.
        words: The number of words.
    """

    symbol: float
    word: float
    words: int


def error_rates(pairs: Iterable[tuple[Sequence[str], Sequence[Sequence[str]]]]) -> ErrorRates:
    """Return the error rates of pairs: what was written for a word, and all that is right, of which the nearest counts.

    >>> error_rates([(["B", "AA"], [["B", "AE"], ["B", "AA", "R", "Z"]]), (["Z"], [["Z"]])])
    ErrorRates(symbol=0.3333333333333333, word=0.5, words=2)
    """
    edits = symbols = wrong = words = 0
    for written, listed in pairs:
        distance, length = min((edit_distance(written, right), len(right)) for right in listed)
        edits, symbols, wrong, words = edits + distance, symbols + length, wrong + (distance > 0), words + 1
    return ErrorRates(edits / max(symbols, 1), wrong / max(words, 1), words)


def edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the least insertions, deletions and substitutions between two sequences (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting")
    3
    """
    above = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        row = [i]
        for j, two in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != two)))
        above = row
    return above[-1]
