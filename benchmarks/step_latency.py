"""Step latency of text models against torch eager, all in one interleaved run.

    python benchmarks/step_latency.py [--hidden 128 512 1024] [--cells lstm gru] [--steps 1000]

Two layers, 128 tokens, batch 1, one thread, random weights. Torch runs in inference mode in each form
that people write, and the fastest counts. A step takes a token and gives its logits as a numpy array.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from edgernn.eager import eager_steppers
from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_export.quantization.formats import Precision
from edgernn_runtime import load
from edgernn_runtime.profiling import Latency, interleave, stepper

VOCABULARY: Final = 128
PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "int4")


def main() -> None:
    """Measure every case and print a table, or JSON."""
    options = _options()
    torch.set_num_threads(1)
    cases = [_measure(cell, hidden, options.steps) for cell in options.cells for hidden in options.hidden]
    if options.json:
        print(json.dumps(cases))
        return
    names = list(cases[0]["p50_us"])
    print(
        "cell  hidden  " + "  ".join(f"{name:>13}" for name in [*names, "fp32 / eager", "int8 / fp32", "int4 / fp32"])
    )
    for case in cases:
        taken = case["p50_us"]
        best = min(value for name, value in taken.items() if name.startswith("eager"))
        ratios = [best / taken["float32"], *(taken["float32"] / taken[precision] for precision in PRECISIONS)]
        numbers = [*(f"{value:13.1f}" for value in taken.values()), *(f"{value:12.2f}x" for value in ratios)]
        print(f"{case['cell']:<4}  {case['hidden']:>6}  " + "  ".join(numbers))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _measure(cell: str, hidden: int, steps: int) -> dict[str, object]:
    torch.manual_seed(0)
    model = RecurrentLM(ModelConfig(cell, VOCABULARY, hidden, layers=2)).eval()
    eager = eager_steppers(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = _models(model, Path(folder))
        calls: list[Callable[[int], None]] = [
            *eager.values(),
            *(stepper(load(path)) for path in paths.values()),
        ]
        taken = interleave(calls, steps)
    names = [*(f"eager {name}" for name in eager), *paths]
    return {
        "cell": cell,
        "hidden": hidden,
        "p50_us": {name: Latency.of(each).p50 for name, each in zip(names, taken, strict=True)},
    }


def _models(model: RecurrentLM, folder: Path) -> dict[str, Path]:
    source = export(RecurrentLMStep(model, start=0), folder / "model.onnx").path
    recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, 50))
    paths = {"float32": source}
    for precision in PRECISIONS:
        target = folder / f"model.{precision}.onnx"
        paths[precision] = quantize(source, target, precision=precision, recording=recording, method="nearest").path
    return paths


if __name__ == "__main__":
    main()
