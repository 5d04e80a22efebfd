"""Lane: what lies between the scheduler of an asyncio pool and the consumer of one stream."""

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgernn_runtime.engine import Array
from edgernn_runtime.pool.pool_stream import PoolStream

Value = TypeVar("Value")


@dataclass(slots=True, eq=False)
class Lane(Generic[Value]):
    """The values that one stream made and its consumer has not read. Mutable.

    Attributes:
        stream: The stream.
        left: How many values it may still make; None for any number.
        stop: Tokens that end it.
        made: Values that nobody has read.
        waiter: What the consumer waits on; None if it does not wait.
        given: What the consumer gave to be fed; None if it gave nothing.
        running: Whether the scheduler steps the stream.
        over: Whether nothing more comes.
        error: What the consumer gets after all that was made; None if it simply ends.
    """

    stream: PoolStream
    left: int | None = None
    stop: Collection[int] = ()
    made: deque[Value] = field(default_factory=deque)
    waiter: asyncio.Future[Value] | None = None
    given: int | Array | None = None
    running: bool = False
    over: bool = False
    error: BaseException | None = None

    def deliver(self, value: Value) -> None:
        """Give a value to the consumer, or keep it until it comes for it."""
        waiter = self.waiter
        if waiter is None or waiter.done():
            self.made.append(value)
        else:
            waiter.set_result(value)
            self.waiter = None

    def end(self, error: BaseException | None = None) -> None:
        """Let nothing more come, and say so to a consumer that waits."""
        self.over, self.error = True, error
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(StopAsyncIteration() if error is None else error)
