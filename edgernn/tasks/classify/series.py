"""Labelled series: sequences of frames, each with a label, and the `.ts` files that hold them.

The format is that of the UEA and UCR archive (Bagnall et al. 2018): lines that begin with `@` describe the
data, and below `@data` each line is one sequence, `1.5,1.2,...:0.3,0.1,...:label`, channel by channel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import DataError

Frames = NDArray[np.float32]
"""One sequence, float32 `[steps, channels]`."""

_NO_LABELS: Final = "a classifier needs sequences with a label each"


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """Sequences of frames, each with a label.

    Attributes:
        sequences: Float32 `[steps, channels]` each, of as many steps as it has.
        labels: The label of each sequence.
    """

    sequences: tuple[Frames, ...]
    labels: tuple[str, ...]

    @property
    def channels(self) -> int:
        """The numbers of a frame."""
        return int(self.sequences[0].shape[1])

    @property
    def steps(self) -> int:
        """The steps of all sequences together."""
        return sum(map(len, self.sequences))

    def at(self, chosen: NDArray[np.intp]) -> "LabelledSeries":
        """Return the sequences of the numbers `chosen` `[n]`."""
        return LabelledSeries(tuple(self.sequences[i] for i in chosen), tuple(self.labels[i] for i in chosen))


def hold_out(series: LabelledSeries, share: float, *, seed: int) -> tuple[LabelledSeries, LabelledSeries]:
    """Return what stays for training, and a share of every label's sequences, one at least, drawn from a seed.

    Raises:
        DataError: If a label has one sequence only.
    """
    rng = np.random.default_rng(seed)
    labels = np.array(series.labels)
    held = np.zeros(labels.size, np.bool_)
    for label in dict.fromkeys(series.labels):
        (members,) = np.nonzero(labels == label)
        if members.size == 1:
            raise DataError(f"the label {label} has one sequence only; one to train on and one to hold out are needed")
        held[rng.permutation(members)[: max(1, round(share * members.size))]] = True
    return series.at(np.nonzero(~held)[0]), series.at(np.nonzero(held)[0])


def read_series(path: Path) -> LabelledSeries:
    """Return the labelled series of a `.ts` file, sequences of equal or of varying length.

    Raises:
        DataError: If it cannot be read, holds no sequences or no labels, or a line is no sequence of finite numbers
            with as many channels as the others.
    """
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} holds no sequences below its line @data")
    sequences: list[Frames] = []
    labels: list[str] = []
    for number, row in rows:
        *channels, label = row.split(":")
        where = f"{path}, line {number}"
        if not channels or not label.strip():
            raise DataError(f"{where} has no label behind its last colon; {_NO_LABELS}")
        frames = _frames(channels, where)
        if sequences and frames.shape[1] != sequences[0].shape[1]:
            raise DataError(f"{where} has {frames.shape[1]} channels, and the first sequence {sequences[0].shape[1]}")
        sequences.append(frames)
        labels.append(label.strip())
    return LabelledSeries(tuple(sequences), tuple(labels))


def _rows(path: Path) -> list[tuple[int, str]]:
    """Return the lines below `@data` with their numbers, from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no .ts file: it is not UTF-8 at offset {error.start}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    starts = [i for i, (_, line) in enumerate(lines) if line.lower() == "@data"]
    if not starts:
        raise DataError(f"{path} is no .ts file: it has no line @data")
    header = dict(line.lower().partition(" ")[::2] for _, line in lines[: starts[0]])
    if header.get("@timestamps", "").startswith("true"):
        raise DataError(f"{path} holds time stamps; give values at equal distances, and @timeStamps false")
    if header.get("@classlabel", "true").startswith("false") or header.get("@targetlabel", "").startswith("true"):
        raise DataError(f"{path} holds no class labels; {_NO_LABELS}")
    return lines[starts[0] + 1 :]


def _frames(channels: list[str], where: str) -> Frames:
    """Return channels of comma-separated numbers as frames."""
    columns: list[Frames] = []
    for channel in channels:
        try:
            with np.errstate(over="ignore"):
                column = np.array(channel.split(","), np.float32)
        except ValueError as error:
            raise DataError(f"{where} holds what is no number: {error}") from error
        if not np.isfinite(column).all():
            raise DataError(f"{where} holds {column[~np.isfinite(column)][0]}; numbers must be finite")
        columns.append(column)
    lengths = sorted({column.size for column in columns})
    if len(lengths) > 1:
        raise DataError(f"{where} has channels of {lengths[0]} and of {lengths[-1]} values; they must be as long")
    return np.stack(columns, axis=1)
