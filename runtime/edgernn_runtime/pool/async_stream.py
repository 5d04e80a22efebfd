"""The consumers of an asyncio pool: streams to be read, texts to be read, and streams to be fed."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, SupportsIndex, TypeVar

from edgernn_runtime.codecs import TextCodec
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import StreamError
from edgernn_runtime.pool.lane import Lane

if TYPE_CHECKING:
    from edgernn_runtime.pool.scheduler import Scheduler

Value = TypeVar("Value")


class Consumer(Generic[Value]):
    """One stream of an `AsyncPool`. It is closed at the end of an `async with`, by `aclose`, or when it is dropped."""

    __slots__ = ("_lane", "_scheduler")

    def __init__(self, scheduler: "Scheduler", lane: Lane[Value]) -> None:
        """Consume what a scheduler puts into a lane."""
        self._scheduler = scheduler
        self._lane = lane

    def __del__(self) -> None:
        """Let the pool close the stream before its next step."""
        self._scheduler.abandon(self._lane)

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream; what was made and not read is lost."""
        self._lane.made.clear()
        self._scheduler.end(self._lane)

    def set_input(self, name: str, value: Array) -> None:
        """Set an input beside the main one, as `PoolStream.set_input` does.

        Raises:
            InputError: If the model has no such input, or the value does not fit.
            StreamError: If the stream is closed.
        """
        self._lane.stream.set_input(name, value)

    async def _wait(self) -> Value:
        """Return what the scheduler makes next; whoever stops waiting closes the stream."""
        waiter: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._lane.waiter = waiter
        try:
            return await waiter
        except BaseException:
            self._scheduler.end(self._lane)
            raise


class AsyncStream(Consumer[Value]):
    """What one stream makes, to be read by `async for`; `AsyncPool.stream` and `AsyncPool.frames` make one.

    The stream takes its first step when it is first read. Whoever stops reading, by leaving the loop, by an exception
    or because its task is cancelled, closes it.
    """

    __slots__ = ()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Value:
        """Return the next token or frame.

        Raises:
            StopAsyncIteration: If there is none.
            InputError: If nothing is pending to generate from, or the model's output is not finite.
            EngineError: If the engine failed.
            StreamError: If another task is waiting for it.
        """
        lane = self._lane
        if lane.made:
            value = lane.made.popleft()
            self._scheduler.was_read(lane)
            return value
        if lane.over:
            error, lane.error = lane.error, None
            raise StopAsyncIteration if error is None else error
        if lane.waiter is not None:
            raise StreamError("another task is waiting for the stream; it has one reader")
        self._scheduler.start(lane)
        return await self._wait()


class AsyncText:
    """The text that one stream makes, to be read by `async for` in pieces that never break a character."""

    __slots__ = ("_codec", "_held", "_tokens")

    def __init__(self, tokens: AsyncStream[int], codec: TextCodec, held: bytes) -> None:
        """Decode what a stream makes, after the bytes `held` of an unfinished character."""
        self._tokens = tokens
        self._codec = codec
        self._held = held

    async def __aenter__(self) -> Self:
        """Return the text itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self._tokens.aclose()

    def __aiter__(self) -> Self:
        """Return the text itself."""
        return self

    async def __anext__(self) -> str:
        """Return the next piece, a character or more; errors as of `AsyncStream`."""
        text = ""
        while not text:
            text, self._held = self._codec.decode(await anext(self._tokens), self._held)
        return text

    async def aclose(self) -> None:
        """Close the stream."""
        await self._tokens.aclose()


class Listener(Consumer[Array]):
    """A stream that is fed, such as a voice detector's; `AsyncPool.listen` makes one."""

    __slots__ = ()

    async def feed(self, value: SupportsIndex | Array) -> Array:
        """Take one step with a given value, together with others that are fed, and return the main output.

        Args:
            value: A token for a token model; for others a frame of the main input's dtype and of its shape without
                the batch.

        Returns:
            The main output without the batch.

        Raises:
            InputError: If the model cannot take the value; the stream stays open then.
            EngineError: If the engine failed; the stream is then closed.
            StreamError: If the stream is closed, or another task feeds it.
        """
        lane = self._lane
        if lane.over:
            raise StreamError("the stream is closed; open another one") from lane.error
        if lane.waiter is not None:
            raise StreamError("another task feeds the stream; it takes one value at a time")
        self._scheduler.give(lane, value)
        return await self._wait()
