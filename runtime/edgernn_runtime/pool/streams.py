"""Streams: the live streams of a pool, and their steps. What a `StreamPool` and its `PoolStream`s have in common."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.alone import Alone
from edgernn_runtime.distributions import UNIFORMS, draw
from edgernn_runtime.engine import Array, Executor
from edgernn_runtime.errors import InputError, PoolFullError, StateError
from edgernn_runtime.feeding import ENDED, Feeding
from edgernn_runtime.graph_noise import GraphNoise
from edgernn_runtime.noise import SEED_LIMIT
from edgernn_runtime.pool.choosing import NONE, Chooser
from edgernn_runtime.pool.noise_ahead import NoiseAhead
from edgernn_runtime.pool.pace import Pace
from edgernn_runtime.pool.recent import Recent
from edgernn_runtime.pool.rows import Rows
from edgernn_runtime.pool.slots import Slots
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.spec import Spec, flush_input
from edgernn_runtime.state import State

if TYPE_CHECKING:
    from edgernn_runtime.pool.pool_stream import PoolStream

    Result = tuple[PoolStream, int | NDArray[np.float32]]

Indices = NDArray[np.int64]


class Streams:
    """The live streams, each known by its slot. Mutable; whoever calls anything here is inside `alone`.

    Attributes:
        alone: What keeps a second thread out.
        spec: The model's Spec.
        feeding: What checks values and prompts.
        members: The streams by slot, None where it is free.
        capacity: How many there is room for before the next growth.
    """

    def __init__(
        self,
        spec: Spec,
        model_id: str,
        executor: Callable[[int], Executor],
        *,
        capacity: int,
        limit: int | None,
        paired: bool,
    ) -> None:
        """Make room for `capacity` streams, and for up to `limit` when they are opened; `paired` is as in `Rows`."""
        self.alone = Alone(_BUSY, self.settle)
        self.spec = spec
        self.feeding = Feeding(spec)
        self.capacity, self.limit = capacity, limit
        self.members: list[PoolStream | None] = [None] * capacity
        self.slots = Slots(spec, self.feeding, capacity)
        self._model_id = model_id
        self._rows = Rows(spec, executor, capacity, paired=paired)
        self._chooser = Chooser(spec, capacity)
        self._noise = NoiseAhead(capacity)
        self._drawing = GraphNoise(spec) if spec.noise_inputs else None
        self._recent = Recent(capacity)
        self._stepping: list[PoolStream] = []
        self._steady: Indices | None = None
        self._pace: Pace | None = None
        self._version = -1

    # One stream

    def open(self, *, seed: int, sampler: Sampler, state: State | None, prompt: Sequence[int | Array]) -> int:
        """Return the slot of a new stream, after everything about it was checked."""
        self._check_seed(seed)
        self.feeding.check_sampler(sampler)
        if state is not None:
            self._check_state(state)
        slot = self._free_slot()
        self.slots.clear(slot, live=True)
        self._rows.place(slot)
        self._noise.begin(slot, seed)
        self._chooser.set(slot, sampler)
        self._recent.begin(slot, ())
        try:
            if state is not None:
                self._write(slot, state)
            self.prefill(slot, prompt)
        except InputError:  # the state has ended, and nothing can follow
            self.close(slot)
            raise
        return slot

    def close(self, slot: int) -> None:
        """Free a slot."""
        self.slots.clear(slot, live=False)
        self._rows.remove(slot)
        self.members[slot] = None

    def fork(self, slot: int) -> int:
        """Return the slot of a new stream that continues exactly like the one in `slot`, its prompt included."""
        other = self.open(seed=self.seed(slot), sampler=self.sampler(slot), state=None, prompt=())
        slots = self.slots
        self._rows.copy(slot, other)
        self._recent.begin(other, self._recent.of(slot))
        slots.step[other], slots.ended[other], slots.held[other] = slots.step[slot], slots.ended[slot], slots.held[slot]
        if slot in slots.prompts:
            slots.prompts[other] = deque(slots.prompts[slot])
        slots.paused[other] = slots.paused[slot]
        slots.set_pending(other, slots.get_pending(slot))
        return other

    def reset(self, slot: int, seed: int) -> None:
        """Go back to the initial state with a seed; set inputs do not stay, the sampler and a pause do."""
        self._check_seed(seed)
        self.slots.clear(slot, live=True)
        self._rows.reset(slot)
        self._recent.begin(slot, ())
        self._noise.begin(slot, seed)

    def prefill(self, slot: int, prompt: Sequence[int | Array]) -> None:
        """Put a prompt behind what is pending."""
        if not len(prompt):
            return
        if self.slots.ended[slot]:
            raise InputError(ENDED)
        self.slots.held[slot] = b""
        waiting = self.slots.prompts.setdefault(slot, deque())
        waiting.extend(prompt)
        if not self.slots.pending[slot]:
            self.slots.set_pending(slot, waiting.popleft())
        if not waiting:
            del self.slots.prompts[slot]

    def pause(self, slot: int, *, paused: bool) -> None:
        """Let the pool pass a stream over, or take it along again."""
        self.slots.paused[slot] = paused
        self.slots.refresh(slot)

    def seed(self, slot: int) -> int:
        """Return the seed of a stream's noise."""
        return self._noise.seeds[slot]

    def sampler(self, slot: int) -> Sampler:
        """Return the sampler of a stream."""
        return self._chooser.samplers[slot]

    def set_sampler(self, slot: int, sampler: Sampler) -> None:
        """Let a stream's next tokens be chosen by another sampler."""
        self.feeding.check_sampler(sampler)
        self._chooser.set(slot, sampler)

    def set_input(self, slot: int, name: str, value: Array) -> None:
        """Set an input beside the main one."""
        array = self.feeding.side(name, value)
        self._rows.executor.inputs[name][self._rows.row(slot)] = array

    def read(self, slot: int) -> State:
        """Return a stream's snapshot, after the steps that are left of its prompt."""
        while slot in self.slots.prompts and not self.slots.ended[slot]:
            self._run(np.array([slot]))
            self._follow_prompts(np.array([slot]))
        row = self._rows.row(slot)
        pending = self.slots.get_pending(slot)
        return State(
            model_id=self._model_id,
            arrays=self._rows.executor.read_row(row),
            step=int(self.slots.step[slot]),
            seed=self.seed(slot),
            sampler=self.sampler(slot),
            pending=cast("int | NDArray[np.float32] | None", pending),
            held=self.slots.held[slot],
            inputs=tuple(array[row : row + 1] for array in self._rows.sides),
            recent=tuple(self._recent.of(slot)),
        )

    def flush(self, slot: int) -> Array:
        """End a stream's sequence, and return the outputs that still lag behind, `[steps, ...]`."""
        executor, name = self._rows.executor, flush_input(self.spec)
        output = self.spec.main_output
        shape = output.sized(1)[1:]
        if name is None or self.slots.ended[slot]:
            return np.empty((0, *shape), output.dtype)
        executor.inputs[name][self._rows.row(slot)] = 1
        early = max(0, self.spec.delay_steps - int(self.slots.step[slot]))
        outputs = np.empty((self.spec.delay_steps, *shape), output.dtype)
        one = np.array([slot])
        try:
            for i in range(len(outputs)):
                self._run(one, [np.zeros(self.slots.value.shape[1:], self.slots.value.dtype)])
                outputs[i] = executor.outputs[output.name][0]
        finally:
            self.slots.ended[slot] = True
            self.slots.refresh(slot)
        return outputs[early:]

    def write(self, slot: int, state: State) -> None:
        """Continue a stream from a snapshot."""
        self._check_state(state)
        self._write(slot, state)

    # All streams

    def step(self) -> "tuple[list[Result], list[PoolStream]]":
        """Step every stream that is ready, and return what each one chose, and those whose output is not finite."""
        if self._pace is not None:
            chosen, broken = self._pace.step()
            if not broken:
                return chosen, []
            order = self._pace.order
            self.settle()
            return self._deliver(order, chosen, (), broken)
        slots = self.slots.to_step()
        if not slots.size:
            return [], []
        return self._step_tokens(slots) if self.feeding.vocabulary else self._step_frames(slots)

    def feed(self, slots: Indices, values: Sequence[int | Array]) -> tuple[Indices, Array]:
        """Take one step of some streams with given values; return them in the order of rows, and their outputs."""
        if self.slots.ended[slots].any():
            raise InputError(ENDED)
        while (first := slots[self.slots.pending[slots]]).size:
            self._run(first)
            self.slots.drain(first)
            self._follow_prompts(first)
        order = self._run(slots, values)
        self.slots.drain(order)
        return order, np.array(self._rows.executor.outputs[self.spec.main_output.name][: len(order)])

    def _step_tokens(self, slots: Indices) -> "tuple[list[Result], list[PoolStream]]":
        noise: NDArray[np.float32] | None = None
        order, executor, chooser = self._rows.arrange(slots), self._rows.executor, self._chooser
        chooser.arrange(order, self._rows.version, executor.inputs, executor.outputs)
        if chooser.warm:
            noise = self._noise.gather(order, self.slots.step[order], 1)[0]
            chooser.feed(noise)
        self._run(order)
        prompted = self._prompted(order)
        tokens, _ = chooser.choose(noise)
        chooser.choose_alone(tokens, order, noise, recent=self._recent, skip=prompted)
        self.slots.value[order] = tokens
        self.slots.pending[order] = True
        members = self._stepping_members(order)
        chosen: list[Result] = list(zip(members, tokens.tolist(), strict=True))
        broken = np.flatnonzero(tokens == NONE).tolist()
        if slots is self._steady and not (prompted or broken or chooser.rows or self._drawing):
            self._pace = self._begin_pace(order, tokens, members)
        self._steady = slots
        return self._deliver(order, chosen, prompted, broken)

    def _begin_pace(self, order: Indices, tokens: Indices, members: "list[PoolStream]") -> Pace:
        return Pace(
            order,
            tokens,
            members,
            run=self._rows.run,
            executor=self._rows.executor,
            main_input=self.spec.main_input.name,
            chooser=self._chooser,
            noise=self._noise if self._chooser.warm else None,
            first=self.slots.step[order],
            recent=self._recent,
        )

    def settle(self) -> None:
        """Write down where the streams stand that have stepped at a pace; what comes next may change that."""
        pace, self._pace = self._pace, None
        if pace is not None:
            self.slots.step[pace.order] += pace.steps
            self.slots.value[pace.order] = pace.tokens

    def _step_frames(self, slots: Indices) -> "tuple[list[Result], list[PoolStream]]":
        order = self._rows.arrange(slots)
        steps = self.slots.step[order].tolist()
        self._run(order)
        prompted = set(self._prompted(order))
        parameters = cast("NDArray[np.float32]", self._rows.executor.outputs[self.spec.main_output.name][: len(order)])
        finite = cast("NDArray[np.bool_]", np.isfinite(parameters).reshape(len(order), -1).all(axis=1))
        chosen: list[Result] = []
        for row, member in enumerate(self._stepping_members(order)):
            slot = int(order[row])
            frame = np.zeros(self.slots.value.shape[1:], np.float32)
            if finite[row] and row not in prompted:
                frame = self._draw(slot, steps[row], parameters[row, ...])
                self.slots.value[slot] = frame
            chosen.append((member, frame))
        self.slots.pending[order] = True
        return self._deliver(order, chosen, sorted(prompted), np.flatnonzero(~finite).tolist())

    def _draw(self, slot: int, step: int, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        distribution = self.spec.distribution
        noise = self._noise.lanes(slot, step, UNIFORMS[distribution] * self.slots.value[0].size)
        return draw(distribution, parameters, noise, temperature=self.sampler(slot).temperature)

    def _deliver(
        self,
        order: Indices,
        chosen: "list[Result]",
        prompted: Sequence[int],
        broken: Sequence[int],
    ) -> "tuple[list[Result], list[PoolStream]]":
        """Return what was chosen by streams that are past their prompts, and those whose output is not finite."""
        if not prompted and not broken:
            return chosen, []
        self._follow_prompts(order)
        left_out = {*prompted, *broken}
        failed = [chosen[row][0] for row in broken if row not in set(prompted)]
        return [result for row, result in enumerate(chosen) if row not in left_out], failed

    def _run(self, slots: Indices, values: Sequence[int | Array] | None = None) -> Indices:
        """Step some streams, with what is pending in them or with values, and return them in the order of rows.

        Raises:
            EngineError: If the engine fails; nothing has been taken then.
        """
        order, executor = self._rows.arrange(slots), self._rows.executor
        fed = self.slots.value[order]
        if values is not None:
            given = dict(zip(slots.tolist(), values, strict=True))
            for row, slot in enumerate(order.tolist()):
                fed[row] = given[slot]
        executor.inputs[self.spec.main_input.name][: len(order)] = fed
        if self._drawing is not None:
            for row, slot in enumerate(order.tolist()):
                uniforms = self._noise.lanes(slot, int(self.slots.step[slot]), self._drawing.lanes)
                self._drawing.feed(executor.inputs, row, uniforms)
        self._rows.run()
        self.slots.step[order] += 1
        if self.feeding.vocabulary:
            self._recent.add(order, cast("Indices", fed))
        return order

    def _prompted(self, order: Indices) -> list[int]:
        """Return the rows of `order` whose next value is part of a prompt."""
        if not self.slots.prompts:
            return []
        return [row for row, slot in enumerate(order.tolist()) if slot in self.slots.prompts]

    def _follow_prompts(self, order: Indices) -> None:
        """Let the next part of each prompt be pending, in the slots that were stepped."""
        for slot in order.tolist() if self.slots.prompts else ():
            waiting = self.slots.prompts.get(slot)
            if waiting is not None:
                self.slots.set_pending(slot, waiting.popleft())
                if not waiting:
                    del self.slots.prompts[slot]

    def _stepping_members(self, order: Indices) -> "list[PoolStream]":
        if self._version != self._rows.version:
            self._stepping = [cast("PoolStream", self.members[slot]) for slot in order.tolist()]
            self._version = self._rows.version
        return self._stepping

    def _free_slot(self) -> int:
        slot = self.slots.free()
        if slot is not None:
            return slot
        if self.limit is not None and self.capacity >= self.limit:
            raise PoolFullError(f"the pool takes {self.limit} streams, and as many are live; close one first")
        capacity = 2 * self.capacity if self.limit is None else min(2 * self.capacity, self.limit)
        self._rows.grow(capacity)
        self._chooser.grow(capacity)
        self._noise.grow(capacity)
        self._recent.grow(capacity)
        self.slots.grow(capacity)
        self.members += [None] * (capacity - self.capacity)
        slot, self.capacity = self.capacity, capacity
        return slot

    def _write(self, slot: int, state: State) -> None:
        row = self._rows.row(slot)
        self._rows.executor.write_row(row, state.arrays)
        for i, array in enumerate(self._rows.sides):
            array[row] = state.inputs[i][0] if state.inputs else 0
        self.slots.clear(slot, live=True)
        self.slots.step[slot], self.slots.held[slot] = state.step, state.held
        self.slots.ended[slot] = self._is_flushed(row)
        self.slots.set_pending(slot, state.pending)
        self._recent.begin(slot, state.recent)
        self._noise.begin(slot, state.seed)
        self._chooser.set(slot, state.sampler)

    def _is_flushed(self, row: int) -> bool:
        name = flush_input(self.spec)
        return name is not None and bool(self._rows.executor.inputs[name][row].any())

    def _check_state(self, state: State) -> None:
        state.check(self.spec, self._model_id)
        if state.batch != 1:
            raise StateError(f"a stream takes a state of batch 1, got batch {state.batch}")
        self.feeding.check_state(state)

    @staticmethod
    def _check_seed(seed: int) -> None:
        if not 0 <= seed < SEED_LIMIT:
            raise InputError(f"seed must lie in 0..2**64 - 1, got {seed}")


_BUSY = "the pool is in the middle of another call; a pool is for one thread at a time"
