"""Words of a text: numbers spelled out, punctuation as pauses, and what cannot be said refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime.errors import InputError
from edgernn_runtime.voice.words import number_words, phrases

BELOW_20 = """zero one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
TENS = """twenty thirty forty fifty sixty seventy eighty ninety"""
VALUES = {word: value for value, word in enumerate(BELOW_20.split())}
VALUES |= {word: 10 * value for value, word in enumerate(TENS.split(), 2)}
POWERS = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}


def value_of(words: list[str]) -> int:
    """Return the number that words say."""
    total = group = 0
    for word in words:
        if word == "hundred":
            group *= 100
        elif word in POWERS:
            total, group = total + group * POWERS[word], 0
        else:
            group += VALUES[word]
    return total + group


@given(st.integers(0, 10**12 - 1))
def test_a_number_is_what_its_words_say(number: int) -> None:
    assert number == value_of(number_words(str(number)))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("0", "zero"),
        ("007", "zero zero seven"),
        ("3.05", "three point zero five"),
        ("1000000", "one million"),
        ("-12", "minus twelve"),
        ("1234567890123", "one two three four five six seven eight nine zero one two three"),
    ],
)
def test_numbers_are_spelled_out(number: str, expected: str) -> None:
    assert expected == " ".join(number_words(number))


def test_punctuation_and_new_lines_part_phrases() -> None:
    found = phrases("Hello, world!\nIt’s (really) 21 - isn't it?")  # noqa: RUF001, an apostrophe
    assert [("hello",), ("world",), ("it's", "really", "twenty", "one", "isn't", "it")] == [
        phrase.words for phrase in found
    ]


def test_signs_and_groups_belong_to_numbers() -> None:
    found = phrases("From -5 to 1,200,000 men, 3-5, b2, 12,34")
    assert [
        ("from", "minus", "five", "to", "one", "million", "two", "hundred", "thousand", "men"),
        ("three", "five"),
        ("b", "two"),
        ("twelve",),
        ("thirty", "four"),
    ] == [phrase.words for phrase in found]


@pytest.mark.parametrize("text", ["", "   ", "...", "(-)"])
def test_nothing_to_say_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="nothing to say"):
        phrases(text)


@pytest.mark.parametrize(("text", "sign"), [("5 €", "€"), ("a_b", "_"), ("👋 hi", "👋"), ("1 ²", "²")])
def test_a_sign_that_cannot_be_pronounced_is_named(text: str, sign: str) -> None:
    with pytest.raises(InputError, match=f"'{sign}' .* cannot be pronounced"):
        phrases(text)
