"""Small graphs as step models, and both engines of one: onnxruntime and the code compiled from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn_export.compile import build_library, compile_model, find_target
from edgernn_export.metadata import write_spec
from edgernn_runtime import Model, load
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

Array = NDArray[np.generic]
Shape = tuple[int, ...]

_TYPES = {"float32": 1, "int64": 7, "int32": 6, "bool": 9, "uint8": 2, "int8": 3}


def write_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, tuple[str, Shape]],
    states: Mapping[str, tuple[str, Shape]] | None = None,
    constants: Mapping[str, Array] | None = None,
    tokens: Mapping[str, int] | None = None,
) -> Path:
    """Write a step model of nodes.

    Args:
        path: The file.
        nodes: The nodes, in an order in which they can run.
        inputs: The float32 inputs and their shapes without the batch.
        outputs: The outputs with dtype and shape.
        states: The states by input name, with the output and the shape.
        constants: What is constant.
        tokens: The integer inputs, and from which number on they are out of range.
    """
    given = [TensorSpec(name, "float32", (BATCH, *shape), "frame") for name, shape in inputs.items()]
    given += [TensorSpec(name, "int64", (BATCH,), "token", size=size) for name, size in (tokens or {}).items()]
    made = [TensorSpec(name, dtype, (BATCH, *shape), "frame") for name, (dtype, shape) in outputs.items()]
    kept = [StateSpec(name, after, "float32", (BATCH, *shape)) for name, (after, shape) in (states or {}).items()]
    graph = helper.make_graph(
        nodes,
        "step",
        [_value(each.name, each.dtype, each.shape) for each in given]
        + [_value(s.input, s.dtype, s.shape) for s in kept],
        [_value(each.name, each.dtype, each.shape) for each in made]
        + [_value(s.output, s.dtype, s.shape) for s in kept],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    write_spec(model, Spec(tuple(given), tuple(made), tuple(kept)))
    path.write_bytes(model.SerializeToString())
    return path


def engines(path: Path) -> tuple[Model, Model]:
    """Return a model on onnxruntime, and compiled for this machine."""
    return load(path), load(library_of(path))


def library_of(path: Path) -> Path:
    """Return the library of a model file, built beside it."""
    compiled = compile_model(path, path.parent / f"{path.stem}-c", overwrite=True)
    library = compiled.source.with_suffix(".so")
    target = find_target("host")
    build_library(compiled.source, target, library, model_id=compiled.model_id, spec=compiled.spec, overwrite=True)
    return library


def _tensor(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return _value(tensor.name, tensor.dtype, tensor.shape)


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[dtype], list(shape))
