"""OnnxModule: an ONNX graph as a torch module, so that it is traced and lifted like one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import onnx
import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from edgernn_export.lifting.onnx_graph.operators import OPERATORS
from edgernn_export.lifting.onnx_graph.recurrent import RECURRENT
from edgernn_export.lifting.onnx_graph.values import Given, Host
from edgernn_export.metadata import read_proto
from edgernn_runtime.errors import InputError, LiftError, ModelFileError, first_line

_LOOPS: Final = ("Loop", "Scan")


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph: its name, its dtype, and its axes as declared."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]


class OnnxModule(nn.Module):
    """An ONNX graph that torch computes, operator by operator.

    What follows from shapes and fixed inputs alone is computed beside the trace, so that branches are decided and
    sizes are known. `forward` takes the graph's inputs by name and returns a dict of its outputs.
    """

    def __init__(self, model: ModelProto, fixed: Mapping[str, Host]) -> None:
        """Read a graph; `fixed` are the values of inputs that are not to stay inputs."""
        super().__init__()
        self._graph = model.graph
        self._opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 1)
        self._constants = _Constants()
        self._start: dict[str, Host] = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        names = {port.name for port in ports(model.graph.input)} - set(self._start)
        unknown = set(fixed) - names
        if unknown:
            raise InputError(f"the graph has no input {min(unknown)} to fix; it has {', '.join(sorted(names))}")
        self._start.update(fixed)
        self.inputs = [port for port in ports(model.graph.input) if port.name not in self._start]
        self.outputs = ports(model.graph.output)
        _check_operators(model.graph)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Compute the graph.

        Raises:
            LiftError: If an operator's sizes or conditions are computed from an input.
        """
        known: dict[str, Given] = {**self._start, **inputs}
        self._run(self._graph, known)
        return {port.name: self._constants.tensor(known[port.name]) for port in self.outputs}

    def _run(self, graph: GraphProto, known: dict[str, Given]) -> None:
        for node in graph.node:
            results = self._node(node, known)
            known.update(zip(node.output, results, strict=False))

    def _node(self, node: NodeProto, known: dict[str, Given]) -> Sequence[Given]:
        given = [known[name] if name else None for name in node.input]
        if node.op_type == "Constant":
            return self._constants.arrays(node, (), lambda: [_constant(node)])
        if node.op_type == "If":
            return self._branch(node, given[0], known)
        if node.op_type == "Shape":
            return [_shape(node, given[0])]
        if node.op_type == "Size":
            return [np.array(int(np.prod(_sizes(given[0]))), np.int64)]
        if all(not isinstance(each, Tensor) for each in given):
            hosts = cast("list[Host | None]", given)
            return self._constants.arrays(node, hosts, lambda: _on_host(node, hosts, self._opset))
        attributes = {each.name: _attribute(each) for each in node.attribute}
        operator = RECURRENT.get(node.op_type) or OPERATORS.get(node.op_type)
        if operator is None:
            raise LiftError(
                f"{node.name or node.op_type} is a {node.op_type} of what is computed from the input, which lifting "
                "does not read; fix the input that it depends on (--fix NAME=VALUE), or lift its torch module"
            )
        values = [self._constants.lasting(each) for each in given]
        try:
            result = operator({**attributes, "opset": self._opset, "outputs": len(node.output)}, *values)
        except LiftError as error:
            raise LiftError(f"{node.name or node.op_type}: {error}") from error
        return list(result) if isinstance(result, tuple) else [result]

    def _branch(self, node: NodeProto, condition: Given, known: dict[str, Given]) -> Sequence[Given]:
        if isinstance(condition, Tensor):
            raise LiftError(
                f"{node.name or 'If'} decides by a value that is computed from the input; a step graph has no "
                "branches, so fix the input that it depends on (--fix NAME=VALUE)"
            )
        name = "then_branch" if bool(np.asarray(condition)) else "else_branch"
        branch = next(each.g for each in node.attribute if each.name == name)
        inner = {**known, **{each.name: numpy_helper.to_array(each) for each in branch.initializer}}
        self._run(branch, inner)
        return [inner[each.name] for each in branch.output]


