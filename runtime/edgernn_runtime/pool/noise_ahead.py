"""NoiseAhead: the uniforms of many streams, made some steps ahead and gathered at once."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.noise import Noise, uniforms

_LEAST: Final = 192
_MOST: Final = 256
_NOWHERE: Final = -1024
"""A first step that no stream's step lies within a block of."""


class NoiseAhead:
    """The noise of every slot. Mutable, and equal whatever was asked before.

    Blocks of neighbouring slots are of different lengths, so that streams that began together do not all need their
    next one at the same step.
    """

    __slots__ = ("_blocks", "_length", "_noise", "_start", "seeds")

    def __init__(self, capacity: int) -> None:
        """Make room for the noise of `capacity` slots."""
        self.seeds = [0] * capacity
        self._blocks: NDArray[np.float32] = np.zeros((capacity, _MOST), np.float32)
        self._start: NDArray[np.int64] = np.full(capacity, _NOWHERE)
        self._length = _lengths(capacity)
        self._noise: dict[int, Noise] = {}

    def grow(self, capacity: int) -> None:
        """Make room for the noise of `capacity` slots, and keep what there is."""
        more = capacity - len(self.seeds)
        self.seeds += [0] * more
        self._blocks = np.concatenate([self._blocks, np.zeros((more, _MOST), np.float32)])
        self._start = np.append(self._start, np.full(more, _NOWHERE))
        self._length = _lengths(capacity)

    def begin(self, slot: int, seed: int) -> None:
        """Let a slot have the noise of a seed."""
        self.seeds[slot] = seed
        self._start[slot] = _NOWHERE
        self._noise[slot] = Noise(seed)

    def lanes(self, slot: int, step: int, count: int) -> NDArray[np.float32]:
        """Return the uniforms of a slot at one step in lanes 0 to `count - 1`, float32 `[count]`."""
        return self._noise[slot].uniforms(step, count)

    def gather(self, slots: NDArray[np.int64], steps: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """Return the uniforms in lane 0 of slots at some steps, multiples of 2**-24 in [0, 1).

        Args:
            slots: The slots.
            steps: The first step of each, int64 `[slots]`.
            count: How many steps, far fewer than a block has.

        Returns:
            float32 `[count, slots]`.
        """
        offsets = steps - self._start[slots]
        late = (offsets < 0) | (offsets > self._length[slots] - count)
        for i in np.flatnonzero(late).tolist():
            slot, step = int(slots[i]), int(steps[i])
            length = int(self._length[slot])
            self._blocks[slot, :length] = uniforms(self.seeds[slot], step, length)
            self._start[slot] = step
            offsets[i] = 0
        gathered: NDArray[np.float32] = self._blocks[slots, offsets + np.arange(count)[:, None]]
        return gathered


def _lengths(capacity: int) -> NDArray[np.int64]:
    return _LEAST + np.arange(capacity) % (_MOST - _LEAST)
