"""Pools: many streams of one model in one batched step, and their front for asyncio."""

from edgernn_runtime.pool.async_pool import AsyncPool as AsyncPool
from edgernn_runtime.pool.async_stream import AsyncStream as AsyncStream
from edgernn_runtime.pool.async_stream import AsyncText as AsyncText
from edgernn_runtime.pool.async_stream import Listener as Listener
from edgernn_runtime.pool.failure import NotFiniteError as NotFiniteError
from edgernn_runtime.pool.pool_stream import PoolStream as PoolStream
from edgernn_runtime.pool.stream_pool import StreamPool as StreamPool
