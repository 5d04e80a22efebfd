"""Calibration: which of its training data a task gives to quantization, spread evenly over all of them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

CALIBRATION_STEPS: Final = 16_384
"""The most steps of training data that a run keeps to calibrate on."""

_SPAN: Final = 1_024
_GOLDEN: Final = (5**0.5 - 1) / 2


def even_order(count: int) -> NDArray[np.intp]:
    """Return the numbers 0 to `count - 1` in an order of which every beginning is spread evenly over them.

    They are the ranks of the multiples of the golden ratio, modulo 1.
    """
    return np.argsort(np.argsort(np.arange(count) * _GOLDEN % 1))


def even_spans(steps: int, *, warm: int = 0) -> list[slice]:
    """Return spans of a sequence, `CALIBRATION_STEPS` together: all of it, or where it is longer 16 of 1,024 steps.

    They do not overlap, and each beginning of the list is spread evenly over the sequence.

    Args:
        steps: The steps of the sequence.
        warm: Steps that only fill the state; spans of less than twice as many are made longer, and fewer.
    """
    if steps <= CALIBRATION_STEPS:
        return [slice(0, steps)]
    size = min(CALIBRATION_STEPS, max(_SPAN, 2 * warm))
    count = CALIBRATION_STEPS // size
    starts = np.linspace(0, steps - size, count).astype(int)[even_order(count)]
    return [slice(start, start + size) for start in starts.tolist()]


def even_sequences(lengths: Sequence[int], kinds: Sequence[int] | NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the numbers of whole sequences, evenly of every kind, that have at most `CALIBRATION_STEPS` steps.

    First comes one of each kind. A sequence that is longer by itself counts as `CALIBRATION_STEPS` steps, to be cut
    to them.

    Args:
        lengths: The steps of each sequence.
        kinds: The kind of each, such as its class.
    """
    sorted_kinds = np.argsort(kinds, kind="stable")
    mixed = sorted_kinds[even_order(len(sorted_kinds))]
    firsts = np.sort(np.unique(np.asarray(kinds)[mixed], return_index=True)[1])
    chosen, left = [], CALIBRATION_STEPS
    for number in [*mixed[firsts].tolist(), *np.delete(mixed, firsts).tolist()]:
        steps = min(lengths[number], CALIBRATION_STEPS)
        if steps <= left:
            chosen.append(number)
            left -= steps
    return np.array(chosen, np.intp)
