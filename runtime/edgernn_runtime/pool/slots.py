"""Slots: what every stream of a pool is about to do, in arrays."""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array
from edgernn_runtime.feeding import Feeding
from edgernn_runtime.spec import Spec

Flags = NDArray[np.bool_]

_FLAGS: Final = ("live", "pending", "paused", "ended", "ready")


class Slots:
    """One slot for each stream, by which everything about it is found. Mutable.

    Attributes:
        value: What the next step feeds, `[slots, ...]`: what is pending, else the start token or first frame.
        step: Steps taken since the last reset, int64 `[slots]`.
        live: Whether a slot has a stream.
        pending: Whether `value` was given or chosen; a stream that only may start has nothing pending.
        paused: Whether the pool passes it over.
        ended: Whether the sequence was ended, so that no step can follow.
        ready: Whether the next step of the pool takes it along.
        held: Bytes of an unfinished character that the codec holds back.
        prompts: What is left of the prompts, by slot, behind what is pending.
    """

    __slots__ = ("_changed", "_ready", "_start", "_tokens", "held", "prompts", "step", "value", *_FLAGS)

    def __init__(self, spec: Spec, feeding: Feeding, capacity: int) -> None:
        """Make `capacity` slots, all of them free."""
        shape = spec.main_input.sized(1)[1:]
        self.value: Array = np.zeros((capacity, *shape), spec.main_input.dtype)
        self.step: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.live: Flags = np.zeros(capacity, np.bool_)
        self.pending: Flags = np.zeros(capacity, np.bool_)
        self.paused: Flags = np.zeros(capacity, np.bool_)
        self.ended: Flags = np.zeros(capacity, np.bool_)
        self.ready: Flags = np.zeros(capacity, np.bool_)
        self.held = [b""] * capacity
        self.prompts: dict[int, deque[int | Array]] = {}
        self._start = None if spec.feedback is None or spec.feedback.start is None else feeding.start(0)
        self._tokens = feeding.vocabulary > 0
        self._ready: NDArray[np.int64] = np.empty(0, np.int64)
        self._changed = True

    def __len__(self) -> int:
        """Return the number of slots, free ones included."""
        return len(self.step)

    def grow(self, capacity: int) -> None:
        """Make `capacity` slots of what there is."""
        more = capacity - len(self)
        self.value = np.concatenate([self.value, np.zeros((more, *self.value.shape[1:]), self.value.dtype)])
        self.step = np.append(self.step, np.zeros(more, np.int64))
        for name in _FLAGS:
            setattr(self, name, np.append(getattr(self, name), np.zeros(more, np.bool_)))
        self.held += [b""] * more

    def free(self) -> int | None:
        """Return a free slot; None if all are taken."""
        free = np.flatnonzero(~self.live)
        return int(free[0]) if free.size else None

    def clear(self, slot: int, *, live: bool) -> None:
        """Let a slot be as at step 0, and a stream's or free."""
        self.live[slot] = live
        self.pending[slot] = self.ended[slot] = False
        self.paused[slot] &= live
        self.step[slot] = 0
        self.held[slot] = b""
        self.prompts.pop(slot, None)
        self.refresh(slot)

    def set_pending(self, slot: int, value: int | Array | None) -> None:
        """Let a value be what is pending; None for nothing."""
        self.pending[slot] = value is not None
        if value is not None:
            self.value[slot] = value
        self.refresh(slot)

    def get_pending(self, slot: int) -> int | Array | None:
        """Return what is pending: a token, or a copy of a frame; None for nothing."""
        if not self.pending[slot]:
            return None
        return int(self.value[slot]) if self._tokens else np.array(self.value[slot])

    def refresh(self, slot: int) -> None:
        """Work out again whether the next step of the pool takes a slot along."""
        can_start = self._start is not None and self.step[slot] == 0
        if self._start is not None and self.step[slot] == 0 and not self.pending[slot]:
            self.value[slot] = self._start
        ready = self.live[slot] and not self.paused[slot] and not self.ended[slot]
        self.ready[slot] = ready and (self.pending[slot] or can_start)
        self._changed = True

    def drain(self, slots: NDArray[np.int64]) -> None:
        """Note that slots were fed, and that nothing is pending in them."""
        self.pending[slots] = False
        self.ready[slots] = False
        self._changed = True

    def to_step(self) -> NDArray[np.int64]:
        """Return the slots that the next step of the pool takes along; the same array while they stay the same."""
        if self._changed:
            self._ready = np.flatnonzero(self.ready)
            self._changed = False
        return self._ready
