"""Outputs: what a model gives along a recording, step by step, as a device would run it."""

import numpy as np

from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine


def outputs_along(engine: Engine, recording: Recording) -> Array:
    """Return the main outputs for what was recorded, `[steps, ...]`.

    The state is the initial one where a sequence starts, and is kept from step to step elsewhere.

    Raises:
        InputError: If the recording does not fit the model.
    """
    recording.check(engine.spec)
    executor = engine.executor(1)
    output = executor.outputs[engine.spec.main_output.name]
    made = np.empty((len(recording), *output.shape[1:]), output.dtype)
    for step in range(len(recording)):
        if recording.starts[step]:
            executor.reset_row(0)
        recording.feed(executor, step)
        executor.run()
        made[step] = output[0]
    return made