class _Constants:
    """What is computed once: arrays of nodes without inputs, and tensors of arrays. Mutable: a cache.

    A trace must see real tensors, and the same ones each time; so tensors are made outside of it only.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[str | int, ...], tuple[Sequence[Host | None], list[Host]]] = {}
        self._tensors: dict[int, tuple[Host, Tensor]] = {}

    def arrays(self, node: NodeProto, given: Sequence[Host | None], compute: Callable[[], list[Host]]) -> list[Host]:
        """Return the results of a node for the same inputs as before, or compute them."""
        key = (node.op_type, *node.input, *node.output, *(id(each) for each in given))
        if key not in self._arrays:
            self._arrays[key] = (given, compute())
        return self._arrays[key][1]

    def tensor(self, value: Given) -> Tensor:
        """Return a value as a tensor."""
        return value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))

    def lasting(self, value: Given) -> Given:
        """Return floating arrays as tensors that last, anything else as it is."""
        if value is None or isinstance(value, Tensor) or value.dtype.kind != "f" or value.ndim < 1:
            return value
        if id(value) in self._tensors:
            return self._tensors[id(value)][1]
        made = torch.tensor(np.asarray(value))
        if not isinstance(made, FakeTensor):
            self._tensors[id(value)] = (value, made)
        return made


def read_onnx(path: Path) -> ModelProto:
    """Return the ONNX model in a file, external data in its own folder included.

    Raises:
        ModelFileError: If the file is missing, no ONNX, no valid one, or its data lies outside its folder.
    """
    model = read_proto(path)
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            _check_location(path, ExternalDataInfo(tensor).location)
    try:
        load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelFileError(f"{path} is no valid ONNX model: {first_line(error)}") from error
    return model


def ports(values: Sequence[onnx.ValueInfoProto]) -> list[Port]:
    """Return the inputs or outputs of a graph.

    Raises:
        LiftError: If one is no tensor.
    """
    found = []
    for value in values:
        if not value.type.HasField("tensor_type"):
            raise LiftError(f"{value.name} is no tensor; export the model with tensors as its inputs and outputs")
        kind = value.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        axes = tuple(each.dim_param or int(each.dim_value) for each in kind.shape.dim)
        found.append(Port(value.name, dtype, axes))
    return found


def _check_location(path: Path, location: str) -> None:
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if Path(location).is_absolute() or not target.is_relative_to(folder):
        raise ModelFileError(f"{path} keeps data outside its folder ({location}); move it beside the model")


def _check_operators(graph: GraphProto) -> None:
    known = {*OPERATORS, *RECURRENT, "Constant", "If", "Shape", "Size", "Range", "NonZero", "ScatterND", "OneHot"}
    for node in graph.node:
        if node.op_type in _LOOPS:
            raise LiftError(
                f"{node.name or node.op_type} is a {node.op_type}, whose body is not read; export the model with LSTM, "
                "GRU or RNN operators, or with its loop unrolled"
            )
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            raise LiftError(
                f"{node.name or node.op_type} is a {node.domain or 'standard'} operator {node.op_type} that lifting "
                "does not read; export the model with standard operators, or lift its torch module"
            )
        for each in node.attribute:
            if each.type == AttributeProto.GRAPH:
                _check_operators(each.g)


def _on_host(node: NodeProto, given: Sequence[Host | None], opset: int) -> list[Host]:
    """Compute a node whose inputs are all known."""
    names = [f"input_{i}" if value is not None else "" for i, value in enumerate(given)]
    single = NodeProto()
    single.CopyFrom(node)
    del single.input[:]
    single.input.extend(names)
    inputs = [helper.make_value_info(name, onnx.TypeProto()) for name in names if name]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
    graph = helper.make_graph([single], "host", inputs, outputs)
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    feeds = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    return [np.asarray(each) for each in cast("list[Host]", evaluator.run(None, feeds))]


def _constant(node: NodeProto) -> Host:
    (attribute,) = node.attribute
    value = _attribute(attribute)
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return np.asarray(value, kinds.get(attribute.name))


def _attribute(attribute: AttributeProto) -> Any:  # noqa: ANN401, an attribute is anything
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _shape(node: NodeProto, value: Given) -> Host:
    limits = {each.name: each.i for each in node.attribute}
    return np.array(_sizes(value)[limits.get("start", 0) : limits.get("end")], np.int64)


def _sizes(value: Given) -> list[int]:
    assert value is not None  # noqa: S101, the checker saw to it
    return [int(size) for size in value.shape]
