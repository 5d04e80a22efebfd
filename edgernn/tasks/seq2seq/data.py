"""The sequence-to-sequence task's data: pairs as tokens, in batches of words that are about as long."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.tasks.calibration import even_order
from edgernn.tasks.seq2seq.pairs import Pairs, Symbols
from edgernn.tasks.seq2seq.settings import Seq2SeqSettings
from edgernn.tasks.settings import Json
from edgernn.tasks.share import Share
from edgernn.tasks.task import MODEL, Data, Part
from edgernn_export.recording import Recording
from edgernn_runtime.codecs import SymbolCodec
from edgernn_runtime.codecs.symbols import BEGIN, END
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json

NO_TARGET: Final = -1
"""The target behind the end of a row of symbols."""

CHECKED_WORDS: Final = 500
"""Held-out words that are written out at each validation."""

_RECORDED_STEPS: Final = 4096
_SORTED: Final = 50
"""Batches that are sorted by length together."""

Row = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The tokens of a word, and those of its symbols."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Words and their symbols as tokens.

    Attributes:
        source: The words, int64 `[letters, batch]`, in the order in which they are read.
        lengths: Their letters, int64 `[batch]`.
        fed: What the decoder is fed, int64 `[symbols + 1, batch]`: the token that begins, then the symbols.
        targets: What follows each, int64 `[symbols + 1, batch]`: the symbols, the token that ends, then `NO_TARGET`.
        count: The targets that there are; of a process's share, the mean over the processes.
    """

    source: Tensor
    lengths: Tensor
    fed: Tensor
    targets: Tensor
    count: float

    def part(self, share: Share) -> "Batch":
        """Return one process's words, padded as they are in the whole batch."""
        source, fed, targets = (share.of(each, 1) for each in (self.source, self.fed, self.targets))
        return Batch(source, share.of(self.lengths, 0), fed, targets, self.count / share.ranks)


