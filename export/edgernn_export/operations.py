"""Operations: what each node of a step graph is for, and the multiplications and additions of one step."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import onnx

from edgernn_runtime.errors import ModelFileError, first_line
from edgernn_runtime.profiling import NodeTime, OperatorTime, Trace, TracedStep, fold
from edgernn_runtime.spec import Spec

Shape = tuple[int, ...]

_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv", "ConvTranspose"})
_TABLES: Final = frozenset({"Gather", "GatherBlockQuantized"})
_CONVERSIONS: Final = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_WEIGHT: Final[Mapping[str, int]] = {
    "MatMul": 1,
    "FusedMatMul": 1,
    "Gemm": 1,
    "FusedGemm": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QLinearMatMul": 3,
}
"""The place of the second factor among a product's inputs."""

_RANKS: Final = {"table": 0, "layer": 1, "state": 2, "head": 3, "sampling": 4, "unused": 5}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one node is for.

    Attributes:
        node: The node's name.
        operator: Its operator type.
        place: `table`, `layer N product`, `layer N convolution`, `layer N LSTM` (or GRU, RNN), `layer N conversion`,
            `layer N gates` for the rest of a layer, `state NAME`, `head`, `sampling`, or `unused`.
    """

    node: str
    operator: str
    place: str

    @property
    def rank(self) -> tuple[int, int, str]:
        """Where the place stands in a table that follows a step: tables, then layers, then what reads them."""
        first, _, rest = self.place.partition(" ")
        number, _, kind = rest.partition(" ")
        if first == "layer" and number.isdigit():
            return _RANKS[first], int(number), kind
        return _RANKS.get(first, len(_RANKS)), 0, ""


def operations(model: onnx.ModelProto, spec: Spec) -> tuple[Operation, ...]:
    """Return what each node of a step graph is for, in the graph's order.

    A layer is a set of states that depend on each other from one step to the next through a product. A node belongs
    to the first layer whose next state it changes, else to what it changes besides.

    Args:
        model: The graph; it may have been optimised, as long as inputs and outputs keep their names.
        spec: What the file of the model says of itself.
    """
    graph = _Graph(model.graph, spec)
    return tuple(Operation(node.name, node.op_type, graph.place(i)) for i, node in enumerate(model.graph.node))


def macs_per_step(model: onnx.ModelProto) -> int | None:
    """Return the multiplications with an addition in one step of one stream; None where a shape is not known.

    Counted are products, convolutions and recurrent operators; what works element by element is not.
    """
    shapes = _shapes(model)
    counts = [_macs(node, shapes) for node in model.graph.node]
    return None if None in counts else sum(count or 0 for count in counts)


def read_graph(path: Path) -> onnx.ModelProto:
    """Return the graph in a file.

    Raises:
        ModelFileError: If it cannot be read.
    """
    try:
        return onnx.load(path)
    except Exception as error:
        raise ModelFileError(f"{path} could not be read: {first_line(error)}") from error


def find_operation(found: Mapping[str, Operation], node: str) -> Operation | None:
    """Return the operation of a node by its name, or by the one that a fusion made its name from.

    >>> made = Operation("dot", "MatMul", "head")
    >>> find_operation({"dot": made}, "dot/MatMulAddFusion").place
    'head'
    """
    return found.get(node) or found.get(node.rpartition("/")[0])


def operator_times(trace: Trace, step: TracedStep, *, step_us: float | None = None) -> tuple[OperatorTime, ...]:
    """Return the time of a traced step by place and operator type, in the order in which a step goes.

    What ONNX Runtime made under a name of its own, which no node of the graph has, stands under that name, last.

    Args:
        trace: The trace that was read.
        step: What was read.
        step_us: The time of a step that is not traced.

    Raises:
        ModelFileError: If a graph cannot be read.
    """
    found = {
        stage.stage: {each.node: each for each in operations(read_graph(stage.graph), stage.spec)}
        for stage in trace.stages
    }
    stages = list(found)

    def operation(node: NodeTime) -> Operation:
        return find_operation(found[node.stage], node.node) or Operation(node.node, node.operator, node.node)

    nodes = sorted(step.nodes, key=lambda node: (stages.index(node.stage), operation(node).rank))
    return fold(nodes, lambda node: operation(node).place, step_us=step_us)


class _Graph:
    """What leads where in a step graph. Immutable after it was made."""

    def __init__(self, graph: onnx.GraphProto, spec: Spec) -> None:
        self._nodes = list(graph.node)
        self._weights = {tensor.name for tensor in graph.initializer}
        self._written = {state.output: state.input for state in spec.states}
        self._outputs = {output.name for output in spec.outputs}
        self._maker = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self._leads_to = self._spread(self._written.keys() | self._outputs)
        tokens = any(output.role == "token" for output in spec.outputs)
        self._sampled = self._outputs & self._reached_from(spec.main_output.name) if tokens else set()

    def place(self, index: int) -> str:
        node, reached = self._nodes[index], self._leads_to[index]
        if node.op_type in _TABLES and node.input[0] in self._weights:
            return "table"
        states = {self._written[name] for name in reached if name in self._written}
        group = next((group for group in self._groups if states & group), None)
        if group is None:
            return "unused" if not reached else "sampling" if reached <= self._sampled else "head"
        if group not in self._layers:
            return f"state {min(group).removeprefix('state.')}"
        return f"layer {self._layers[group]} {self._kind(node)}"

    def _kind(self, node: onnx.NodeProto) -> str:
        if node.op_type in _RECURRENT:
            return node.op_type
        if node.op_type in _CONVOLUTIONS:
            return "convolution"
        if _is_product(node):
            return "product"
        return "conversion" if node.op_type in _CONVERSIONS else "gates"

    @cached_property
    def _groups(self) -> list[frozenset[str]]:
        """The states in groups that depend on each other, those that others depend on first."""
        next_of: dict[str, set[str]] = {state: {state} for state in self._written.values()}
        for state, found in next_of.items():
            found |= {self._written[name] for name in self._reached_from(state) if name in self._written}
        groups = {frozenset(other for other in found if state in next_of[other]) for state, found in next_of.items()}
        return sorted(groups, key=lambda group: (-len(next_of[min(group)]), sorted(group)))

    @cached_property
    def _layers(self) -> dict[frozenset[str], int]:
        """The number of each group that depends on itself through a product."""
        numbered = [group for group in self._groups if self._is_layer(group)]
        return {group: number for number, group in enumerate(numbered)}

    def _is_layer(self, group: frozenset[str]) -> bool:
        written = {name for name, state in self._written.items() if state in group}
        return any(
            self._leads_to[index] & written
            for state in group
            for index in self._nodes_from(state)
            if _is_product(self._nodes[index])
        )

    def _nodes_from(self, tensor: str) -> list[int]:
        """Return the nodes that depend on a tensor; nodes stand in an order in which they can run."""
        known, found = {tensor}, []
        for index, node in enumerate(self._nodes):
            if known & set(node.input):
                known |= set(node.output)
                found.append(index)
        return found

    def _reached_from(self, tensor: str) -> set[str]:
        """Return the outputs of the graph that depend on a tensor, which may be one itself."""
        return {name for index in self._nodes_from(tensor) for name in self._nodes[index].output}

    def _spread(self, ends: Iterable[str]) -> list[frozenset[str]]:
        """Return for each node the outputs of the graph that depend on it."""
        reached: dict[str, set[str]] = defaultdict(set, {name: {name} for name in ends})
        for node in reversed(self._nodes):
            there = set().union(*(reached[name] for name in node.output if name))
            for name in node.input:
                if name:
                    reached[name] |= there
        return [frozenset().union(*(reached[name] for name in node.output if name)) for node in self._nodes]


def _is_product(node: onnx.NodeProto) -> bool:
    return node.op_type in {*_WEIGHT, *_CONVOLUTIONS, *_RECURRENT, "MatMulNBits"}


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    """Return the multiplications of a node."""
    count = next((count for operators, count in _COUNTS if node.op_type in operators), None)
    if count is None:
        return 0
    try:
        return count(node, [shapes.get(name) for name in node.input], [shapes.get(name) for name in node.output])
    except (IndexError, TypeError, KeyError):
        return None


Shapes = Sequence[Shape | None]


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise TypeError("a shape that is not known")
    return shape


def _matmul(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    inner = _known(inputs[_WEIGHT[node.op_type]])
    transposed = next((each.i for each in node.attribute if each.name == "transB"), 0)
    depth = inner[-1] if transposed else inner[max(len(inner) - 2, 0)]
    return math.prod(_known(outputs[0])) * depth


def _matmul_bits(node: onnx.NodeProto, inputs: Shapes, _: Shapes) -> int:
    sizes = {each.name: each.i for each in node.attribute}
    return int(math.prod(_known(inputs[0])[:-1]) * sizes["K"] * sizes["N"])


def _convolution(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    weight = _known(inputs[3 if node.op_type == "QLinearConv" else 1])
    return math.prod(_known(outputs[0])) * math.prod(weight[1:])


def _transposed(_: onnx.NodeProto, inputs: Shapes, __: Shapes) -> int:
    return math.prod(_known(inputs[0])) * math.prod(_known(inputs[1])[1:])


def _recurrent(_: onnx.NodeProto, inputs: Shapes, __: Shapes) -> int:
    steps, batch = _known(inputs[0])[:2]
    return steps * batch * (math.prod(_known(inputs[1])) + math.prod(_known(inputs[2])))


_COUNTS: Final[Sequence[tuple[frozenset[str], Callable[[onnx.NodeProto, Shapes, Shapes], int]]]] = (
    (frozenset(_WEIGHT), _matmul),
    (frozenset({"MatMulNBits"}), _matmul_bits),
    (frozenset({"ConvTranspose"}), _transposed),
    (_CONVOLUTIONS, _convolution),
    (_RECURRENT, _recurrent),
)


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shapes of all tensors as far as they can be inferred, the batch being 1."""
    inferred = onnx.shape_inference.infer_shapes(_plain(model)).graph
    found: dict[str, Shape] = {}
    for info in (*inferred.input, *inferred.output, *inferred.value_info):
        kind = info.type.tensor_type
        if kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim):
            found[info.name] = tuple(axis.dim_value for axis in kind.shape.dim)
    return found | {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy at batch 1, ONNX Runtime's products and tables replaced by those that ONNX can infer."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    for tensor in graph.input:
        for axis in tensor.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.dim_value = 1
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    codes = {
        node.input[0]: _unpacked(tensors[node.input[0]], node)
        for node in graph.node
        if node.op_type == "GatherBlockQuantized" and node.input[0] in tensors
    }
    for i, node in enumerate(list(graph.node)):
        found = _replaced(node, codes, f"weights of node {i}")
        if found is not None:
            graph.node[i].CopyFrom(found[0])
            graph.input.append(found[1])
    return copy


def _replaced(
    node: onnx.NodeProto, codes: Mapping[str, Shape], weights: str
) -> tuple[onnx.NodeProto, onnx.ValueInfoProto] | None:
    """Return the plain node that has a node's shapes, and what it reads in place of packed weights.

    Args:
        node: A node, of any type; None is returned for one that is plain.
        codes: The shapes of packed tables, as if each code took a byte.
        weights: What to call the weights.
    """
    sizes = {each.name: each.i for each in node.attribute}
    shape: Shape
    if node.op_type == "MatMulNBits":
        operator, inputs, axis = "MatMul", [node.input[0], weights], {}
        shape = sizes["K"], sizes["N"]
    elif node.op_type == "GatherBlockQuantized" and node.input[0] in codes:
        operator, inputs, axis = "Gather", [weights, node.input[1]], {"axis": sizes.get("gather_axis", 0)}
        shape = codes[node.input[0]]
    else:
        return None
    made = onnx.helper.make_node(operator, inputs, list(node.output), node.name, **axis)
    return made, onnx.helper.make_tensor_value_info(weights, onnx.TensorProto.FLOAT, shape)


def _unpacked(tensor: onnx.TensorProto, node: onnx.NodeProto) -> Shape:
    """Return the shape of a table's codes, of which a byte may hold two."""
    bits = next((each.i for each in node.attribute if each.name == "bits"), 4)
    packed = 8 // bits if tensor.data_type == onnx.TensorProto.UINT8 else 1
    return (*tensor.dims[:-1], tensor.dims[-1] * packed)
