"""Calibration: what weights and states of a float32 model meet along live streams, the state evolving as it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgernn_export.quantization.activation import FLUSH, Activation
from edgernn_export.quantization.observer import Observer
from edgernn_export.quantization.source import Source
from edgernn_export.recording import Recording
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec

LEAST_STEPS: Final = 256
"""What is shorter says too little of the inputs that weights meet."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was met along the streams.

    Attributes:
        steps: The number of steps.
        inputs: What each weight matrix is multiplied with, by its qualified name.
        states: What each float32 state was, by its qualified name.
    """

    steps: int
    inputs: Mapping[str, Activation]
    states: Mapping[str, Activation]

    @property
    def growing(self) -> tuple[str, ...]:
        """The states whose magnitude kept growing."""
        return tuple(name for name, state in self.states.items() if state.grows)


def calibrate(
    source: Source,
    recording: Recording,
    *,
    stages: Mapping[str, Recording] | None = None,
    progress: Progress = lambda *_: None,
) -> Calibration:
    """Roll streams through a float32 model, the state carried from step to step and reset where a sequence starts.

    Args:
        source: The model.
        recording: What it is fed.
        stages: What stages of a bundle that have streams of their own are fed, by stage.
        progress: Called now and then.

    Raises:
        InputError: If the recording does not fit the model, is shorter than 256 steps or not finite, or a state or an
            activation becomes NaN or infinite.
    """
    observers = {name: Observer(name, graph) for name, graph in source.graphs.items()}
    engine = source.joined(dict(observers))
    _roll(engine, recording, progress)
    for name, own in (stages or {}).items():
        if observers[name].steps == 0:
            _roll(observers[name], own, progress)
    seen = [observer for observer in observers.values() if observer.steps]
    return Calibration(
        steps=len(recording),
        inputs={name: each for observer in seen for name, each in observer.inputs().items()},
        states={name: each for observer in seen for name, each in observer.states().items()},
    )


def check_calibration(recording: Recording, spec: Spec) -> None:
    """Check that a model can be calibrated along a recording; errors as in `calibrate`."""
    recording.check(spec)
    if len(recording) < LEAST_STEPS:
        raise InputError(f"calibration needs {LEAST_STEPS} steps at least, got {len(recording)}")
    takes_nan = isinstance(spec.codec, SeriesCodec) and spec.codec.gaps == "mask"
    for name, array in recording.inputs.items():
        values = array.reshape(len(array), -1).astype(np.float64)
        finite = (np.isfinite(values) | (takes_nan & np.isnan(values))).all(axis=1)
        if not finite.all():
            raise InputError(f"the calibration's {name} is NaN or infinite at step {int(np.argmin(finite))}")


def _roll(engine: Engine, recording: Recording, progress: Progress) -> None:
    check_calibration(recording, engine.spec)
    executor = engine.executor(1)
    for step in range(len(recording)):
        if recording.starts[step]:
            executor.reset_row(0)
        recording.feed(executor, step)
        executor.run()
        if step % FLUSH == 0:
            progress("calibrating", step, len(recording))
    progress("calibrating", len(recording), len(recording))