class Seq2SeqData(Data):
    """Pairs as tokens.

    Attributes:
        source: The codec of words.
        target: The codec of symbols.
        train: The pairs to train on.
        held_out: Those held out; a word with all of its symbols is on one side.
        settings: What the run was told.
    """

    def __init__(self, pairs: Pairs, settings: Seq2SeqSettings) -> None:
        """Split pairs, and find their letters and symbols.

        Raises:
            DataError: If nothing is held out, or a symbol is one of those that begin and end.
        """
        self.settings = settings
        longest = settings.places or max(map(len, pairs.spellings))
        kept = Pairs({word: rows for word, rows in pairs.spellings.items() if len(word) <= longest})
        self.train, self.held_out = kept.split()
        if not self.train.spellings or not self.held_out.spellings:
            raise DataError(f"none of {len(kept.spellings)} words is held out from training; more words are needed")
        symbols = sorted({symbol for _, row in kept.rows for symbol in row})
        if reserved := sorted({BEGIN, END} & set(symbols)):
            raise DataError(f"the symbol {reserved[0]} is what begins or ends a row; it must be called otherwise")
        letters = sorted({letter for word in kept.spellings for letter in word})
        self.source = SymbolCodec(tuple(letters), "", order=settings.order)
        self.target = SymbolCodec.of(symbols, separator=" ")
        self.facts = {
            "source": cast("Json", codec_to_json(self.source)),
            "target": cast("Json", codec_to_json(self.target)),
        }
        self.sha256 = pairs.sha256
        self.summary = (
            f"{len(self.train.spellings):,} words to train on, {len(self.held_out.spellings):,} held out, "
            f"{len(letters)} letters, {len(symbols)} symbols"
        )
        left_out = {
            f"{pairs.dropped:,} entries were left out, as they have more than letters and apostrophes": pairs.dropped,
            f"{len(pairs.spellings) - len(kept.spellings):,} words were left out, as they have more than {longest} "
            "letters (--places)": len(pairs.spellings) - len(kept.spellings),
        }
        self.warnings = tuple(text for text, count in left_out.items() if count)
        self._rows = self.encoded(self.train.rows)
        self.rows: int = min(settings.batch, len(self._rows))
        self._lengths = np.array([(len(target), len(source)) for source, target in self._rows])
        self._epoch = lru_cache(maxsize=2)(self._order)

    def encoded(self, rows: Iterable[tuple[str, Symbols]]) -> list[Row]:
        """Return pairs as tokens."""
        return [(self.source.encode(word), self.target.encode(" ".join(symbols))) for word, symbols in rows]

    def batch(self, step: int) -> Batch:
        """Return this process's share of what a training step takes, a pure function of the step and the seed.

        Each pair comes once an epoch, but for those that fill no batch. Words of a batch are about as long.
        """
        each = max(1, len(self._rows) // self.rows)
        epoch, number = divmod(step, each)
        return self.collated([self._rows[i] for i in self._epoch(epoch)[number]]).part(self.share)

    def held_out_batches(self, size: int) -> list[Batch]:
        """Return all held-out pairs, in batches of about as long ones."""
        rows = sorted(self.encoded(self.held_out.rows), key=lambda row: (len(row[1]), len(row[0])))
        return [self.collated(rows[start : start + size]) for start in range(0, len(rows), size)]

    def checked_words(self) -> list[str]:
        """Return the held-out words that are written out at each validation, the same ones every time."""
        words = list(self.held_out.spellings)
        return [words[i] for i in np.sort(even_order(len(words))[:CHECKED_WORDS])]

    def collated(self, rows: Sequence[Row]) -> Batch:
        """Return pairs of tokens as a batch."""
        lengths = np.array([len(source) for source, _ in rows], np.int64)
        longest = 1 + max(len(target) for _, target in rows)
        source = np.zeros((lengths.max(), len(rows)), np.int64)
        fed = np.zeros((longest, len(rows)), np.int64)
        targets = np.full((longest, len(rows)), NO_TARGET, np.int64)
        for i, (letters, symbols) in enumerate(rows):
            source[: len(letters), i] = letters
            fed[: len(symbols) + 1, i] = self._begun(symbols)
            targets[: len(symbols) + 1, i] = self._ended(symbols)
        return Batch(
            source=torch.from_numpy(source),
            lengths=torch.from_numpy(lengths),
            fed=torch.from_numpy(fed),
            targets=torch.from_numpy(targets),
            count=float((targets != NO_TARGET).sum()),
        )

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        """Return words for the encoder, and their symbols for the decoder; what passes between them models compute."""
        rows = (self.held_out if part == "valid" else self.train).rows
        read: list[NDArray[np.int64]] = []
        written: list[NDArray[np.int64]] = []
        targets: list[NDArray[np.int64]] = []
        steps = 0
        for source, target in self.encoded(rows[i] for i in even_order(len(rows))):
            steps += len(target) + 1
            if written and steps > _RECORDED_STEPS:
                break
            read.append(source)
            written.append(self._begun(target))
            targets.append(self._ended(target))
        return {
            MODEL: Recording({"symbol": np.concatenate(written)}, _starts(written), np.concatenate(targets)),
            "encode": Recording({"symbol": np.concatenate(read)}, _starts(read)),
        }

    def _begun(self, symbols: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self.target.begin, *symbols], np.int64)

    def _ended(self, symbols: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([*symbols, self.target.end], np.int64)

    def _order(self, epoch: int) -> list[NDArray[np.intp]]:
        """Return which pairs each batch of an epoch takes."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        size = self.rows
        shuffled = rng.permutation(len(self._rows))
        ordered = [
            part[np.lexsort(self._lengths[part].T[::-1])]
            for part in np.split(shuffled, range(size * _SORTED, len(shuffled), size * _SORTED))
        ]
        every = np.concatenate(ordered)
        count = max(1, len(every) // size)
        batches = [every[i * size : (i + 1) * size] for i in range(count)]
        return [batches[i] for i in rng.permutation(count)]


def _starts(sequences: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    return np.concatenate([np.arange(len(each)) == 0 for each in sequences])
