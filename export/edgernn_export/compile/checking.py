"""Checking: a library takes the same steps as the model that it was compiled from, before anyone relies on it."""

from collections import Counter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from edgernn_runtime.engine import Array, Engine, Executor
from edgernn_runtime.engines.library_file import read_library
from edgernn_runtime.engines.native import NativeEngine
from edgernn_runtime.engines.opening import Opening, open_engine
from edgernn_runtime.errors import ParityError
from edgernn_runtime.profiling import random_values

STEPS: Final = 64
FLOAT_TOLERANCE: Final = 1e-3
QUANTIZED_TOLERANCE: Final = 0.05
"""The largest difference, as a share of the largest number: activations that round differently change codes."""
INTEGER_STEPS: Final = STEPS // 4
"""In how many steps integers may differ: they may be chosen by numbers that are almost equal."""

_REPORT: Final = "the library is not kept: please report the model's operators (edgernn inspect)"


def check_library(library: Path, model: Path) -> float:
    """Check a library of this machine against its model in ONNX Runtime: 64 steps of random inputs from equal states.

    Returns:
        The median time of a compiled step, in microseconds.

    Raises:
        ParityError: If an output or a state differs by more than rounding explains.
        EngineError: If this machine cannot run the library.
    """
    reference: Engine = open_engine(model, Opening("onnxruntime"))
    compiled = NativeEngine(read_library(library))
    spec = reference.spec
    pair = reference.executor(1), compiled.executor(1)
    tolerance = FLOAT_TOLERANCE if spec.precision == "float32" else QUANTIZED_TOLERANCE
    rng = np.random.default_rng(0)
    taken = []
    parted: Counter[str] = Counter()
    for step in range(STEPS):
        for tensor in spec.inputs:
            value = random_values(spec, tensor, 1, rng)
            for executor in pair:
                executor.inputs[tensor.name][...] = value
        pair[1].write_state(pair[0].read_state())
        pair[0].run()
        before = perf_counter()
        pair[1].run()
        taken.append(perf_counter() - before)
        names = [*(each.name for each in spec.outputs), *(state.output for state in spec.states)]
        for name, expected, found in zip(names, *map(_results, pair), strict=True):
            if expected.dtype.kind == "f":
                _compare(name, expected, found, tolerance, step)
            else:
                parted[name] += not np.array_equal(expected, found)
    for name, steps in parted.items():
        if steps > INTEGER_STEPS:
            raise ParityError(f"the compiled {name} differs from ONNX Runtime's in {steps} of {STEPS} steps; {_REPORT}")
    return median(taken) * 1e6


def _results(executor: Executor) -> list[Array]:
    return [*executor.outputs.values(), *executor.read_state()]


def _compare(name: str, expected: Array, found: Array, tolerance: float, step: int) -> None:
    wanted, actual = expected.astype(np.float64), found.astype(np.float64)
    largest = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
    if not np.allclose(actual, wanted, rtol=0, atol=tolerance * largest, equal_nan=True):
        difference = float(np.nanmax(np.abs(actual - wanted)))
        raise ParityError(
            f"the compiled {name} differs from ONNX Runtime's by {difference:.1e} at step {step}; {_REPORT}"
        )
