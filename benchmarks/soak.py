"""Millions of steps of a pool whose streams join, leave, fork, pause and reset at random, with an eye on memory.

    python benchmarks/soak.py [--stream-steps 10000000] [--hidden 64] [--streams 64] [--model MODEL] [--seed 0]

A stream-step is one step of one stream. A probe stream is reset again and again among the others: its tokens must be
the same every time. Resident memory is sampled all along, and must not grow by more than `--max-growth` bytes in the
second half. The last line is the verdict, and the exit code is 0 if both hold.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_runtime import GREEDY, Model, PoolStream, Sampler, StreamPool, load
from edgernn_runtime.profiling.memory import rss_bytes

VOCABULARY: Final = 128
PROBED: Final = 500
PROBES: Final = 20
SAMPLES: Final = 200
CALLS_PER_STEP: Final = 0.1
SAMPLERS: Final = (GREEDY, Sampler(0.8), Sampler(1.2))
MIB: Final = 2**20


def main() -> None:
    """Soak a pool, and print how it went."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = load(options.model or _model(options.hidden, Path(folder)))
    soak = Soak(model, options.streams, options.seed)
    before = time.perf_counter()
    soak.run(options.stream_steps)
    seconds = time.perf_counter() - before
    print(f"{soak.taken:,} stream-steps in {soak.steps:,} steps, {seconds:.0f} s, {soak.taken / seconds:,.0f} a second")
    print("calls: " + ", ".join(f"{count:,} {name}" for name, count in soak.calls.items()))
    half = np.array(soak.sampled[len(soak.sampled) // 2 :], np.float64)  # [samples, (stream-steps, bytes)]
    slope, level = np.polyfit(half[:, 0] / 1e6, half[:, 1], 1)
    growth = slope * (half[-1, 0] - half[0, 0]) / 1e6
    print(
        f"memory: {soak.sampled[0][1] / MIB:.1f} MiB at first, {half[-1, 1] / MIB:.1f} MiB at last, "
        f"{slope / 1024:+.1f} KiB in a million stream-steps of the second half"
    )
    same = all(tokens == soak.probes[0] for tokens in soak.probes)
    print(f"probe: {len(soak.probes)} times {PROBED} tokens, {'all the same' if same else 'NOT THE SAME'}")
    passed = same and growth <= options.max_growth and level > 0
    print("soak passed" if passed else "SOAK FAILED")
    sys.exit(not passed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stream-steps", type=int, default=10_000_000)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--model", type=Path, help="instead of an int8 LSTM with random weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-growth", type=float, default=MIB)
    return parser.parse_args()


def _model(hidden: int, folder: Path) -> Path:
    torch.manual_seed(0)
    step = RecurrentLMStep(RecurrentLM(ModelConfig("lstm", VOCABULARY, hidden, layers=2)).eval(), start=0)
    source = export(step, folder / "lstm.onnx", sample="temperature").path
    recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, 50))
    return quantize(source, folder / "lstm.int8.onnx", precision="int8", recording=recording, method="nearest").path


@dataclass
class Probe:
    """A stream that is reset among the others, and what it chose since."""

    stream: PoolStream
    tokens: list[int] = field(default_factory=list)


class Soak:
    """A pool whose streams come and go. Mutable."""

    def __init__(self, model: Model, streams: int, seed: int) -> None:
        """Open one stream for the probe; `streams` are the most at a time, the probe included."""
        self.pool: StreamPool = model.pool(limit=streams)
        self.rng = np.random.default_rng(seed)
        self.probe = Probe(self.pool.open(seed=1, sampler=SAMPLERS[1]))
        self.probes: list[list[int]] = []
        self.others: list[PoolStream] = []
        self.calls = dict.fromkeys(("opened", "closed", "forked", "reset", "paused", "cut"), 0)
        self.taken = self.steps = 0
        self.sampled: list[tuple[int, int]] = []

    def run(self, count: int) -> None:
        """Take `count` stream-steps, and the steps that the last probe needs."""
        for _ in range(self.pool.limit or 1):
            self._open()
        marks = iter([*np.linspace(0, count, SAMPLES), np.inf])
        starts = iter([*np.linspace(0, count, PROBES), np.inf])
        mark, start, probing = next(marks), next(starts), False
        while self.taken < count or probing:
            results = self.pool.step()
            self.taken += len(results)
            self.steps += 1
            if probing:
                self.probe.tokens.append(int(dict(results)[self.probe.stream]))  # type: ignore[arg-type]
                if len(self.probe.tokens) == PROBED:
                    self.probes.append(self.probe.tokens)
                    probing = False
            elif self.taken >= start:
                self.probe.stream.reset()
                self.probe.tokens, probing, start = [], True, next(starts)
            if self.taken >= mark:
                self.sampled.append((self.taken, rss_bytes() or 0))
                mark = next(marks)
            if self.rng.random() < CALLS_PER_STEP:
                self._call()

    def _call(self) -> None:
        kind = int(self.rng.integers(6))
        if kind == 0 or not self.others:
            self._open()
            return
        at = int(self.rng.integers(len(self.others)))
        stream = self.others[at]
        if kind == 1 and len(self.others) > 2:
            self.others.pop(at).close()
            self.calls["closed"] += 1
        elif kind == 2 and len(self.pool) < (self.pool.limit or 0):
            self.others.append(stream.fork())
            self.calls["forked"] += 1
        elif kind == 3:
            stream.reset(seed=int(self.rng.integers(2**63)))
            self.calls["reset"] += 1
        elif kind == 4:
            (stream.resume if stream.paused else stream.pause)()
            self.calls["paused"] += 1
        else:
            stream.restore(stream.snapshot())
            self.calls["cut"] += 1

    def _open(self) -> None:
        if len(self.pool) == self.pool.limit:
            return
        prompt = [int(token) for token in self.rng.integers(0, VOCABULARY, int(self.rng.integers(9)))]
        sampler = SAMPLERS[int(self.rng.integers(len(SAMPLERS)))]
        self.others.append(self.pool.open(prompt, seed=int(self.rng.integers(2**63)), sampler=sampler))
        self.calls["opened"] += 1


if __name__ == "__main__":
    main()
