"""StreamPool: many streams in one batched step."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import NATIVE, Array, Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.pool.failure import NotFiniteError
from edgernn_runtime.pool.pool_stream import PoolStream
from edgernn_runtime.pool.streams import Streams
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import State


class StreamPool:
    """Many streams of one model that step together. Mutable, and for one thread at a time; `Model.pool` makes one.

    A call while another one is under way, of a second thread or from within, raises a `StreamError` and changes
    nothing. Streams join, leave, reset and fork between any two steps, and no stream feels another.
    """

    def __init__(self, model: Engine, *, capacity: int = 8, limit: int | None = None) -> None:
        """Make a pool without streams.

        Args:
            model: The model that all streams have in common.
            capacity: How many streams there is room for at first; the room doubles when it is needed.
            limit: How many streams there may be at most; None for as many as fit in memory.

        Raises:
            InputError: If either is not positive.
        """
        if capacity < 1 or (limit is not None and limit < 1):
            raise InputError(f"capacity and limit must be positive, got {capacity} and {limit}")
        room = capacity if limit is None else min(capacity, limit)
        spec = model.spec
        paired = spec.precision != "float32" and spec.batch != 1 and NATIVE not in model.providers
        self._streams = Streams(spec, model.model_id, model.executor, capacity=room, limit=limit, paired=paired)

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every stream."""
        self.close()

    def __len__(self) -> int:
        """Return how many streams are open."""
        return int(self._streams.slots.live.sum())

    @property
    def spec(self) -> Spec:
        """The Spec of the model."""
        return self._streams.spec

    @property
    def capacity(self) -> int:
        """How many streams there is room for before the room doubles."""
        return self._streams.capacity

    @property
    def limit(self) -> int | None:
        """How many streams there may be at most; None for no limit."""
        return self._streams.limit

    @property
    def streams(self) -> tuple[PoolStream, ...]:
        """The open streams, in no particular order."""
        return tuple(member for member in self._streams.members if member is not None)

    def open(
        self,
        prompt: str | Sequence[int] | Array | None = None,
        *,
        seed: int = 0,
        sampler: Sampler = GREEDY,
        state: State | None = None,
    ) -> PoolStream:
        """Return a new stream, which the next step takes along.

        Args:
            prompt: Text, tokens or frames as `PoolStream.prefill` takes them; None or empty to begin with the model's
                start token.
            seed: The seed of the noise, 0 to 2**64 - 1.
            sampler: How tokens are chosen.
            state: A snapshot to continue from, of this pool or of a `Stream`; its own seed and sampler are then used.

        Raises:
            InputError: If the model cannot take the prompt, or the seed is out of range, or the sampler allows tokens
                that are not in the vocabulary.
            StateError: If the state does not fit the model.
            PoolFullError: If there are as many streams as the limit allows.
            StreamError: If another call is under way.
        """
        streams = self._streams
        with streams.alone:
            fed = () if prompt is None else streams.feeding.prompt(prompt)
            return PoolStream(streams, streams.open(seed=seed, sampler=sampler, state=state, prompt=fed))

    def step(self) -> list[tuple[PoolStream, int | NDArray[np.float32]]]:
        """Step every stream that can go on and is not paused, and return what each one chose.

        A stream can go on if something is pending in it, or it is new and the model has a start token. One that is
        still in its prompt is fed the next value of that, and is not in the list.

        Returns:
            Pairs of a stream and its next token, or its next frame float32 `[...]`; in no particular order, and none
            if no stream can go on.

        Raises:
            NotFiniteError: If the output of some streams is not finite. They are closed; all the others have taken
                the step, and the error's `results` are theirs.
            EngineError: If the engine fails; no stream has taken the step then.
            StreamError: If another call is under way.
        """
        alone = self._streams.alone
        alone.enter()
        try:
            chosen, failed = self._streams.step()
            if failed:
                for stream in failed:
                    stream.leave()
                raise NotFiniteError(failed, chosen)
            return chosen
        finally:
            alone.leave()

    def feed(self, values: Mapping[PoolStream, SupportsIndex | Array]) -> list[tuple[PoolStream, Array]]:
        """Take one step of some streams with values that are given, and return the model's main outputs.

        What is pending in a stream is fed first, as `Stream.step` does. Paused streams are not passed over here.

        Args:
            values: For each stream a token for a token model; for others a frame of the main input's dtype and of its
                shape without the batch.

        Returns:
            Pairs of a stream and its output without the batch, e.g. logits float32 `[vocabulary]`, in the order
            of `values`. The outputs are the caller's own.

        Raises:
            InputError: If the model cannot take one of the values, or a stream has ended; none has been taken then.
            EngineError: If the engine fails; none of the values has been taken then.
            StreamError: If a stream is closed or another pool's, or another call is under way.
        """
        streams = self._streams
        with streams.alone:
            slots = [stream.number(streams) for stream in values]
            fed = [streams.feeding.value(value) for value in values.values()]
            if not slots:
                return []
            order, outputs = streams.feed(np.array(slots), fed)
            rows = {slot: row for row, slot in enumerate(order.tolist())}
            return [(stream, outputs[rows[slot], ...]) for stream, slot in zip(values, slots, strict=True)]

    def close(self) -> None:
        """Close every stream; the pool can be used on."""
        with self._streams.alone:
            for stream in self.streams:
                stream.leave()
