"""Scheduler: the task that steps an asyncio pool whenever somebody waits for it."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final, SupportsIndex

import numpy as np

from edgernn_runtime.engine import Array
from edgernn_runtime.errors import EdgeRNNError, InputError, StreamError
from edgernn_runtime.feeding import ENDED, Feeding
from edgernn_runtime.pool.failure import NotFiniteError
from edgernn_runtime.pool.lane import Lane
from edgernn_runtime.pool.pool_stream import PoolStream
from edgernn_runtime.pool.stream_pool import StreamPool

_COARSE: Final = 0.002
"""Seconds that a timer of the event loop may come late; the rest of a wait is spent letting other tasks run."""

AnyLane = Lane[Any]


class Scheduler:
    """Steps the streams whose consumers want more, one batched step at a time. Mutable, and of one event loop.

    It sleeps while nobody wants anything.
    """

    def __init__(self, pool: StreamPool, *, max_wait_us: float, read_ahead: int) -> None:
        """Prepare to step the streams of a pool.

        Args:
            pool: The pool; nobody else steps it.
            max_wait_us: How long a stream that could step waits for others, in microseconds.
            read_ahead: How many values of a stream may lie unread before it pauses.
        """
        self._pool = pool
        self.feeding = Feeding(pool.spec)
        self._max_wait = max_wait_us / 1e6
        self._read_ahead = read_ahead
        self._lanes: dict[PoolStream, AnyLane] = {}
        self._running: set[AnyLane] = set()
        self._given: dict[PoolStream, AnyLane] = {}
        self._leaving: list[AnyLane] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, lane: AnyLane) -> None:
        """Take a stream along, at rest."""
        lane.stream.pause()
        self._lanes[lane.stream] = lane

    def start(self, lane: AnyLane) -> None:
        """Step a stream from now on.

        Raises:
            InputError: If nothing is pending to generate from.
            StreamError: If the pool is closed.
        """
        if lane.running or lane.over:
            return
        lane.stream.resume()
        if not lane.stream.ready:
            lane.stream.pause()
            raise InputError("nothing is pending to generate from; open the stream with a prompt")
        lane.running = True
        self._running.add(lane)
        self._wake()

    def was_read(self, lane: AnyLane) -> None:
        """Step a stream again whose consumer has read on."""
        if not lane.running and len(lane.made) <= self._read_ahead // 2:
            self.start(lane)

    def give(self, lane: AnyLane, value: SupportsIndex | Array) -> None:
        """Feed a value to a stream in the next step.

        Raises:
            InputError: If the model cannot take it, or the stream has ended.
        """
        if lane.stream.ended:
            raise InputError(ENDED)
        checked = self.feeding.value(value)
        lane.given = checked if isinstance(checked, int) else np.array(checked)
        self._given[lane.stream] = lane
        self._wake()

    def end(self, lane: AnyLane, error: BaseException | None = None) -> None:
        """Close a stream, and tell its consumer."""
        if self._lanes.pop(lane.stream, None) is None:
            return
        self._running.discard(lane)
        self._given.pop(lane.stream, None)
        lane.running = False
        lane.stream.close()
        lane.end(error)

    def abandon(self, lane: AnyLane) -> None:
        """Close a stream before the next step; for a consumer that is collected as garbage, whatever goes on."""
        self._leaving.append(lane)

    def check_open(self) -> None:
        """Raise a StreamError if the pool is closed."""
        if self._closed:
            raise StreamError("the pool is closed; make another one")

    def sweep(self) -> None:
        """Close the streams whose consumers have left."""
        while self._leaving:
            self.end(self._leaving.pop())

    async def close(self) -> None:
        """Stop, and end every stream; consumers that wait get a StreamError."""
        self._closed = True
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:
            self.sweep()
            self._end_all(StreamError("the pool was closed"))

    def _wake(self) -> None:
        self.check_open()
        if self._task is not None and self._task.done():
            raise StreamError("the pool's event loop has ended, or its task was cancelled; make another pool")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._stopped)
        self._wanted.set()

    async def _run(self) -> None:
        """Step as long as anybody wants anything, and sleep until then."""
        while True:
            self.sweep()
            if not self._running and not self._given:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            if self._max_wait:
                await self._gather()
                self.sweep()
            self._step()
            await asyncio.sleep(0)

    async def _gather(self) -> None:
        """Wait for streams that do not want to step yet, but not for long."""
        deadline = time.monotonic() + self._max_wait
        while len(self._running) + len(self._given) < len(self._lanes):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if left <= _COARSE:
                await asyncio.sleep(0)
                continue
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left - _COARSE):
                    await self._wanted.wait()

    def _step(self) -> None:
        """Take one batched step of all that generate, and one of all that were given something."""
        if self._running:
            try:
                self._deliver(self._pool.step())
            except NotFiniteError as error:
                for lane in [self._lanes[stream] for stream in error.streams if stream in self._lanes]:
                    self.end(lane, InputError("the model's output is not finite; the stream is closed"))
                self._deliver(error.results)
            except EdgeRNNError as error:
                for lane in list(self._running):
                    self.end(lane, _copy(error))
        if self._given:
            given, self._given = self._given, {}
            values = {stream: lane.given for stream, lane in given.items() if lane.given is not None}
            try:
                for stream, output in self._pool.feed(values):
                    given[stream].deliver(output)
            except EdgeRNNError as error:
                for lane in given.values():
                    self.end(lane, _copy(error))

    def _deliver(self, results: list[tuple[PoolStream, Any]]) -> None:
        lanes, most = self._lanes, self._read_ahead
        for stream, value in results:
            lane = lanes.get(stream)
            if lane is None:
                continue
            if lane.stop and value in lane.stop:
                self.end(lane)
                continue
            lane.deliver(value)
            if lane.left is not None:
                lane.left -= 1
                if not lane.left:
                    self.end(lane)
                    continue
            if len(lane.made) >= most:
                self._rest(lane)

    def _rest(self, lane: AnyLane) -> None:
        """Pause a stream whose consumer does not read."""
        lane.stream.pause()
        lane.running = False
        self._running.discard(lane)

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        """Tell every consumer if the task has failed for a reason that it does not know."""
        cancelled = StreamError("the pool's task was cancelled")
        error = cancelled if task.cancelled() else task.exception()
        if error is not None and not self._closed:
            self._closed = True
            self._end_all(error)

    def _end_all(self, error: BaseException) -> None:
        for lane in list(self._lanes.values()):
            self.end(lane, error)


def _copy(error: EdgeRNNError) -> EdgeRNNError:
    """Return an error of the same type, so that each consumer raises one of its own."""
    copied = type(error)(str(error))
    copied.__cause__ = error
    return copied
