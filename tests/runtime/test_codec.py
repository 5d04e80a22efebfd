"""Tokens become text and text becomes tokens, whatever the text and wherever it is cut."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime import ByteCodec, CharacterCodec, SymbolCodec
from edgernn_runtime.codecs import UNKNOWN, TextCodec
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.spec_json import codec_from_json, codec_to_json

PHONEMES = SymbolCodec.of(["HH", "OW1", "L", "AH0"], separator=" ")

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def decode_all(codec: TextCodec, tokens: list[int], held: bytes = b"") -> tuple[list[str], bytes]:
    pieces = []
    for token in tokens:
        piece, held = codec.decode(token, held)
        pieces.append(piece)
    return pieces, held


@given(UNICODE)
def test_bytes_decoded_one_by_one_give_the_text_again(text: str) -> None:
    pieces, held = decode_all(ByteCodec(), ByteCodec().encode(text).tolist())
    assert text == "".join(pieces)
    assert held == b""


@given(UNICODE, st.data())
def test_text_cut_at_any_byte_continues_from_what_was_held_back(text: str, data: st.DataObject) -> None:
    tokens = ByteCodec().encode(text).tolist()
    cut = data.draw(st.integers(0, len(tokens)))
    before, held = decode_all(ByteCodec(), tokens[:cut])
    after, rest = decode_all(ByteCodec(), tokens[cut:], held)
    assert text == "".join(before + after)
    assert text.startswith("".join(before))
    assert "".join(before).encode() + held == bytes(tokens[:cut])
    assert rest == b""


@given(UNICODE)
def test_every_byte_completes_one_character_or_none(text: str) -> None:
    pieces, _ = decode_all(ByteCodec(), ByteCodec().encode(text).tolist())
    assert list(text) == [piece for piece in pieces if piece]


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_decode_as_in_python(content: bytes) -> None:
    pieces, held = decode_all(ByteCodec(), list(content))
    assert content.decode("utf-8", "replace") == "".join(pieces) + held.decode("utf-8", "replace")
    assert len(held) <= 3


def test_half_a_surrogate_pair_has_no_bytes() -> None:
    with pytest.raises(InputError, match="not valid Unicode at character 1"):
        ByteCodec().encode("a\ud83d")


def test_byte_tokens_are_int64_and_none_is_ever_unknown() -> None:
    tokens, unknown = ByteCodec().encode_lossy("é")
    assert [0xC3, 0xA9] == tokens.tolist()
    assert np.int64 == tokens.dtype
    assert unknown == 0
    assert ByteCodec().size == 256


@given(UNICODE)
def test_characters_decoded_one_by_one_give_the_text_again(text: str) -> None:
    codec = CharacterCodec.from_text(text)
    pieces, held = decode_all(codec, codec.encode(text).tolist())
    assert list(text) == pieces
    assert held == b""


@given(UNICODE)
def test_a_codec_of_a_text_has_each_of_its_characters_once_after_the_replacement_character(text: str) -> None:
    symbols = CharacterCodec.from_text(text).symbols
    assert symbols[0] == UNKNOWN
    assert sorted(set(text) - {UNKNOWN}) == list(symbols[1:])


def test_characters_that_training_never_saw_are_refused_by_name_and_code_point() -> None:
    with pytest.raises(InputError, match=r"without 2 of the text's characters: 'ß' \(U\+00DF\), '☃' \(U\+2603\); "):
        CharacterCodec.from_text("abc").encode("aßb☃ß")


def test_characters_that_training_never_saw_count_as_token_0_where_text_is_scored() -> None:
    tokens, unknown = CharacterCodec.from_text("abc").encode_lossy("a☃b☃")
    assert [1, 0, 2, 0] == tokens.tolist()
    assert unknown == 2


@pytest.mark.parametrize("symbols", ["", "abc", f"{UNKNOWN}aba", f"a{UNKNOWN}"])
def test_symbols_that_repeat_or_lack_the_replacement_character_are_refused(symbols: str) -> None:
    with pytest.raises(SpecError, match=r"codec\.symbols must start with U\+FFFD and repeat no character"):
        CharacterCodec(symbols)


@given(st.lists(st.sampled_from(PHONEMES.symbols[2:])))
def test_symbols_decoded_one_by_one_give_the_text_with_blanks_between_them(symbols: list[str]) -> None:
    tokens = PHONEMES.encode(" ".join(symbols)).tolist()
    pieces, _ = decode_all(PHONEMES, [0, *tokens, 1])
    assert " ".join(symbols) == "".join(pieces) == PHONEMES.text([0, *tokens, 1])


@given(st.lists(st.sampled_from(PHONEMES.symbols[2:]), min_size=1), st.data())
def test_symbols_cut_anywhere_continue_with_the_blank_that_was_due(symbols: list[str], data: st.DataObject) -> None:
    tokens = PHONEMES.encode(" ".join(symbols)).tolist()
    cut = data.draw(st.integers(0, len(tokens)))
    before, held = decode_all(PHONEMES, tokens[:cut])
    after, _ = decode_all(PHONEMES, tokens[cut:], held)
    assert " ".join(symbols) == "".join(before + after)


def test_another_text_begins_without_a_blank() -> None:
    pieces, held = decode_all(PHONEMES, [2, 3, 1, 3, 2])
    assert ["HH", " OW1", "", "OW1", " HH"] == pieces
    assert held


@pytest.mark.parametrize(("order", "tokens"), [("forward", [0, 1, 1]), ("reverse", [1, 1, 0])])
def test_letters_are_read_in_the_order_of_the_codec(order: Literal["forward", "reverse"], tokens: list[int]) -> None:
    codec = SymbolCodec(("a", "b"), "", order)
    assert tokens == codec.encode("abb").tolist()
    assert (tokens, 2) == (codec.encode_lossy("xab?b")[0].tolist(), codec.encode_lossy("xab?b")[1])


def test_symbols_that_training_never_saw_are_refused_by_name_and_those_that_begin_and_end_are_no_text() -> None:
    with pytest.raises(InputError, match="the model was trained without 'XX', '</s>'; remove that"):
        PHONEMES.encode("HH XX </s> XX")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symbols": ("a", "a")}, r"codec\.symbols must be there and differ"),
        ({"symbols": ("<s>",), "begin": 0}, r"codec\.symbols must be there and differ"),
        ({"symbols": ("a", "bc")}, r"codec\.symbols must be single characters, got 'bc'"),
        ({"symbols": ("a", "b c"), "separator": " "}, r"codec\.symbols must be names without blanks, got 'b c'"),
        ({"symbols": ("a", ""), "separator": " "}, r"codec\.symbols must be names without blanks, got ''"),
        (
            {"symbols": ("a", "b"), "end": 2},
            r"codec\.begin and codec\.end must .* lie in 0\.\.1, got None and 2",
        ),
        ({"symbols": ("a", "b"), "begin": 1, "end": 1}, r"codec\.begin and codec\.end must differ, .* got 1 and 1"),
    ],
)
def test_symbols_that_no_text_could_be_read_into_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SymbolCodec(**{"separator": "", **fields})


@pytest.mark.parametrize(
    "codec",
    [
        ByteCodec(),
        CharacterCodec.from_text("aé☃"),
        CharacterCodec(UNKNOWN),
        PHONEMES,
        SymbolCodec(("a", "b"), "", "reverse"),
    ],
)
def test_a_codec_comes_back_from_its_json(codec: ByteCodec | CharacterCodec | SymbolCodec) -> None:
    assert codec == codec_from_json(codec_to_json(codec))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, r"codec\.kind must be one of characters, bytes, symbols, image, series, labels, .*got None"),
        ({"kind": "words"}, r"codec\.kind must be one of characters, bytes, .*, got 'words'"),
        ({"kind": ["bytes"]}, r"codec\.kind must be one of characters, bytes, .*, got \['bytes'\]"),
        ({"kind": "characters"}, r"codec\.symbols is missing"),
        ({"kind": "characters", "symbols": 3}, r"codec\.symbols must be str, got 3"),
    ],
)
def test_a_codec_that_this_version_does_not_know_is_refused(source: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        codec_from_json(source)


def test_a_codec_with_a_field_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(SpecError, match="lowercase"):
        codec_from_json({"kind": "bytes", "lowercase": True})
