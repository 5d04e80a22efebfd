"""Observer: the engine of a graph that also gathers what its weights are multiplied with, and its states."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgernn_export.metadata import write_spec
from edgernn_export.passes.edit import add_constant
from edgernn_export.quantization.activation import Activation, Gathered
from edgernn_export.quantization.source import Graph, qualified
from edgernn_runtime.engine import Array, Executor, Placement, RowStates
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec, TensorSpec


class Observer:
    """The engine of a graph that also gives what its weights are multiplied with, and gathers it. Mutable."""

    def __init__(self, stage: str, graph: Graph) -> None:
        """Open a graph; an InputError if the shape of what a weight is multiplied with is not known."""
        self._stage = stage
        products = [each for each in graph.weights if each.kind == "product"]
        self._weights = {each.name: each.inputs for each in products}
        values = {name: len(each.array) for each in products for name in each.inputs}
        self._engine = OrtEngine(_with_outputs(graph, values))
        self._gathered = {names: Gathered(names[0], moments=True) for names in self._weights.values()}
        self._gathered_states = {
            i: Gathered(state.input, moments=False)
            for i, state in enumerate(graph.spec.states)
            if state.dtype == "float32"
        }
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
        for names, gathered in self._gathered.items():
            for name in names:
                gathered.add(executor.outputs[_observed(name)])
        states = executor.read_state()
        for i, gathered in self._gathered_states.items():
            gathered.add(states[i])
        self.steps += 1

    def inputs(self) -> Mapping[str, Activation]:
        """Return what each weight met, by qualified name."""
        found = {names: gathered.activation() for names, gathered in self._gathered.items()}
        return {qualified(self._stage, weight): found[names] for weight, names in self._weights.items()}

    def states(self) -> Mapping[str, Activation]:
        """Return what each float32 state was, by qualified name."""
        names = [state.input for state in self._spec.states]
        return {qualified(self._stage, names[i]): each.activation() for i, each in self._gathered_states.items()}


class _ObservedExecutor(RowStates):
    """An executor whose every step is observed."""

    def __init__(self, executor: Executor, observer: Observer) -> None:
        self._spec = observer.spec
        self._executor = executor
        self._observer = observer
        self.inputs = executor.inputs
        self.outputs = executor.outputs

    @property
    def batch(self) -> int:
        return self._executor.batch

    def run(self) -> None:
        self._executor.run()
        self._observer.observe(self._executor)

    def read_state(self) -> tuple[Array, ...]:
        return self._executor.read_state()

    def write_state(self, arrays: Sequence[Array]) -> None:
        self._executor.write_state(arrays)


def _with_outputs(graph: Graph, values: Mapping[str, int]) -> bytes:
    """Return a graph at batch 1 that also gives some values, `values` by their columns, as `[1, rows, columns]`."""
    model, spec = graph.model(), _one_row(graph.spec)
    _fix_shapes(model, spec)
    found = {value.name: value for node in model.graph for value in node.outputs}
    found |= {value.name: value for value in model.graph.inputs}
    extra = []
    for name, columns in values.items():
        value = found[name]
        sizes = [axis for axis in value.shape or () if isinstance(axis, int)]
        if value.shape is None or len(sizes) < len(value.shape):
            raise InputError(f"the shape of {name} is not known, so what its weights meet cannot be observed")
        axes = (1, math.prod(sizes) // columns, columns)
        copy = ir.node("Reshape", [value, add_constant(model.graph, "observed_shape", np.array(axes, np.int64))])
        output = copy.outputs[0]
        output.name, output.type, output.shape = _observed(name), ir.TensorType(ir.DataType.FLOAT), ir.Shape(axes)
        model.graph.append(copy)
        model.graph.outputs.append(output)
        extra.append(TensorSpec(_observed(name), "float32", axes, "frame"))
    proto = ir.to_proto(model)
    write_spec(proto, replace(spec, outputs=(*spec.outputs, *extra)))
    content: bytes = proto.SerializeToString()
    return content


def _one_row(spec: Spec) -> Spec:
    """Return the Spec of the same graph at batch 1."""
    return replace(
        spec,
        batch=1,
        inputs=tuple(replace(each, shape=each.sized(1)) for each in spec.inputs),
        outputs=tuple(replace(each, shape=each.sized(1)) for each in spec.outputs),
        states=tuple(replace(each, shape=each.sized(1)) for each in spec.states),
    )


def _fix_shapes(model: ir.Model, spec: Spec) -> None:
    """Give all values of a graph the shapes that they have at batch 1."""
    shapes = {each.name: each.shape for each in (*spec.inputs, *spec.outputs)}
    shapes |= {name: state.shape for state in spec.states for name in (state.input, state.output)}
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape(shapes[str(value.name)])
    ShapeInferencePass()(model)


def _observed(name: str) -> str:
    return f"observed.{name}"
