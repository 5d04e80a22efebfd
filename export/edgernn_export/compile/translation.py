"""From the graph of a step model to a program."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn_export.compile.arranging import arrange
from edgernn_export.compile.builder import Builder, Node
from edgernn_export.compile.operators import OPERATORS
from edgernn_export.compile.operators.quantization import note_grid
from edgernn_export.compile.operators.sampling import bind_sampler
from edgernn_export.compile.program import Buffer, Kind, Program, Tensor, whole
from edgernn_export.operations import operations
from edgernn_export.passes import optimize
from edgernn_export.passes.lower_recurrent import lower_recurrent
from edgernn_export.sampler import PREFIX as SAMPLER
from edgernn_runtime.errors import CompileError
from edgernn_runtime.spec import Spec, StateSpec

_OLDEST_OPSET: Final = 18
_RANDOM: Final = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout")
)
"""What may give other numbers each time, and is no constant whatever its inputs are."""


def translate(model: onnx.ModelProto, spec: Spec) -> Program:
    """Return the program of a step graph at batch 1.

    Raises:
        CompileError: If an operator is not among those of `OPERATORS`, a shape is not known, or the opset is older than
            what `OPERATORS` are written for.
    """
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise CompileError(f"the graph has opset {opset}, {_OLDEST_OPSET} is the oldest; export the model again")
    model = _lowered(model)
    places = [operation.place for operation in operations(model, spec)]
    nodes = [Node.of(node, place) for node, place in zip(model.graph.node, places, strict=True)]
    uses = _uses(nodes, spec)
    builder = Builder(uses)
    for tensor in model.graph.initializer:
        builder.bind_constant(tensor.name, numpy_helper.to_array(tensor))
    _bind_interface(builder, spec)
    for proto, node in zip(model.graph.node, nodes, strict=True):
        builder.place, builder.node = node.place, node.described
        if spec.graph_sampler is not None and node.name.startswith(SAMPLER):
            continue
        if not _fold(builder, proto, node, model.opset_import):
            _translate(builder, node, uses)
    if spec.graph_sampler is not None:
        builder.place = "sampling"
        bind_sampler(builder, spec)
    _finish(builder, spec)
    arrange(builder.program)
    return builder.program


def _lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without recurrent operators, where it has some that can be lowered."""
    parsed = ir.from_proto(model)
    if not lower_recurrent(parsed):
        return model
    optimize(parsed)
    return ir.to_proto(parsed)


def _uses(nodes: Sequence[Node], spec: Spec) -> Mapping[str, int]:
    uses = Counter(name for node in nodes for name in node.inputs)
    uses.update(output.name for output in spec.outputs)
    uses.update({state.output: 2 for state in spec.states})  # a state lies in memory
    return uses


def _bind_interface(builder: Builder, spec: Spec) -> None:
    for tensor in spec.inputs:
        shape = tensor.sized(1)
        kind: Kind = "value" if len(shape) == 1 and not tensor.dtype.startswith("float") else "input"
        bound = builder.argument(tensor.name, tensor.dtype, shape, kind)
        builder.program.inputs.append(_buffer(bound))
        builder.bind(tensor.name, bound)
        size = tensor.size or (spec.vocabulary if tensor == spec.main_input else 0)
        if size:
            builder.bound(bound, size, least=0)
    for state in spec.states:
        bound = builder.argument(_field(state), state.dtype, state.sized(1), "state")
        builder.program.states.append(_buffer(bound))
        builder.bind(state.input, bound)


def _field(state: StateSpec) -> str:
    """Return what a state is called in C: its path, numbers in front moved behind."""
    parts = state.input.removeprefix("state.").split(".")
    numbers = [part for part in parts if part.isdigit()]
    return "_".join([part for part in parts if not part.isdigit()] + numbers)


def _fold(builder: Builder, proto: onnx.NodeProto, node: Node, opsets: Sequence[onnx.OperatorSetIdProto]) -> bool:
    """Compute a node whose inputs are all constant; return whether it is one."""
    if node.operator == "Shape":
        end = node.attributes.get("end")
        shape = builder.shape(node.inputs[0])[node.integer("start", 0) : end if isinstance(end, int) else None]
        builder.bind_constant(node.outputs[0], np.array(shape, np.int64))
        return True
    feeds = {name: builder.constant(name) for name in node.inputs if name}
    if node.operator in _RANDOM or node.operator.startswith("com.") or any(array is None for array in feeds.values()):
        return False
    made = onnx.helper.make_model(
        onnx.helper.make_graph(
            [proto],
            "constant",
            [onnx.helper.make_empty_tensor_value_info(name) for name in feeds],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs if name],
        ),
        opset_imports=list(opsets),
    )
    results = ReferenceEvaluator(made).run(None, feeds)
    if node.operator == "DequantizeLinear":
        codes = builder.constant(node.inputs[0])
        assert codes is not None  # noqa: S101, every input is constant
        note_grid(builder, node, codes)
    for name, array in zip((name for name in node.outputs if name), results, strict=True):
        builder.bind_constant(name, np.asarray(array))
    return True


def _translate(builder: Builder, node: Node, uses: Mapping[str, int]) -> None:
    operator = OPERATORS.get(node.operator)
    if operator is None:
        node.refuse("is no operator that compiled models have; `docs/compile.md` lists them and says how to add one")
    operator(builder, node)
    for index, name in enumerate(node.outputs):
        if name and name in uses and not builder.knows(name):
            node.refuse(f"must do without its output {index} ({name}), which compiled models do not compute")


def _finish(builder: Builder, spec: Spec) -> None:
    """Write outputs and next states, those of states that are passed on last."""
    for tensor in spec.outputs:
        builder.place = builder.place_of(tensor.name)
        target = builder.argument(tensor.name, tensor.dtype, tensor.sized(1), "output")
        builder.program.outputs.append(_buffer(target))
        builder.store(builder.reshaped(builder.tensor(tensor.name), target.shape), target)
    pairs = [
        (state, builder.tensor(state.output), buffer)
        for state, buffer in zip(spec.states, builder.program.states, strict=True)
    ]
    kept = []
    for state, value, buffer in pairs:
        builder.place = builder.place_of(state.output)
        kept.append((state, _aside(builder, value, buffer), buffer))
    for state, changed, buffer in kept:
        builder.place = builder.place_of(state.output)
        if changed is not None:
            target = whole(buffer, state.sized(1))
            builder.store(builder.reshaped(changed, target.shape), target)


def _aside(builder: Builder, value: Tensor, buffer: Buffer) -> Tensor | None:
    """Return a next state that no other one overwrites first; None if the state stays as it is."""
    source = value.source
    if source is buffer and value.contiguous:
        return None
    if isinstance(source, Buffer) and source.kind != "state":
        return value
    copy = builder.scratch(value.shape, value.dtype, f"next_{buffer.name}")
    builder.store(value, copy)
    return copy


def _buffer(tensor: Tensor) -> Buffer:
    assert isinstance(tensor.source, Buffer)  # noqa: S101, what is part of the interface lies in memory
    return tensor.source
