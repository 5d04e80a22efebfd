"""Text for training: where it comes from, its split, and its tokens."""

import pydoc_data.topics
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.task import sha256_of
from edgernn_runtime.codecs import UNKNOWN, ByteCodec, CharacterCodec
from edgernn_runtime.errors import DataError

MIN_CHARACTERS: Final = 1000
_BINARY_SAMPLE: Final = 8192


@dataclass(frozen=True, slots=True)
class Corpus:
    """Text split for training, with its tokens.

    Attributes:
        codec: The codec, made from the training part alone.
        train: Tokens of the first nine tenths, int64 `[length]`.
        valid: Tokens of the contiguous last tenth, int64 `[length]`.
        unknown: Characters of the last tenth that training never sees; they are token 0 in `valid`.
        sha256: SHA-256 of the whole text.
    """

    codec: CharacterCodec | ByteCodec
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    unknown: int
    sha256: str

    @classmethod
    def from_text(cls, text: str, codec_name: str) -> "Corpus":
        """Return the corpus of `text`."""
        train, valid = split_text(text)
        codec = make_codec(codec_name, train)
        tokens, unknown = codec.encode_lossy(valid)
        sha256 = sha256_of(text)
        return cls(codec, codec.encode_lossy(train)[0], tokens, unknown, sha256)


def make_codec(name: str, text: str) -> CharacterCodec | ByteCodec:
    """Return the codec called `name`, `characters` or `bytes`, for a model trained on `text`.

    Raises:
        DataError: If no codec has that name.
    """
    if name == CharacterCodec.kind:
        return CharacterCodec.from_text(text)
    if name == ByteCodec.kind:
        return ByteCodec()
    raise DataError(f"no codec is called {name}; there are {CharacterCodec.kind} and {ByteCodec.kind}")


def split_text(text: str) -> tuple[str, str]:
    """Return the first nine tenths and the contiguous last tenth of `text`.

    Raises:
        DataError: If the text has fewer than 1,000 characters.
    """
    if len(text) < MIN_CHARACTERS:
        raise DataError(f"the text has {len(text)} characters; training needs {MIN_CHARACTERS} at least")
    cut = len(text) - len(text) // 10
    return text[:cut], text[cut:]


def builtin_text() -> str:
    """Return the help texts that every Python carries, about 465,000 characters of English."""
    topics = pydoc_data.topics.topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of all `.txt` and `.md` files in a folder, in order of name.

    Raises:
        DataError: If nothing is there, a file cannot be read, is empty, binary, or not UTF-8.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in {".txt", ".md"} and each.is_file())
        if not files:
            raise DataError(f"{path} holds no .txt or .md file")
        return "\n\n".join(_read_file(each) for each in files)
    return _read_file(path)


def _read_file(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}") from error
    if not content:
        raise DataError(f"{path} is empty")
    if b"\0" in content[:_BINARY_SAMPLE]:
        raise DataError(f"{path} is binary, not text: it has zero bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}; convert it first, "
            f"for instance with iconv -t UTF-8"
        ) from error
    text = text.replace("\r\n", "\n")
    if UNKNOWN in text:
        raise DataError(f"{path} holds U+FFFD, the mark of text that was decoded wrongly; mend the file first")
    return text
