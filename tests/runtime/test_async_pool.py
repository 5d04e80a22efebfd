"""Streams as asynchronous iterators: batched, bounded, and harmed by nobody who leaves."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import export
from edgernn_runtime import AsyncPool, AsyncStream, Model, Sampler, StreamPool, load
from edgernn_runtime.errors import EngineError, InputError, PoolFullError, StreamError
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec

Floats = NDArray[np.float32]

WARM = Sampler(0.9)


class Fragile(nn.Module):
    """Logits of 5 tokens; a shift of 1000 makes them infinite, and a kind above 2 makes the engine fail."""

    spec = Spec(
        inputs=(
            TensorSpec("token", "int64", (BATCH,), "token"),
            TensorSpec("shift", "float32", (BATCH, 5), "condition"),
            TensorSpec("kind", "int64", (BATCH,), "condition", 3),
        ),
        outputs=(TensorSpec("logits", "float32", (BATCH, 5), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 5)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=0),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.kinds = nn.Embedding(5, 5), nn.Embedding(3, 5)

    def forward(self, token: Tensor, shift: Tensor, kind: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = torch.tanh(self.embedding(token) + 0.5 * h + self.kinds(kind))
        return 3 * h + torch.exp(shift), h


class Drawn(nn.Module):
    """Means and deviations of two numbers."""

    spec = Spec(
        inputs=(TensorSpec("x", "float32", (BATCH, 2), "frame"),),
        outputs=(TensorSpec("params", "float32", (BATCH, 2, 2), "params"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 2)),),
        distribution="gaussian",
        feedback=Feedback("params", "x", start=1),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(2, 4)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = torch.tanh(0.5 * h + x)
        return self.head(h).reshape(-1, 2, 2), h


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(Fragile(), tmp_path_factory.mktemp("fragile") / "m.onnx").path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(Drawn(), tmp_path_factory.mktemp("drawn") / "m.onnx").path)


@pytest.fixture
def model(tiny_model: Callable[..., Model]) -> Model:
    return tiny_model("gru")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop, for half a minute at most."""
    asyncio.run(asyncio.wait_for(main(), 30))


def alone(model: Model, count: int, *, seed: int = 0, prompt: str | tuple[int, ...] = ()) -> list[int]:
    stream = model.stream(seed=seed, sampler=WARM)
    stream.prefill(prompt)
    return list(stream.generate(count))


async def read(pool: AsyncPool, count: int, *, seed: int = 0, prompt: str | tuple[int, ...] = ()) -> list[int]:
    return [token async for token in pool.stream(prompt, seed=seed, sampler=WARM, max_tokens=count)]


async def turns(count: int = 20) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


def counted(pool: StreamPool) -> list[int]:
    """Return a list that gets the size of every step that a pool takes from now on."""
    sizes: list[int] = []
    streams, step = pool._streams, pool._streams.step

    def stepped() -> Any:
        sizes.append(int(streams.slots.ready.sum()))
        return step()

    streams.step = stepped  # type: ignore[method-assign]
    return sizes


def test_many_consumers_read_what_they_read_alone(model: Model) -> None:
    async def main() -> None:
        async with AsyncPool(model, capacity=2) as pool:
            made = await asyncio.gather(
                *(read(pool, 50 + seed, seed=seed, prompt="ab"[: seed % 3]) for seed in range(9))
            )
            assert len(pool) == 0
        for seed, tokens in enumerate(made):
            assert alone(model, 50 + seed, seed=seed, prompt="ab"[: seed % 3]) == tokens

    run(main)


def test_consumers_that_come_and_go_read_what_they_read_alone(model: Model) -> None:
    async def main() -> None:
        rng = np.random.default_rng(0)

        async def come(pool: AsyncPool, seed: int) -> list[int]:
            await turns(int(rng.integers(40)))
            return await read(pool, 5 + seed, seed=seed)

        async with AsyncPool(model, capacity=1) as pool:
            made = await asyncio.gather(*(come(pool, seed) for seed in range(25)))
        for seed, tokens in enumerate(made):
            assert alone(model, 5 + seed, seed=seed) == tokens

    run(main)


def test_streams_that_are_ready_step_together(model: Model) -> None:
    async def main() -> None:
        shared = model.pool()
        sizes = counted(shared)
        async with AsyncPool(shared) as pool:
            await asyncio.gather(*(read(pool, 100, seed=seed) for seed in range(8)))
        assert sizes.count(8) >= 98
        assert len(sizes) <= 103

    run(main)


