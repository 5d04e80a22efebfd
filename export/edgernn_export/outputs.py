"""Outputs: what a model gives along a recording, step by step, as a device would run it."""

import numpy as np

from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine


def outputs_along(engine: Engine, recording: Recording, *, beside: Engine | None = None) -> Array:
    """Return the main outputs for what was recorded, `[steps, ...]`.

    The state is the initial one where a sequence starts, and is kept from step to step elsewhere.

    Args:
        engine: The model.
        recording: What it is fed.
        beside: The model that it is a form of. If they draw in their graphs, where a draw that differs in the last bit
            changes all that follow, each step begins with that one's state.

    Raises:
        InputError: If the recording does not fit the model.
    """
    recording.check(engine.spec)
    executor = engine.executor(1)
    output = executor.outputs[engine.spec.main_output.name]
    other = beside.executor(1) if beside is not None and engine.spec.noise_inputs else None
    made = np.empty((len(recording), *output.shape[1:]), output.dtype)
    for step in range(len(recording)):
        for each in (executor, other):
            if each is not None and recording.starts[step]:
                each.reset_row(0)
        if other is not None:
            executor.write_state(other.read_state())
            recording.feed(other, step)
            other.run()
        recording.feed(executor, step)
        executor.run()
        made[step] = output[0]
    return made
