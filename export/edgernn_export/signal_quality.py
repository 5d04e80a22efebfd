"""Quality of a model of frames: the signal-to-noise ratio of its outputs against a reference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array, Engine


def run_stream(engine: Engine, sequence: Sequence[Array]) -> NDArray[np.float64]:
    """Return the main outputs of one stream, `[steps, ...]`, inputs beside the main one at zero.

    Args:
        engine: The model.
        sequence: One array without the batch per step.
    """
    executor = engine.executor(1)
    value, output = executor.inputs[engine.spec.main_input.name], executor.outputs[engine.spec.main_output.name]
    made = np.empty((len(sequence), *output.shape[1:]))
    for row, given in zip(made, sequence, strict=True):
        value[0] = given
        executor.run()
        row[...] = output[0]
    return made


def snr_db(signal: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return 10 log10 of the power of `reference` over that of the difference; infinite for equal signals.

    >>> snr_db(np.array([1.0, 1.1]), np.array([1.0, 1.0])) > 20
    True
    """
    noise = float(np.square(signal - reference).sum())
    power = float(np.square(reference).sum())
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(power / noise)) if power > 0 else -np.inf