def test_text_comes_in_whole_characters(byte_model: Model, memorised: str) -> None:
    async def main() -> None:
        async with AsyncPool(byte_model) as pool:
            pieces = [piece async for piece in pool.text(memorised, max_tokens=2 * len(memorised.encode()))]
        assert list(memorised * 2) == pieces

    run(main)


def test_text_goes_on_after_half_a_character(byte_model: Model, memorised: str) -> None:
    async def main() -> None:
        stream = byte_model.stream()
        stream.prefill(memorised)
        before = "".join(text for text in map(stream.decode, stream.generate(2)))
        async with AsyncPool(byte_model) as pool:
            rest = "".join([piece async for piece in pool.text(state=stream.snapshot(), max_tokens=9)])
        assert memorised == before + rest

    run(main)


def test_a_stop_token_ends_a_stream_and_is_not_read(model: Model) -> None:
    async def main() -> None:
        expected = alone(model, 200)
        stop = expected[30]
        async with AsyncPool(model) as pool:
            made = [token async for token in pool.stream(sampler=WARM, stop=[stop])]
            assert len(pool) == 0
        assert expected[: expected.index(stop)] == made

    run(main)


def test_frames_are_read_as_they_are_drawn_alone(drawn: Model) -> None:
    async def main() -> None:
        async with AsyncPool(drawn) as pool:
            streams = [pool.frames(seed=seed, sampler=WARM, max_frames=20) for seed in range(3)]

            async def frames(seed: int) -> list[Floats]:
                return [frame async for frame in streams[seed]]

            made = await asyncio.gather(*map(frames, range(3)))
        for seed, found in enumerate(made):
            expected = list(drawn.stream(seed=seed, sampler=WARM).generate_frames(20))
            np.testing.assert_allclose(found, expected, atol=1e-5)

    run(main)


def test_listeners_are_fed_together_and_hear_what_they_hear_alone(frame_model: Model, frames: Floats) -> None:
    async def main() -> None:
        shared = frame_model.pool()
        sizes: list[int] = []
        feed = shared._streams.feed

        def fed(slots: NDArray[np.int64], values: Any) -> Any:
            sizes.append(len(slots))
            return feed(slots, values)

        shared._streams.feed = fed  # type: ignore[method-assign]
        async with AsyncPool(shared, max_wait_us=20_000) as pool:
            listeners = [pool.listen() for _ in range(5)]

            async def hear(i: int) -> list[Floats]:
                heard = []
                for frame in frames[100 * i : 100 * i + 30]:
                    await turns(i)
                    heard.append(await listeners[i].feed(frame))
                return heard

            made = await asyncio.gather(*map(hear, range(5)))
        for i, heard in enumerate(made):
            np.testing.assert_allclose(heard, frame_model.stream().run(frames[100 * i : 100 * i + 30]), atol=1e-5)
        assert sizes == [5] * 30

    run(main)


def test_a_value_that_does_not_fit_harms_no_other_listener(frame_model: Model, frames: Floats) -> None:
    async def main() -> None:
        async with AsyncPool(frame_model) as pool:
            first, second = pool.listen(), pool.listen()
            made = await asyncio.gather(first.feed(frames[0]), second.feed(frames[0][:2]), return_exceptions=True)
            assert isinstance(made[1], InputError)
            np.testing.assert_allclose(made[0], frame_model.stream().step(frames[0]), atol=1e-5)
            np.testing.assert_allclose(await second.feed(frames[0]), made[0], atol=1e-5)

    run(main)


def test_a_value_may_be_overwritten_while_it_waits(frame_model: Model, frames: Floats) -> None:
    async def main() -> None:
        async with AsyncPool(frame_model) as pool:
            listener, frame = pool.listen(), frames[0].copy()
            task = asyncio.create_task(listener.feed(frame))
            await asyncio.sleep(0)
            frame[...] = 99
            np.testing.assert_allclose(await task, frame_model.stream().step(frames[0]), atol=1e-5)

    run(main)


# Waiting, and consumers that do not read


@pytest.mark.parametrize("wait_us", [0, 30_000])
def test_a_stream_waits_for_others_no_longer_than_it_may(frame_model: Model, frames: Floats, wait_us: int) -> None:
    async def main() -> None:
        async with AsyncPool(frame_model, max_wait_us=wait_us) as pool:
            listener, silent = pool.listen(), pool.listen()
            await listener.feed(frames[0])
            taken = []
            for frame in frames[1:6]:
                before = time.perf_counter()
                await listener.feed(frame)
                taken.append(time.perf_counter() - before)
            await silent.aclose()
            assert wait_us / 1e6 <= min(taken)
            assert min(taken) < wait_us / 1e6 + 0.02

    run(main)


