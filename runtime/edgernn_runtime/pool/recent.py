"""Recent: the last tokens of many streams, which their repetition penalties look at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.sampling import REMEMBERED

Indices = NDArray[np.int64]


class Recent:
    """The last 64 tokens that each slot was fed. Mutable.

    They lie in a ring by the number of the token. What the same slots were fed in the last steps is put there only
    when somebody asks.
    """

    __slots__ = ("_count", "_fed", "_ring", "_slots")

    def __init__(self, capacity: int) -> None:
        """Make room for `capacity` slots, all of them empty."""
        self._ring: Indices = np.zeros((capacity, REMEMBERED), np.int64)
        self._count: Indices = np.zeros(capacity, np.int64)
        self._slots: Indices = np.empty(0, np.int64)
        self._fed: list[Indices] = []

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots."""
        more = capacity - len(self._count)
        self._ring = np.concatenate([self._ring, np.zeros((more, REMEMBERED), np.int64)])
        self._count = np.append(self._count, np.zeros(more, np.int64))

    def add(self, slots: Indices, tokens: Indices) -> None:
        """Remember the token that each slot was fed; both arrays are kept."""
        if slots is not self._slots or len(self._fed) == REMEMBERED:
            self._put_away()
            self._slots = slots
        self._fed.append(tokens)

    def begin(self, slot: int, tokens: Sequence[int]) -> None:
        """Let a slot remember these tokens and no others."""
        self._put_away()
        last = tokens[-REMEMBERED:]
        self._ring[slot, : len(last)] = last
        self._count[slot] = len(last)

    def of(self, slot: int) -> list[int]:
        """Return the last tokens of a slot, the oldest first."""
        self._put_away()
        count = int(self._count[slot])
        if count <= REMEMBERED:
            return [int(token) for token in self._ring[slot, :count]]
        return [int(token) for token in np.roll(self._ring[slot], -(count % REMEMBERED))]

    def _put_away(self) -> None:
        if not self._fed:
            return
        count = self._count[self._slots]
        numbers = count + np.arange(len(self._fed))[:, None]  # [steps, slots]
        self._ring[self._slots, numbers % REMEMBERED] = self._fed
        self._count[self._slots] = count + len(self._fed)
        self._fed = []
