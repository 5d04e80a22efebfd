"""The codec of symbols: words as letters, pronunciations as phonemes, and whatever else is a row of names."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError, SpecError

BEGIN = "<s>"
END = "</s>"
_WRITTEN = b" "
"""What is held back once a symbol was written, so that a blank goes before the next one."""


@dataclass(frozen=True, slots=True)
class SymbolCodec:
    """One token per symbol; tokens of their own begin and end a sequence.

    >>> codec = SymbolCodec.of(["HH", "OW1"], separator=" ")
    >>> codec.encode("HH OW1").tolist(), codec.text([0, 2, 3, 1])
    ([2, 3], 'HH OW1')

    Attributes:
        symbols: The symbol of each token.
        separator: What lies between symbols: a blank, or nothing where symbols are single characters.
        order: `reverse` where the model reads text from its end.
        begin: The token that begins a sequence, no text; None if there is none.
        end: The token that ends it, likewise.

    Raises:
        SpecError: If symbols repeat or hold the separator, or a token lies outside of them.
    """

    symbols: tuple[str, ...]
    separator: Literal["", " "]
    order: Literal["forward", "reverse"] = "forward"
    begin: int | None = None
    end: int | None = None
    _tokens: dict[str, int] = field(init=False, repr=False, compare=False)
    kind: ClassVar[str] = "symbols"

    def __post_init__(self) -> None:
        """Check the symbols, and build the reverse table."""
        marks = {self.begin, self.end} - {None}
        if not all(mark is not None and 0 <= mark < self.size for mark in marks) or self.begin == self.end is not None:
            raise SpecError(
                f"codec.begin and codec.end must differ, and lie in 0..{self.size - 1}, got {self.begin} and {self.end}"
            )
        tokens = {symbol: i for i, symbol in enumerate(self.symbols) if i not in marks}
        if len(set(self.symbols)) < self.size or not tokens:
            raise SpecError("codec.symbols must be there and differ")
        wrong = [symbol for symbol in tokens if self._pieces(symbol) != [symbol]]
        if wrong:
            what = "single characters" if not self.separator else "names without blanks"
            raise SpecError(f"codec.symbols must be {what}, got {wrong[0]!r}")
        object.__setattr__(self, "_tokens", tokens)

    @classmethod
    def of(
        cls,
        symbols: Iterable[str],
        *,
        separator: Literal["", " "],
        order: Literal["forward", "reverse"] = "forward",
    ) -> "SymbolCodec":
        """Return the codec of symbols in their order, behind a token that begins and one that ends."""
        return cls((BEGIN, END, *symbols), separator, order, begin=0, end=1)

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.symbols)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of `text` in the order in which the model reads them, int64 `[length]`.

        Raises:
            InputError: If the model was trained without one of the symbols.
        """
        pieces = self._pieces(text)
        unknown = list(dict.fromkeys(piece for piece in pieces if piece not in self._tokens))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5]))
            raise InputError(f"the model was trained without {shown}; remove that, or train with text that has it")
        return self._ordered([self._tokens[piece] for piece in pieces])

    def encode_lossy(self, text: str) -> tuple[NDArray[np.int64], int]:
        """Return the tokens of `text` without the unknown symbols, and how many those were."""
        pieces = self._pieces(text)
        known = [self._tokens[piece] for piece in pieces if piece in self._tokens]
        return self._ordered(known), len(pieces) - len(known)

    def decode(self, token: int, held: bytes) -> tuple[str, bytes]:
        """Return the symbol of `token`, after a separator if it is not the first, and what says so to the next."""
        if token in (self.begin, self.end):
            return "", b""
        return (self.separator if held else "") + self.symbols[token], _WRITTEN if self.separator else b""

    def text(self, tokens: Iterable[int]) -> str:
        """Return the symbols of tokens in their order, with separators; those that begin and end give nothing."""
        return self.separator.join(self.symbols[token] for token in tokens if token not in (self.begin, self.end))

    def _pieces(self, text: str) -> list[str]:
        return text.split() if self.separator else list(text)

    def _ordered(self, tokens: list[int]) -> NDArray[np.int64]:
        return np.array(tokens if self.order == "forward" else tokens[::-1], np.int64)
