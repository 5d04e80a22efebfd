"""Tokens become text and text becomes tokens, whatever the text and wherever it is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime import ByteCodec, CharacterCodec
from edgernn_runtime.codecs import UNKNOWN, TextCodec
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.spec_json import codec_from_json, codec_to_json

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


@pytest.mark.parametrize("codec", [ByteCodec(), CharacterCodec.from_text("aé☃"), CharacterCodec(UNKNOWN)])
def test_a_codec_comes_back_from_its_json(codec: ByteCodec | CharacterCodec) -> None:
    assert codec == codec_from_json(codec_to_json(codec))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, r"codec\.kind must be one of characters, bytes, image, series, labels, got None"),
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
