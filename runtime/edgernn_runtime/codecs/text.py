"""Codecs of text: how the tokens of a model become characters, and characters become tokens.

Decoding is a pure function of a token and the bytes held back so far, so that a snapshot of a stream can
keep half a UTF-8 character.
"""

import codecs
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError, SpecError

UNKNOWN = "\ufffd"


class TextCodec(Protocol):
    """What every codec of text can do."""

    kind: ClassVar[str]

    @property
    def size(self) -> int:
        """The number of different tokens."""

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of `text`, int64 `[length]`; `InputError` if a character has none."""

    def encode_lossy(self, text: str) -> tuple[NDArray[np.int64], int]:
        """Return the tokens of `text`, unknown characters replaced, and how many those were."""

    def decode(self, token: int, held: bytes) -> tuple[str, bytes]:
        """Return the text that `token` completes, and the bytes that wait for the next token."""


@dataclass(frozen=True, slots=True)
class CharacterCodec:
    """One token per character.

    Token 0 is U+FFFD, the replacement character. `encode` refuses a character that training never
    saw; `encode_lossy` turns it into token 0, which is how held-out text is scored.

    Attributes:
        symbols: The character of each token; `symbols[0]` is U+FFFD.

    Raises:
        SpecError: If the symbols repeat, or do not start with U+FFFD.
    """

    symbols: str
    _tokens: dict[str, int] = field(init=False, repr=False, compare=False)
    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        """Build the reverse table."""
        if not self.symbols.startswith(UNKNOWN) or len(set(self.symbols)) != len(self.symbols):
            raise SpecError("codec.symbols must start with U+FFFD and repeat no character")
        object.__setattr__(self, "_tokens", {symbol: i for i, symbol in enumerate(self.symbols)})

    @classmethod
    def from_text(cls, text: str) -> "CharacterCodec":
        """Return the codec of every character in `text`, in code point order.

        >>> CharacterCodec.from_text("hello").symbols
        '\ufffdehlo'
        """
        return cls(UNKNOWN + "".join(sorted(set(text) - {UNKNOWN})))

    @property
    def size(self) -> int:
        """The number of symbols."""
        return len(self.symbols)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of `text`, int64 `[length]`.

        Raises:
            InputError: If the model has no token for a character.
        """
        unknown = Counter(symbol for symbol in text if symbol not in self._tokens)
        if unknown:
            shown = ", ".join(f"{symbol!r} (U+{ord(symbol):04X})" for symbol in list(unknown)[:5])
            raise InputError(
                f"the model was trained without {len(unknown)} of the text's characters: {shown}; "
                "remove them, or train with text that has them or with the byte codec"
            )
        return np.fromiter((self._tokens[symbol] for symbol in text), np.int64, len(text))

    def encode_lossy(self, text: str) -> tuple[NDArray[np.int64], int]:
        """Return the tokens of `text`, unknown characters as token 0, and how many those were."""
        tokens = np.fromiter((self._tokens.get(symbol, 0) for symbol in text), np.int64, len(text))
        return tokens, sum(symbol not in self._tokens for symbol in text)

    def decode(self, token: int, held: bytes) -> tuple[str, bytes]:
        """Return the character of `token`; nothing is ever held back."""
        return self.symbols[token], held


@dataclass(frozen=True, slots=True)
class ByteCodec:
    """One token per byte of UTF-8: every text has tokens, and none is unknown."""

    kind: ClassVar[str] = "bytes"

    @property
    def size(self) -> int:
        """The number of different bytes."""
        return 256

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the UTF-8 bytes of `text`, int64 `[length in bytes]`.

        Raises:
            InputError: If `text` holds half of a surrogate pair, which UTF-8 cannot express.
        """
        try:
            return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)
        except UnicodeEncodeError as error:
            raise InputError(f"the text is not valid Unicode at character {error.start}: {error.reason}") from error

    def encode_lossy(self, text: str) -> tuple[NDArray[np.int64], int]:
        """Return the UTF-8 bytes of `text`, and 0: no byte is unknown."""
        return self.encode(text), 0

    def decode(self, token: int, held: bytes) -> tuple[str, bytes]:
        r"""Return the characters that this byte completes, and the bytes of an unfinished one.

        Bytes that can start no character become U+FFFD, as in Python's own decoder.

        >>> codec = ByteCodec()
        >>> codec.decode(0xC3, b"")
        ('', b'\xc3')
        >>> codec.decode(0xA9, b"\xc3")
        ('é', b'')
        """
        waiting = held + bytes((token,))
        text, used = codecs.utf_8_decode(waiting, "replace", False)  # noqa: FBT003, positional in C
        return text, waiting[used:]