def test_nobody_waits_once_all_are_there(frame_model: Model, frames: Floats) -> None:
    async def main() -> None:
        async with AsyncPool(frame_model, max_wait_us=5_000_000) as pool:
            listeners = [pool.listen() for _ in range(3)]
            before = time.perf_counter()

            async def late(i: int) -> None:
                await asyncio.sleep(0.01 * i)
                await listeners[i].feed(frames[i])

            await asyncio.gather(*map(late, range(3)))
            assert time.perf_counter() - before < 2

    run(main)


@pytest.mark.parametrize("ahead", [1, 4, 7])
def test_a_stream_that_nobody_reads_pauses_and_goes_on(model: Model, ahead: int) -> None:
    async def main() -> None:
        shared = model.pool()
        async with AsyncPool(shared, read_ahead=ahead) as pool:
            slow = pool.stream(sampler=WARM)
            tokens = [await anext(slow)]
            other = await read(pool, 60, seed=1)
            (stream,) = shared.streams
            assert (stream.step_index, stream.paused) == (1 + ahead, True)
            await turns(50)
            assert stream.step_index == 1 + ahead
            tokens += [await anext(slow) for _ in range(40)]
        assert alone(model, 60, seed=1) == other
        assert alone(model, 41) == tokens

    run(main)


def test_a_paused_stream_goes_on_once_half_of_what_it_made_is_read(model: Model) -> None:
    async def main() -> None:
        shared = model.pool()
        async with AsyncPool(shared, read_ahead=6) as pool:
            slow, taken = pool.stream(sampler=WARM), []
            for _ in range(4):
                await anext(slow)
                await turns()
                taken.append(shared.streams[0].step_index)
            assert taken == [7, 7, 7, 10]

    run(main)


def test_an_idle_pool_does_nothing(model: Model) -> None:
    async def main() -> None:
        shared = model.pool()
        sizes = counted(shared)
        async with AsyncPool(shared, read_ahead=2) as pool:
            stream = pool.stream(sampler=WARM)
            await anext(stream)
            await turns()
            done, loop = len(sizes), asyncio.get_running_loop()
            before = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - before < 0.2
            assert done == len(sizes)
            assert loop.is_running()

    run(main)


# Leaving


def test_leaving_a_loop_closes_the_stream(model: Model) -> None:
    async def main() -> None:
        async with AsyncPool(model) as pool:
            other = asyncio.create_task(read(pool, 100, seed=1))
            async for _ in pool.stream(sampler=WARM):
                assert len(pool) == 2
                break
            gc.collect()
            assert len(pool) == 1
            assert alone(model, 100, seed=1) == await other

    run(main)


def test_a_consumer_that_fails_closes_its_stream_and_no_other(model: Model) -> None:
    async def main() -> None:
        async def fail(pool: AsyncPool) -> None:
            async with pool.stream(sampler=WARM) as stream:
                async for _ in stream:
                    raise ZeroDivisionError

        async with AsyncPool(model) as pool:
            made = await asyncio.gather(fail(pool), read(pool, 100, seed=1), return_exceptions=True)
            assert isinstance(made[0], ZeroDivisionError)
            assert len(pool) == 0
            assert alone(model, 100, seed=1) == made[1]

    run(main)


@pytest.mark.parametrize("patience", range(12))
def test_a_consumer_that_is_cancelled_at_any_moment_closes_its_stream_and_no_other(model: Model, patience: int) -> None:
    async def main() -> None:
        async with AsyncPool(model, limit=3) as pool:
            others = [asyncio.create_task(read(pool, 60, seed=seed)) for seed in (1, 2)]
            task = asyncio.create_task(read(pool, 10_000))
            await turns(patience)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gc.collect()
            assert len(pool) <= 2
            assert [alone(model, 60, seed=seed) for seed in (1, 2)] == [await other for other in others]
            assert len(pool) == 0

    run(main)


def test_a_listener_that_is_cancelled_is_closed_and_no_other(frame_model: Model, frames: Floats) -> None:
    async def main() -> None:
        async with AsyncPool(frame_model, max_wait_us=50_000) as pool:
            first, second, _third = (pool.listen() for _ in range(3))
            task, other = asyncio.create_task(first.feed(frames[0])), asyncio.create_task(second.feed(frames[0]))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(pool) == 2
            np.testing.assert_allclose(await other, frame_model.stream().step(frames[0]), atol=1e-5)
            with pytest.raises(StreamError, match="the stream is closed"):
                await first.feed(frames[1])

    run(main)


