"""Quality of a model of frames: the signal-to-noise ratio of its outputs against a reference."""

import numpy as np
from numpy.typing import NDArray

from edgernn_export.recording import Recording
from edgernn_runtime.engine import Engine


def run_stream(engine: Engine, recording: Recording) -> NDArray[np.float64]:
    """Return the main outputs for what was recorded, `[steps, ...]`, from the initial state where it starts.

    Raises:
        InputError: If the recording does not fit the model.
    """
    recording.check(engine.spec)
    executor = engine.executor(1)
    output = executor.outputs[engine.spec.main_output.name]
    made = np.empty((len(recording), *output.shape[1:]))
    for step, row in enumerate(made):
        if recording.starts[step]:
            executor.reset_row(0)
        recording.feed(executor, step)
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
