"""Rows: which row of a batched executor each stream of a pool lies in."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array, Executor
from edgernn_runtime.engines.singly import SinglyExecutor
from edgernn_runtime.spec import Spec

Indices = NDArray[np.int64]

_EMPTY: Final = -1


class Rows:
    """The rows of an executor, and the streams in them, each known by the number of its slot. Mutable.

    Those that step next are brought to the first rows, and stay there until others step. Their order among
    themselves does not matter to what they compute. A model of quantized weights steps an even number of rows: ONNX
    Runtime takes another kernel for the last row of an odd batch, so a stream's output would depend on how many step
    with it. The row that fills up belongs to nobody, and starts anew at each step. Compiled code needs none.

    Attributes:
        executor: Whose first rows step.
        order: The slots that step, by their rows, int64 `[stepping]`.
        version: A number that changes with `order`.
    """

    __slots__ = (
        "_asked",
        "_even",
        "_new_executor",
        "_padding",
        "_row_of",
        "_slot_at",
        "_spec",
        "_stale",
        "executor",
        "order",
        "sides",
        "version",
    )

    def __init__(self, spec: Spec, executor: Callable[[int], Executor], capacity: int, *, paired: bool) -> None:
        """Make the rows of a pool of `capacity` streams.

        Args:
            spec: The model's Spec.
            executor: Makes an executor of a number of rows.
            capacity: How many streams there is room for.
            paired: Whether the number of rows that step must be even.
        """
        self._spec = spec
        self._new_executor = executor
        self._even = paired
        self.executor = self._make(capacity)
        self.sides: list[Array] = self._side_inputs()
        self._slot_at: Indices = np.full(self.executor.batch, _EMPTY, np.int64)
        self._row_of: Indices = np.full(capacity, _EMPTY, np.int64)
        self._padding = _EMPTY
        self._stale = True
        self._asked: Indices = np.empty(0, np.int64)
        self.order: Indices = np.empty(0, np.int64)
        self.version = 0

    def place(self, slot: int) -> None:
        """Give a slot a row, at the initial state and with zeros in the inputs beside the main one."""
        row = int(np.flatnonzero(self._slot_at == _EMPTY)[0])
        self._slot_at[row], self._row_of[slot] = slot, row
        self._stale = True
        self.reset(slot)

    def remove(self, slot: int) -> None:
        """Take the row of a slot away."""
        self._slot_at[self._row_of[slot]] = _EMPTY
        self._row_of[slot] = _EMPTY
        self._stale = True

    def reset(self, slot: int) -> None:
        """Put the row of a slot back to the initial state, and its inputs beside the main one to zeros."""
        row = self.row(slot)
        self.executor.reset_row(row)
        for array in self.sides:
            array[row] = 0

    def copy(self, source: int, target: int) -> None:
        """Copy the states and inputs of one slot over those of another."""
        here, there = self.row(source), self.row(target)
        self.executor.move_row(here, there)
        for array in self.sides:
            array[there] = array[here]

    def row(self, slot: int) -> int:
        """Return the row that a slot lies in now."""
        return int(self._row_of[slot])

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` streams; what every stream computes goes on."""
        before, sides = self.executor, self.sides
        executor = self._make(capacity)
        states = [
            np.concatenate([old, new[len(old) :]])
            for old, new in zip(before.read_state(), executor.read_state(), strict=True)
        ]
        executor.write_state(states)
        self.executor = executor
        self.sides = self._side_inputs()
        for old, new in zip(sides, self.sides, strict=True):
            new[: len(old)] = old
        self._slot_at = np.append(self._slot_at, np.full(executor.batch - before.batch, _EMPTY))
        self._row_of = np.append(self._row_of, np.full(capacity - len(self._row_of), _EMPTY))
        self._stale = True

    def arrange(self, slots: Indices) -> Indices:
        """Bring `slots`, one at least, to the first rows, and return them in the order of the rows."""
        if not self._stale and (slots is self._asked or slots is self.order):
            return self.order
        self._asked, count = slots, len(slots)
        if not self._stale and count == len(self.order) and self._row_of[slots].max() < count:
            return self.order
        self._gather(self._row_of[slots], count)
        self._padding = count if self._even and count % 2 else _EMPTY
        if self._padding >= 0:
            self._vacate(count)
            for array in self.executor.inputs.values():
                array[count] = 0
        self.executor.resize(count + (self._padding >= 0))
        self.order = self._slot_at[:count].copy()
        self.version += 1
        self._stale = False
        return self.order

    def run(self) -> None:
        """Step the rows that were arranged last; `EngineError` if the engine fails, and then nothing has changed."""
        if self._padding >= 0:
            self.executor.reset_row(self._padding)
        self.executor.run()

    def _gather(self, rows: Indices, count: int) -> None:
        """Swap the rows that step, and lie behind the first `count`, with those among these that do not."""
        free = np.ones(count, np.bool_)
        free[rows[rows < count]] = False
        for row, hole in zip(rows[rows >= count].tolist(), np.flatnonzero(free).tolist(), strict=True):
            self._swap(row, hole)

    def _vacate(self, row: int) -> None:
        """Move who lies in a row to an empty one behind it."""
        if self._slot_at[row] != _EMPTY:
            empty = np.flatnonzero(self._slot_at == _EMPTY)
            self._swap(row, int(empty[0]))

    def _swap(self, row: int, other: int) -> None:
        """Exchange two rows, the first of which holds a stream."""
        slot, mate = int(self._slot_at[row]), int(self._slot_at[other])
        kept = None if mate == _EMPTY else self.executor.read_row(other)
        kept_sides = [array[other].copy() for array in self.sides]
        self.executor.move_row(row, other)
        for array in self.sides:
            array[other] = array[row]
        if kept is not None:
            self.executor.write_row(row, kept)
            for array, value in zip(self.sides, kept_sides, strict=True):
                array[row] = value
            self._row_of[mate] = row
        self._slot_at[row], self._slot_at[other] = mate, slot
        self._row_of[slot] = other
        self._stale = True

    def _make(self, capacity: int) -> Executor:
        if self._spec.batch == 1:
            return SinglyExecutor(self._spec, lambda: self._new_executor(1), capacity)
        return self._new_executor(capacity + self._even)

    def _side_inputs(self) -> list[Array]:
        return [self.executor.inputs[tensor.name] for tensor in self._spec.side_inputs]
