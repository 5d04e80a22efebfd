"""AsyncPool: the streams of a pool as asynchronous iterators."""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.pool.async_stream import AsyncStream, AsyncText, Listener
from edgernn_runtime.pool.lane import Lane
from edgernn_runtime.pool.scheduler import Scheduler
from edgernn_runtime.pool.stream_pool import StreamPool
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.state import State


class AsyncPool:
    """Many streams of one model for the tasks of one event loop, in batched steps. Mutable.

    One task steps all streams that somebody reads, one step at a time in the event loop itself, and lets the other
    tasks run between two steps.
    """

    def __init__(
        self,
        model: Engine | StreamPool,
        *,
        capacity: int = 8,
        limit: int | None = None,
        max_wait_us: float = 0,
        read_ahead: int = 8,
    ) -> None:
        """Make a pool without streams.

        Args:
            model: The model, or a pool of it that nobody else steps; streams opened there are stepped and not read.
            capacity: How many streams of a model there is room for at first.
            limit: How many streams of a model there may be at most; None for as many as fit in memory.
            max_wait_us: How long a stream that could step waits for others, in microseconds; 0 steps at once.
            read_ahead: How many tokens of a stream may lie unread; it pauses then until half of them are read.

        Raises:
            InputError: If a number is out of range.
        """
        if max_wait_us < 0 or read_ahead < 1:
            raise InputError(f"max_wait_us must be 0 or more and read_ahead positive, got {max_wait_us}, {read_ahead}")
        self._pool = model if isinstance(model, StreamPool) else StreamPool(model, capacity=capacity, limit=limit)
        self._scheduler = Scheduler(self._pool, max_wait_us=max_wait_us, read_ahead=read_ahead)

    async def __aenter__(self) -> Self:
        """Return the pool itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pool."""
        await self.aclose()

    def __len__(self) -> int:
        """Return how many streams are open."""
        self._scheduler.sweep()
        return len(self._pool)

    async def aclose(self) -> None:
        """Close every stream and stop; whoever waits for a stream gets a StreamError."""
        await self._scheduler.close()

    def stream(
        self,
        prompt: str | Sequence[int] | None = None,
        *,
        seed: int = 0,
        sampler: Sampler = GREEDY,
        state: State | None = None,
        max_tokens: int | None = None,
        stop: Collection[int] | None = None,
    ) -> AsyncStream[int]:
        """Return a new stream of tokens, to be read by `async for`.

        Args:
            prompt: Text or tokens; None or empty to begin with the model's start token.
            seed: The seed of the noise, 0 to 2**64 - 1.
            sampler: How tokens are chosen.
            state: A snapshot to continue from; its own seed and sampler are then used.
            max_tokens: How many tokens to make at most; None for any number.
            stop: Tokens that end the stream; they are not yielded. None for the one that the model's codec says
                ends it, if it has one.

        Raises:
            InputError: If the model generates no tokens, or cannot take the prompt, the seed, the sampler or the stops.
            StateError: If the state does not fit the model.
            PoolFullError: If there are as many streams as the limit allows.
            StreamError: If the pool is closed.
        """
        if not self._pool.spec.vocabulary:
            raise InputError("the model does not generate tokens; read `frames`, or feed a `listen`")
        stops = self._scheduler.feeding.stop(stop)
        lane: Lane[int] = self._lane(prompt, seed, sampler, state, most=max_tokens)
        lane.stop = stops
        return AsyncStream(self._scheduler, lane)

    def text(
        self,
        prompt: str | Sequence[int] | None = None,
        *,
        seed: int = 0,
        sampler: Sampler = GREEDY,
        state: State | None = None,
        max_tokens: int | None = None,
        stop: Collection[int] | None = None,
    ) -> AsyncText:
        """Return a new stream of text, to be read by `async for` in pieces that never break a character.

        Args:
            prompt: Text or tokens; None or empty to begin with the model's start token.
            seed: The seed of the noise, 0 to 2**64 - 1.
            sampler: How tokens are chosen.
            state: A snapshot to continue from; its own seed and sampler are then used.
            max_tokens: How many tokens to make at most; None for any number.
            stop: Tokens that end the stream, as in `stream`.

        Raises:
            InputError: If the model has no codec of text, or as `stream` does.
            StateError: If the state does not fit the model.
            PoolFullError: If there are as many streams as the limit allows.
            StreamError: If the pool is closed.
        """
        codec = self._pool.spec.text_codec
        if codec is None:
            raise InputError("the model has no codec of text, so its tokens are not text")
        tokens = self.stream(prompt, seed=seed, sampler=sampler, state=state, max_tokens=max_tokens, stop=stop)
        return AsyncText(tokens, codec, b"" if state is None or prompt else state.held)

    def frames(
        self,
        prompt: Array | None = None,
        *,
        seed: int = 0,
        sampler: Sampler = GREEDY,
        state: State | None = None,
        max_frames: int | None = None,
    ) -> AsyncStream[NDArray[np.float32]]:
        """Return a new stream of frames, to be read by `async for`.

        Args:
            prompt: Frames `[frames, ...]`; None to begin with the model's first frame.
            seed: The seed of the noise, 0 to 2**64 - 1.
            sampler: Whose temperature scales the deviation.
            state: A snapshot to continue from; its own seed and sampler are then used.
            max_frames: How many frames to make at most; None for any number.

        Raises:
            InputError: If the model generates no frames, or cannot take the prompt or the seed.
            StateError: If the state does not fit the model.
            PoolFullError: If there are as many streams as the limit allows.
            StreamError: If the pool is closed.
        """
        if self._pool.spec.vocabulary or self._pool.spec.feedback is None:
            raise InputError("the model does not generate frames; read a `stream`, or feed a `listen`")
        lane: Lane[NDArray[np.float32]] = self._lane(prompt, seed, sampler, state, most=max_frames)
        return AsyncStream(self._scheduler, lane)

    def listen(self, *, state: State | None = None) -> Listener:
        """Return a new stream that is fed by `await listener.feed(frame)`.

        Args:
            state: A snapshot to continue from.

        Raises:
            StateError: If the state does not fit the model.
            PoolFullError: If there are as many streams as the limit allows.
            StreamError: If the pool is closed.
        """
        lane: Lane[Array] = self._lane(None, 0, GREEDY, state, most=None)
        return Listener(self._scheduler, lane)

    def _lane(
        self,
        prompt: str | Sequence[int] | Array | None,
        seed: int,
        sampler: Sampler,
        state: State | None,
        *,
        most: int | None,
    ) -> Lane:  # type: ignore[type-arg]  # of what the caller makes
        if most is not None and most < 1:
            raise InputError(f"a stream makes one token or frame at least, got {most}")
        self._scheduler.check_open()
        self._scheduler.sweep()
        lane: Lane = Lane(self._pool.open(prompt, seed=seed, sampler=sampler, state=state), left=most)  # type: ignore[type-arg]
        self._scheduler.add(lane)
        return lane
