"""Calibration: what weights and states of a float32 model meet along live streams, the state evolving as it does."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import ShapeInferencePass

from edgernn_export.metadata import write_spec
from edgernn_export.passes.edit import add_constant
from edgernn_export.quantization.histogram import Histogram
from edgernn_export.quantization.source import Graph, Source, qualified
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine, Executor, Placement
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import BATCH, Spec, TensorSpec

LEAST_STEPS: Final = 256
"""What is shorter says too little of the inputs that weights meet."""

_FLUSH: Final = 256
_WINDOWS: Final = 8
_GROWTH: Final = 1.1
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """What a value of the graph was along the streams.

    Attributes:
        histogram: How often it took which values.
        moments: The second moments `E[x xT]` over steps and rows, float64 `[K, K]`; None for a state.
        peaks: The largest magnitude in each eighth of the steps, float64 `[8]`.
    """

    histogram: Histogram
    moments: NDArray[np.float64] | None
    peaks: NDArray[np.float64]

    @property
    def grows(self) -> bool:
        """Whether its magnitude rose by a tenth at least between each two quarters of the steps."""
        quarters = self.peaks.reshape(-1, 2).max(axis=1)
        return bool((quarters[1:] > _GROWTH * quarters[:-1]).all())


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
    observers = {name: _Observer(name, graph) for name, graph in source.graphs.items()}
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
    for name, array in recording.inputs.items():
        finite = np.isfinite(array.reshape(len(array), -1).astype(np.float64)).all(axis=1)
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
        if step % _FLUSH == 0:
            progress("calibrating", step, len(recording))
    progress("calibrating", len(recording), len(recording))


class _Observer:
    """The engine of a graph that also gives what its weights are multiplied with, and gathers it. Mutable."""

    def __init__(self, stage: str, graph: Graph) -> None:
        self._stage = stage
        self._weights = {each.name: each.input for each in graph.weights if each.kind == "product"}
        values = {each.input: len(each.array) for each in graph.weights if each.kind == "product"}
        self._engine = OrtEngine(_with_outputs(graph, values))
        self._states = tuple(state.input for state in graph.spec.states)
        self._gathered = {name: _Gathered(name, moments=True) for name in values}
        self._gathered_states = [
            _Gathered(state.input, moments=False) if state.dtype == "float32" else None for state in graph.spec.states
        ]
        self._spec = graph.spec
        self.steps = 0

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def model_id(self) -> str:
        return self._engine.model_id

    @property
    def providers(self) -> tuple[str, ...]:
        return self._engine.providers

    def placement(self) -> tuple[Placement, ...]:
        return self._engine.placement()

    def executor(self, batch: int) -> Executor:
        return _ObservedExecutor(self._engine.executor(batch), self)

    def observe(self, executor: Executor) -> None:
        """Gather what an executor's last step met."""
        for name, gathered in self._gathered.items():
            gathered.add(executor.outputs[_observed(name)])
        for gathered_state, array in zip(self._gathered_states, executor.read_state(), strict=True):
            if gathered_state is not None:
                gathered_state.add(array)
        self.steps += 1

    def inputs(self) -> Mapping[str, Activation]:
        """Return what each weight met, by qualified name."""
        found = {name: gathered.activation() for name, gathered in self._gathered.items()}
        return {qualified(self._stage, weight): found[value] for weight, value in self._weights.items()}

    def states(self) -> Mapping[str, Activation]:
        """Return what each float32 state was, by qualified name."""
        pairs = zip(self._states, self._gathered_states, strict=True)
        return {qualified(self._stage, name): each.activation() for name, each in pairs if each is not None}


class _ObservedExecutor:
    """An executor whose every step is observed."""

    def __init__(self, executor: Executor, observer: _Observer) -> None:
        self._executor = executor
        self._observer = observer
        self.batch = executor.batch
        self.inputs = executor.inputs
        self.outputs = executor.outputs

    def run(self) -> None:
        self._executor.run()
        self._observer.observe(self._executor)

    def read_state(self) -> tuple[Array, ...]:
        return self._executor.read_state()

    def write_state(self, arrays: Sequence[Array]) -> None:
        self._executor.write_state(arrays)

    def reset_row(self, row: int) -> None:
        self._executor.reset_row(row)

    def move_row(self, source: int, target: int) -> None:
        self._executor.move_row(source, target)


class _Gathered:
    """Values of one kind, step by step, summed up in blocks. Mutable."""

    def __init__(self, name: str, *, moments: bool) -> None:
        self._name = name
        self._waiting: list[Array] = []
        self._histogram = Histogram()
        self._with_moments = moments
        self._moments: NDArray[np.float64] | None = None
        self._rows = 0
        self._steps = 0
        self._peaks: list[float] = []

    def add(self, array: Array) -> None:
        """Take the values of one step, `[1, ..., K]`."""
        self._waiting.append(np.array(array))
        if len(self._waiting) == _FLUSH:
            self._sum_up()

    def activation(self) -> Activation:
        """Return what was gathered."""
        self._sum_up()
        moments = None if self._moments is None else self._moments / self._rows
        windows = np.array_split(np.array(self._peaks), _WINDOWS)
        return Activation(self._histogram, moments, np.array([window.max(initial=0) for window in windows]))

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        steps = np.stack(self._waiting).astype(np.float64)
        self._waiting = []
        flat = steps.reshape(len(steps), -1)
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            step = self._steps + int(np.argmin(finite))
            raise InputError(f"{self._name} becomes NaN or infinite at step {step} of the calibration")
        self._steps += len(steps)
        self._histogram.add(flat)
        self._peaks += np.abs(flat).max(axis=1).tolist()
        if self._with_moments:
            rows = steps.reshape(-1, steps.shape[-1])
            self._rows += len(rows)
            product = rows.T @ rows
            self._moments = product if self._moments is None else self._moments + product


def _with_outputs(graph: Graph, values: Mapping[str, int]) -> bytes:
    """Return a graph that also gives some of its values, `values` by their columns, as `[batch, rows, columns]`."""
    model = graph.model()
    ShapeInferencePass()(model)
    found = {value.name: value for node in model.graph for value in node.outputs}
    found |= {value.name: value for value in model.graph.inputs}
    dynamic = graph.spec.batch == "dynamic"
    extra = []
    for name, columns in values.items():
        value = found[name]
        if value.shape is None:
            raise InputError(f"the shape of {name} is not known, so what its weights meet cannot be observed")
        rows = math.prod(axis for axis in value.shape if isinstance(axis, int)) // columns
        shape = add_constant(model.graph, "observed_shape", np.array([-1 if dynamic else 1, rows, columns], np.int64))
        copy = ir.node("Reshape", [value, shape])
        output = copy.outputs[0]
        axes = (BATCH if dynamic else 1, rows, columns)
        output.name, output.type = _observed(name), ir.TensorType(ir.DataType.FLOAT)
        output.shape = ir.Shape([ir.SymbolicDim(axis) if isinstance(axis, str) else axis for axis in axes])
        model.graph.append(copy)
        model.graph.outputs.append(output)
        extra.append(TensorSpec(_observed(name), "float32", axes, "frame"))
    proto = ir.to_proto(model)
    write_spec(proto, replace(graph.spec, outputs=(*graph.spec.outputs, *extra)))
    content: bytes = proto.SerializeToString()
    return content


def _observed(name: str) -> str:
    return f"observed.{name}"
