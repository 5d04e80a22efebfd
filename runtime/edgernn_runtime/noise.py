"""Counter-based noise: the same uniforms at step t of seed s on every machine, batch and engine.

Philox4x32-10 after Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
The key is the seed, the counter is the step and the lane; `docs/format.md` fixes the layout to the bit.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError

SEED_LIMIT: Final = 2**64

_AHEAD: Final = 1024
"""Uniforms of lane 0 that are made at once: in numpy, so many take hardly longer than a quarter of them."""

_AHEAD_IN_LANES: Final = 256

_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Return the Philox4x32-10 block of every counter.

    Args:
        counter: uint32 `[n, 4]`, least significant word first.
        key: Two 32-bit words, least significant first.

    Returns:
        Four random words for each counter, uint32 `[n, 4]`.
    """
    words = counter.astype(np.uint64).T
    first, second = key
    for _ in range(_ROUNDS):
        left, right = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
        words = np.stack(
            (
                (right >> _HALF) ^ words[1] ^ np.uint64(first),
                right & _LOW,
                (left >> _HALF) ^ words[3] ^ np.uint64(second),
                left & _LOW,
            )
        )
        first, second = (first + _WEYL[0]) & 0xFFFFFFFF, (second + _WEYL[1]) & 0xFFFFFFFF
    return words.T.astype(np.uint32)


def uniforms(seed: int, start: int, count: int, *, lane: int = 0) -> NDArray[np.float32]:
    """Return the uniforms of steps `start` to `start + count - 1` in one lane.

    Args:
        seed: 0 to 2**64 - 1.
        start: The first step.
        count: How many steps.
        lane: Which of a step's uniforms; four lanes share one Philox block.

    Returns:
        float32 `[count]`, each a multiple of 2**-24 in [0, 1).
    """
    steps = np.arange(start, start + count, dtype=np.uint64)
    counter = np.zeros((count, 4), np.uint32)
    counter[:, 0] = steps & _LOW
    counter[:, 1] = steps >> _HALF
    counter[:, 2] = lane // 4
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))[:, lane % 4]
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def lane_uniforms(seed: int, start: int, steps: int, lanes: int) -> NDArray[np.float32]:
    """Return the uniforms of steps from `start` on in lanes 0 to `lanes - 1`, float32 `[steps, lanes]`.

    Each is as `uniforms` gives it.
    """
    blocks = -(-lanes // 4)
    counter = np.zeros((steps, blocks, 4), np.uint32)
    numbers = np.arange(start, start + steps, dtype=np.uint64)[:, None]
    counter[..., 0], counter[..., 1] = numbers & _LOW, numbers >> _HALF
    counter[..., 2] = np.arange(blocks)
    words = philox(counter.reshape(-1, 4), (seed & 0xFFFFFFFF, seed >> 32)).reshape(steps, -1)[:, :lanes]
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


class Noise:
    """The noise of one seed, made some steps ahead. Mutable, and equal whatever was asked before.

    Attributes:
        seed: 0 to 2**64 - 1.

    Raises:
        InputError: If the seed is out of range.
    """

    __slots__ = ("_block", "_first", "_rows", "_start", "seed")

    def __init__(self, seed: int) -> None:
        """Make the noise of a seed."""
        if not 0 <= seed < SEED_LIMIT:
            raise InputError(f"seed must lie in 0..2**64 - 1, got {seed}")
        self.seed = seed
        self._block: list[float] = []
        self._start = 0
        self._rows = np.zeros((0, 0), np.float32)
        self._first = 0

    def uniform(self, step: int) -> float:
        """Return the uniform of a step in lane 0."""
        offset = step - self._start
        if not 0 <= offset < len(self._block):
            self._block = uniforms(self.seed, step, _AHEAD).tolist()
            self._start, offset = step, 0
        return self._block[offset]

    def uniforms(self, step: int, count: int) -> NDArray[np.float32]:
        """Return the uniforms of a step in lanes 0 to `count - 1`, float32 `[count]`, not to be written to."""
        offset = step - self._first
        if not 0 <= offset < len(self._rows) or count > self._rows.shape[1]:
            ahead = max(1, min(_AHEAD_IN_LANES, SEED_LIMIT - step) * 4 // max(count, 4))
            self._rows = lane_uniforms(self.seed, step, ahead, count)
            self._first, offset = step, 0
        return self._rows[offset, :count]
