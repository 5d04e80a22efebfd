"""A Spec in an ONNX model: writing it, reading it, and the figures that follow from the graph."""

from pathlib import Path
from typing import Final

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from edgernn_export.identity import model_id
from edgernn_export.passes.drop_sequence_axis import RECURRENT
from edgernn_export.passes.edit import nodes_of
from edgernn_runtime.engines.object_file import check_is_no_code
from edgernn_runtime.errors import ModelFileError, OutputError, SpecError, first_line
from edgernn_runtime.files import check_target
from edgernn_runtime.spec import Spec
from edgernn_runtime.spec_json import MODEL_ID_KEY, SPEC_KEY, spec_from_metadata, spec_to_json

EXAMPLE_KEY: Final = "edgernn.example"

_PRODUCER: Final = "edgernn"


def write_spec(model: onnx.ModelProto, spec: Spec) -> None:
    """Put a Spec, and the model id that follows from it and the weights, into the model's metadata."""
    entries = {SPEC_KEY: spec_to_json(spec), MODEL_ID_KEY: model_id(spec, model)}
    kept = [entry for entry in model.metadata_props if entry.key not in entries]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name = _PRODUCER
    model.producer_version = spec.producer.edgernn


def write_example(model: onnx.ModelProto, lines: tuple[str, ...]) -> None:
    """Put the example that a model was lifted with into its metadata, one argument a line."""
    model.metadata_props.add(key=EXAMPLE_KEY, value="\n".join(lines))


def read_example(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the example that a model was lifted with; empty if it was not lifted."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    return tuple(entries.get(EXAMPLE_KEY, "").splitlines())


def read_spec(model: onnx.ModelProto) -> tuple[Spec, str]:
    """Return the Spec and the model id in a model's metadata.

    Raises:
        SpecError: If either is missing or malformed, or the id is not that of these weights.
    """
    spec, stored = spec_from_metadata({entry.key: entry.value for entry in model.metadata_props})
    if model_id(spec, model) != stored:
        raise SpecError("the weights or the Spec were changed after the export: the model id does not match them")
    return spec, stored


def read_model(path: Path) -> tuple[onnx.ModelProto, Spec, str]:
    """Return a model file, its Spec and its id, checked: the id must be that of Spec and weights.

    Raises:
        ModelFileError: If the file is missing or no ONNX model.
        SpecError: If it has no valid Spec, or was changed after the export.
    """
    model = read_proto(path)
    try:
        return model, *read_spec(model)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except (TypeError, ValueError, LookupError, onnx.checker.ValidationError) as error:
        raise ModelFileError(f"{path} is damaged: its weights cannot be read: {error}") from error


def read_proto(path: Path) -> onnx.ModelProto:
    """Return the ONNX model in a file, with or without a Spec; external data is not loaded.

    Raises:
        ModelFileError: If the file is missing or no ONNX model.
    """
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, not a model file")
    check_is_no_code(path)
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise ModelFileError(f"{path} is no ONNX model: {first_line(error)}") from error


def check_model_target(path: Path, *, overwrite: bool) -> None:
    """Check that a model may be written to `path`, before any work is spent on it.

    Raises:
        OutputExistsError: If the file exists and `overwrite` is false.
        OutputError: If the name does not end in `.onnx`, or there is no folder for it.
    """
    if path.suffix != ".onnx":
        raise OutputError(f"{path} must end in .onnx; other files are never replaced by a model")
    check_target(path, overwrite=overwrite)


def lowering_of(graph: ir.Graph) -> str:
    """Return the lowering that a step graph is in: `fused` if it has recurrent operators, else `cell`."""
    return "fused" if nodes_of(graph, *RECURRENT) else "cell"


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of weights that one step reads at batch 1: of a looked-up table, one row."""
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    for node in model.graph.node:
        if node.op_type == "GatherBlockQuantized":  # codes, indices, scales, zero points
            tables |= {node.input[0], *node.input[2:]}
    return sum(
        _bytes(tensor) // tensor.dims[0] if tensor.name in tables else _bytes(tensor)
        for tensor in model.graph.initializer
    )


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(onnx.numpy_helper.to_array(tensor).nbytes)
