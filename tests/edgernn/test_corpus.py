"""Where training text comes from, how it is split, and which text is refused."""

from pathlib import Path

import pytest

from edgernn.tasks.text import Corpus, builtin_text, read_text, split_text
from edgernn_runtime.errors import DataError


def test_the_builtin_text_is_large_and_the_same_each_time() -> None:
    text = builtin_text()
    assert len(text) > 400_000
    assert text == builtin_text()


def test_validation_is_the_contiguous_last_tenth() -> None:
    text = "".join(chr(97 + i % 26) for i in range(5000))
    train, valid = split_text(text)
    assert train + valid == text
    assert len(valid) == 500


def test_a_character_that_training_never_sees_becomes_the_replacement_and_is_counted() -> None:
    corpus = Corpus.from_text("ab" * 900 + "aé" * 100, "characters")
    assert corpus.codec.size == 3  # the replacement, a, b
    assert corpus.unknown == 100
    assert set(corpus.valid.tolist()) == {0, 1}


def test_bytes_know_every_character() -> None:
    corpus = Corpus.from_text("ab" * 900 + "aé" * 100, "bytes")
    assert corpus.unknown == 0
    assert corpus.valid.size == 300


def test_a_folder_gives_its_text_files_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("second")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\nline")
    (tmp_path / "c.bin").write_bytes(b"\0")
    assert read_text(tmp_path) == "first\nline\n\nsecond"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text\0more", "is binary"),
        (b"caf\xe9 au lait", "is not UTF-8: byte 0xe9 at offset 3"),
        ("mangled \ufffd text".encode(), "U\\+FFFD"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "data.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(file)


def test_a_missing_file_an_empty_folder_and_a_short_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"holds no \.txt"):
        read_text(tmp_path)
    with pytest.raises(DataError, match="needs 1000 at least"):
        split_text("too short")
