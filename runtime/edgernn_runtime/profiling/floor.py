"""The read floor: the time to read as many bytes as one step reads."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

_FLOOR_READS: Final = 5


class Floor:
    """Reads as many bytes as a step's weights have, and remembers the fastest reader. Mutable."""

    def __init__(self, size: int) -> None:
        """Make a buffer of `size` bytes, at least one page."""
        words = max(size, 4096) // 8
        content = np.random.default_rng(0).integers(0, 2**31, words, dtype=np.uint64)
        floats = np.random.default_rng(0).random(words * 2, np.float32)
        self._readers: Mapping[str, Callable[[], object]] = {
            "uint64 sum": lambda: np.add.reduce(content),
            "uint64 max": lambda: np.max(content),
            "int8 max": lambda: np.max(content.view(np.int8)),
            "float32 sum": lambda: np.add.reduce(floats),
            "float32 max": lambda: np.max(floats),
            "float32 dot": lambda: np.einsum("i,i->", floats, floats),
        }
        self._taken: dict[str, list[int]] = {name: [] for name in self._readers}

    def read(self) -> None:
        """Time every reader, each on a buffer that was read once just before."""
        for name, reader in self._readers.items():
            reader()
            for _ in range(_FLOOR_READS):
                before = time.perf_counter_ns()
                reader()
                self._taken[name].append(time.perf_counter_ns() - before)

    @property
    def microseconds(self) -> float:
        """The median time of the fastest reader."""
        return min(float(np.median(taken)) for taken in self._taken.values()) / 1e3
