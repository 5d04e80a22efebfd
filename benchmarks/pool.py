"""What a pool of streams costs and gives, beside one stream and the bare batched step, all in turns in one process.

    python benchmarks/pool.py [MODEL ...] [--streams 1 2 8 64] [--temperature 0.8] [--steps 1000] [--json]

Without models: two layers, 128 tokens, int8 and int8-portable, one thread, random weights, of each `--hidden` size,
which sample in their graph. Times are medians. `one` is `Stream.generate` of the first model, `bare` the executor's
step of as many rows as the pool steps (an even number for quantized models), `pool` is `StreamPool.step`, `own` what
the pool adds to the bare step, `x` the tokens per second over those of one stream, and `async` what `AsyncPool` adds
for each token.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final

import numpy as np
import torch

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_export.quantization.formats import Precision
from edgernn_runtime import AsyncPool, AsyncStream, Model, Sampler, load
from edgernn_runtime.graph_sampler import NOISE, TEMPERATURE
from edgernn_runtime.sampling import GRAIN

VOCABULARY: Final = 128
BLOCK: Final = 50
DISTINCT: Final = 64


def main() -> None:
    """Measure every model, and print a table or JSON."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        groups = [options.models] if options.models else [_models(hidden, Path(folder)) for hidden in options.hidden]
        sampler = Sampler(options.temperature)
        cases = [case for paths in groups for case in _measure(paths, options.streams, sampler, options.steps)]
    if options.json:
        print(json.dumps(cases))
        return
    for case in cases:
        one = case["one_us"]
        print(f"{case['model']}: one stream {one:.1f} us, {1e6 / one:,.0f} tokens/s")
        print("streams   bare us   pool us    own us   own %   tokens/s       x   async us")
        for row in case["pools"]:
            own = row["pool_us"] - row["bare_us"]
            count = row["streams"]
            print(
                f"{count:7}  {row['bare_us']:8.1f}  {row['pool_us']:8.1f}  {own:8.1f}"
                f"  {100 * own / row['bare_us']:6.1f}"
                f"  {count * 1e6 / row['pool_us']:9,.0f}  {count * one / row['pool_us']:6.2f}"
                f"  {(row['async_us'] - row['pool_us']) / count:9.2f}"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 8, 64])
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _models(hidden: int, folder: Path) -> list[Path]:
    torch.manual_seed(0)
    step = RecurrentLMStep(RecurrentLM(ModelConfig("lstm", VOCABULARY, hidden, layers=2)).eval(), start=0)
    source = export(step, folder / f"lstm-{hidden}.onnx", sample="temperature").path
    recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, 300))
    precisions: tuple[Precision, ...] = ("int8", "int8-portable")
    return [
        quantize(
            source,
            folder / f"lstm-{hidden}.{precision}.onnx",
            precision=precision,
            recording=recording,
            calibration=recording,
            method="nearest",
        ).path
        for precision in precisions
    ]


def _measure(paths: Sequence[Path], counts: Sequence[int], sampler: Sampler, steps: int) -> list[dict[str, object]]:
    models = [load(path) for path in paths]
    generation = models[0].stream(sampler=sampler).generate(2**62)
    calls: list[Callable[[], object]] = [lambda: next(generation)]
    pairs = [(model, count) for model in models for count in counts]
    for model, count in pairs:
        calls += [_bare(model, count, sampler), _pool(model, count, sampler)]
    fronts = [_Front(model, count, sampler) for model, count in pairs]
    taken: list[list[float]] = [[] for _ in calls]
    together: list[list[float]] = [[] for _ in fronts]
    for call in (*calls, *(front.timed for front in fronts)):
        call()
    for _ in range(-(-steps // BLOCK)):
        for call, times in zip(calls, taken, strict=True):
            times.extend(_timed(call))
        for front, times in zip(fronts, together, strict=True):
            times.append(front.timed())
    for front in fronts:
        front.close()
    one, *rest = (float(np.median(times)) for times in taken)
    pools = [
        {"streams": count, "bare_us": bare, "pool_us": pool, "async_us": float(np.median(front))}
        for (_, count), bare, pool, front in zip(pairs, rest[::2], rest[1::2], together, strict=True)
    ]
    size = len(counts)
    return [
        {"model": path.name, "one_us": one, "pools": pools[i * size : (i + 1) * size]} for i, path in enumerate(paths)
    ]


def _timed(call: Callable[[], object]) -> list[float]:
    """Return the durations of a block of calls, in microseconds; the first, after others' turns, is not counted."""
    call()
    times = []
    for _ in range(BLOCK):
        before = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - before) / 1e3)
    return times


def _bare(model: Model, count: int, sampler: Sampler) -> Callable[[], object]:
    """Return a step of an executor that is fed random tokens, and random noise where its graph samples."""
    executor = model.executor(count + count % 2 if model.spec.precision != "float32" else count)
    rng = np.random.default_rng(0)
    given = {model.spec.main_input.name: rng.integers(0, model.spec.vocabulary, (DISTINCT, executor.batch))}
    if NOISE in executor.inputs:
        executor.inputs[TEMPERATURE][...] = sampler.temperature
        given[NOISE] = rng.random((DISTINCT, executor.batch, 1)) + GRAIN
    fed = cycle([[(executor.inputs[name], values[i]) for name, values in given.items()] for i in range(DISTINCT)])

    def step() -> None:
        for array, values in next(fed):
            array[...] = values
        executor.run()

    return step


def _pool(model: Model, count: int, sampler: Sampler) -> Callable[[], object]:
    pool = model.pool(capacity=count)
    for seed in range(count):
        pool.open(seed=seed, sampler=sampler)
    return pool.step


class _Front:
    """Consumers of an `AsyncPool`, each of which reads a block of tokens at a time."""

    def __init__(self, model: Model, count: int, sampler: Sampler) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = AsyncPool(model, capacity=count)
        self._streams = [self._pool.stream(seed=seed, sampler=sampler) for seed in range(count)]

    def timed(self) -> float:
        """Return the microseconds of a step, by the time of a block."""
        before = time.perf_counter_ns()
        self._loop.run_until_complete(self._read())
        return (time.perf_counter_ns() - before) / 1e3 / BLOCK

    def close(self) -> None:
        self._loop.run_until_complete(self._pool.aclose())
        self._loop.close()

    async def _read(self) -> None:
        await asyncio.gather(*map(_read_block, self._streams))


async def _read_block(stream: AsyncStream[int]) -> None:
    for _ in range(BLOCK):
        await anext(stream)


if __name__ == "__main__":
    main()
