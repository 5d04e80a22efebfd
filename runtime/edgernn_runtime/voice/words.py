"""Words of a text: numbers spelled out, punctuation kept as pauses."""

import re
from dataclasses import dataclass
from typing import Final

from edgernn_runtime.errors import InputError

ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SCALES: Final = ("", "thousand", "million", "billion")

_NUMBER: Final = r"(?:(?<!\w)-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_WORD: Final = r"[^\W\d_]+(?:['’][^\W\d_]+)*"  # noqa: RUF001, an apostrophe
_TOKEN: Final = re.compile(rf"{_NUMBER}|{_WORD}|[.!?;:,\n]|\S")
_PAUSES: Final = ".!?;:,\n"
_SILENT: Final = "\"'()[]{}-–—“”‘’…"  # noqa: RUF001, punctuation that is not spoken
_LONGEST_NUMBER: Final = 12


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that are spoken without a pause.

    Attributes:
        words: The words, in lower case.
    """

    words: tuple[str, ...]


def phrases(text: str) -> tuple[Phrase, ...]:
    """Return a text as phrases of words that can be looked up: pauses where it has punctuation or a new line.

    Numbers are spelled out: `-47` as minus forty seven, `1,000` as one thousand, digits behind a point one by one, and
    a number that begins with 0 or is longer than twelve digits digit by digit.

    Raises:
        InputError: If nothing of it can be spoken, or a character that is neither letter, number nor punctuation
            stands in it.

    >>> [phrase.words for phrase in phrases("Room 101, please.")]
    [('room', 'one', 'hundred', 'one'), ('please',)]
    """
    made: list[Phrase] = []
    words: list[str] = []
    for token in _TOKEN.findall(text):
        if token in _PAUSES:
            if words:
                made.append(Phrase(tuple(words)))
            words = []
        elif token[-1].isdecimal():
            words += number_words(token.replace(",", ""))
        elif token[0].isalpha():
            words.append(token.lower().replace("’", "'"))  # noqa: RUF001, an apostrophe
        elif token not in _SILENT:
            raise InputError(f"{token!r} (U+{ord(token[0]):04X}) cannot be pronounced; write it out in words")
    if words:
        made.append(Phrase(tuple(words)))
    if not made:
        raise InputError(f"there is nothing to say in {text!r}; give it a word")
    return tuple(made)


def number_words(number: str) -> list[str]:
    """Return a number as words.

    >>> " ".join(number_words("1205"))
    'one thousand two hundred five'
    >>> " ".join(number_words("3.14"))
    'three point one four'
    """
    if number.startswith("-"):
        return ["minus", *number_words(number[1:])]
    whole, _, digits = number.partition(".")
    spelled = [ONES[int(digit)] for digit in digits]
    if len(whole) > _LONGEST_NUMBER or (len(whole) > 1 and whole.startswith("0")):
        said = [ONES[int(digit)] for digit in whole]
    else:
        said = _whole_words(int(whole))
    return [*said, "point", *spelled] if spelled else said


def _whole_words(number: int) -> list[str]:
    if number == 0:
        return [ONES[0]]
    words: list[str] = []
    for power in reversed(range(len(SCALES))):
        group = number // 1_000**power % 1_000
        if group:
            words += [*_group_words(group), *([SCALES[power]] if power else [])]
    return words


def _group_words(number: int) -> list[str]:
    """Return 1 to 999 as words."""
    words = [ONES[number // 100], "hundred"] if number >= 100 else []
    rest = number % 100
    if rest >= 20:
        words += [TENS[rest // 10 - 2]]
        rest %= 10
    return [*words, ONES[rest]] if rest else words
