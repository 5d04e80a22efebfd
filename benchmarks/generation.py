"""What a token of one stream costs, sampled on the host and in the graph, all in turns in one process.

    python benchmarks/generation.py [--cell lstm] [--hidden 128] [--steps 5000]

Two layers, 128 tokens, int8, one thread, random weights. `step` is `Stream.step_into`, the rest `next` on
`Stream.generate`, at temperature 0.8, with filters top-k 20 and top-p 0.9.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_export.sampler import Sampling
from edgernn_runtime import Sampler, load
from edgernn_runtime.profiling import Latency, interleave, stepper

VOCABULARY: Final = 128
PLAIN: Final = Sampler(0.8)
FILTERED: Final = Sampler(0.8, top_k=20, top_p=0.9)
FORMS: Final[tuple[tuple[str, Sampling | None, Sampler], ...]] = (
    ("host, temperature", None, PLAIN),
    ("host, filters", None, FILTERED),
    ("graph, temperature", "temperature", PLAIN),
    ("graph, filters", "filters", FILTERED),
)


def main() -> None:
    """Measure every form and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = RecurrentLMStep(RecurrentLM(ModelConfig(options.cell, VOCABULARY, options.hidden, layers=2)).eval(), start=0)
    with tempfile.TemporaryDirectory() as folder:
        calls = {"step": stepper(load(_model(step, None, Path(folder))))}
        for name, sampling, sampler in FORMS:
            calls[name] = _tokens(_model(step, sampling, Path(folder)), sampler)
        for name, taken in zip(calls, interleave(list(calls.values()), options.steps), strict=True):
            latency = Latency.of(taken)
            print(f"{name:18}  p50 {latency.p50:6.1f} us  p99 {latency.p99:6.1f} us")


def _model(step: RecurrentLMStep, sampling: Sampling | None, folder: Path) -> Path:
    target = folder / f"{sampling}.int8.onnx"
    if target.exists():
        return target
    source = export(step, folder / f"{sampling}.onnx", sample=sampling).path
    recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, 50))
    return quantize(source, target, precision="int8", recording=recording, method="nearest").path


def _tokens(path: Path, sampler: Sampler) -> Callable[[int], None]:
    generation = load(path).stream(sampler=sampler).generate(2**62)
    return partial(_take, generation.__next__)


def _take(following: Callable[[], int], _: int) -> None:
    following()


if __name__ == "__main__":
    main()