def test_closing_the_pool_ends_all_who_wait(model: Model, frame_model: Model) -> None:
    async def main() -> None:
        pool, listening = AsyncPool(model), AsyncPool(frame_model, max_wait_us=10_000_000)
        tasks = [asyncio.create_task(read(pool, 10**9, seed=seed)) for seed in range(3)]
        first, _second = listening.listen(), listening.listen()
        tasks.append(asyncio.create_task(first.feed(np.zeros(5, np.float32))))  # type: ignore[arg-type]
        await turns()
        await pool.aclose()
        await listening.aclose()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, StreamError)
            assert "the pool was closed" in str(error)
        assert len(pool) == len(listening) == 0
        with pytest.raises(StreamError, match="the pool is closed"):
            pool.stream()

    run(main)


def test_a_full_pool_says_so_and_has_room_when_one_has_left(model: Model) -> None:
    async def main() -> None:
        async with AsyncPool(model, limit=2) as pool:
            first, _second = pool.stream(), pool.stream()
            with pytest.raises(PoolFullError, match="the pool takes 2 streams"):
                pool.stream()
            await first.aclose()
            pool.stream()
            assert [token async for token in first] == []

    run(main)


# Failures


def test_an_engine_error_reaches_every_consumer(fragile: Model) -> None:
    async def main() -> None:
        async with AsyncPool(fragile) as pool:
            bad = pool.stream(sampler=WARM)
            tasks = [asyncio.create_task(read(pool, 10**9, seed=seed)) for seed in range(3)]
            await turns()
            bad.set_input("kind", np.array(99))
            tasks.append(asyncio.create_task(anext(bad)))  # type: ignore[arg-type]
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(error, EngineError) for error in errors)
            assert len({id(error) for error in errors}) == 4
            assert len(pool) == 0
            assert alone(fragile, 20) == await read(pool, 20)

    run(main)


def test_a_stream_whose_output_is_not_finite_fails_and_no_other(fragile: Model) -> None:
    async def main() -> None:
        async with AsyncPool(fragile) as pool:
            bad = pool.stream(sampler=WARM)
            other = asyncio.create_task(read(pool, 50, seed=1))
            assert alone(fragile, 1) == [await anext(bad)]
            bad.set_input("shift", np.full(5, 1000, np.float32))
            with pytest.raises(InputError, match="the model's output is not finite; the stream is closed"):
                [token async for token in bad]
            assert alone(fragile, 50, seed=1) == await other

    run(main)


def test_a_stream_has_one_reader(model: Model) -> None:
    async def main() -> None:
        async with AsyncPool(model) as pool:
            stream = pool.stream(sampler=WARM)
            first = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            with pytest.raises(StreamError, match="another task is waiting for the stream"):
                await anext(stream)
            assert alone(model, 1) == [await first]

    run(main)


def test_a_stream_that_cannot_begin_says_so(byte_model: Model, frame_model: Model, drawn: Model) -> None:
    async def main() -> None:
        async with AsyncPool(byte_model) as pool:
            with pytest.raises(InputError, match="nothing is pending to generate from"):
                await anext(pool.stream())
            with pytest.raises(InputError, match="the model does not generate frames"):
                pool.frames()
        async with AsyncPool(frame_model) as pool:
            with pytest.raises(InputError, match="the model does not generate tokens"):
                pool.stream()
            with pytest.raises(InputError, match="no codec of text"):
                pool.text()
        async with AsyncPool(drawn) as pool:
            with pytest.raises(InputError, match="a stream makes one token or frame at least, got 0"):
                pool.frames(max_frames=0)

    run(main)


@pytest.mark.parametrize(("wait", "ahead"), [(-1, 8), (0, 0)])
def test_settings_out_of_range_are_refused(model: Model, wait: int, ahead: int) -> None:
    with pytest.raises(InputError, match="max_wait_us must be 0 or more and read_ahead positive"):
        AsyncPool(model, max_wait_us=wait, read_ahead=ahead)


def test_a_pool_whose_loop_has_ended_says_so(model: Model) -> None:
    pool = AsyncPool(model)

    async def read_one() -> int:
        async for token in pool.stream(seed=1):
            return int(token)
        raise AssertionError

    asyncio.run(read_one())
    with pytest.raises(StreamError, match="the pool"):
        asyncio.run(asyncio.wait_for(read_one(), 5))


async def read_on(stream: AsyncStream) -> None:
    while True:
        await anext(stream)


def test_a_close_that_is_cancelled_still_ends_every_stream(model: Model) -> None:
    async def main() -> None:
        pool = AsyncPool(model)
        iterator = pool.stream(seed=1)
        await anext(iterator)
        closing = asyncio.create_task(pool.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        with pytest.raises(StreamError, match="the pool was closed"):
            await asyncio.wait_for(read_on(iterator), 5)

    asyncio.run(main())
