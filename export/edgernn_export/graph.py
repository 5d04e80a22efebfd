"""From a StepModule to the ONNX graph of one step."""

import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Final

import onnx_ir as ir
import torch
from onnx_ir.passes.common import OutputFixPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch.export import Dim

from edgernn_export.elman_operator import elman_operators
from edgernn_export.passes.drop_sequence_axis import RECURRENT
from edgernn_export.passes.edit import nodes_of
from edgernn_export.step import StepModule, as_module
from edgernn_runtime.errors import ExportError, first_line
from edgernn_runtime.spec import BATCH, StateSpec, TensorSpec

OPSET: Final = 20

_EXAMPLE_BATCH: Final = 2
_ANY_SIZE: Final = 2**62
_LOGADDEXP: Final = torch.ops.aten.logaddexp.default


def to_graph(step: StepModule) -> ir.Model:
    """Return the ONNX graph of one step, as torch exports it, with the Spec's names.

    Time is not in the graph; the batch is dynamic unless the Spec says 1.

    Raises:
        ExportError: If torch cannot export the module.
    """
    spec = step.spec
    module = as_module(step).eval()
    dynamic = spec.batch == "dynamic"
    batch = _EXAMPLE_BATCH if dynamic else 1
    tensors: list[TensorSpec | StateSpec] = [*spec.inputs, *spec.states]
    example = tuple(torch.zeros(each.sized(batch), dtype=getattr(torch, each.dtype)) for each in tensors)
    axes: dict[int, object] = {0: Dim(BATCH, min=1, max=65536)}
    shapes = _like_signature(module, tuple(axes for _ in tensors))
    try:
        with quiet_exporter():
            # Given the module, the exporter would turn recurrent layers with a dynamic batch into loops.
            captured = torch.export.export(module, example, dynamic_shapes=shapes if dynamic else None, strict=False)
            decompositions = elman_operators(captured.graph, opset=OPSET)
            if any(node.target is _LOGADDEXP for node in captured.graph.nodes):
                decompositions[_LOGADDEXP] = _logaddexp
            if decompositions:
                captured = captured.run_decompositions(decompositions)
            program = torch.onnx.export(
                captured,
                dynamo=True,
                input_names=[*(each.name for each in spec.inputs), *(state.input for state in spec.states)],
                output_names=[*(each.name for each in spec.outputs), *(state.output for state in spec.states)],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(f"torch could not export {type(module).__name__}: {_reason(error)}") from error
    if program is None:
        raise ExportError(f"torch returned no program for {type(module).__name__}")
    _fold_recurrent_weights(program.model)
    return _named(program.model, [*(each.name for each in spec.outputs), *(state.output for state in spec.states)])


def _logaddexp(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return log(exp(left) + exp(right)) without overflow, which the exporter's own form has."""
    high, low = torch.maximum(left, right), torch.minimum(left, right)
    distance = torch.where(left == right, torch.zeros_like(left), low - high)  # of infinities as well
    return high + torch.log1p(torch.exp(distance))


def _fold_recurrent_weights(model: ir.Model) -> None:
    """Compute the weights of recurrent operators once, which the exporter leaves to the graph where they are large."""
    if nodes_of(model.graph, *RECURRENT):
        fold_constants(model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
        RemoveUnusedNodesPass()(model)


def _reason(error: Exception) -> str:
    """Return the first line of what lies at the root of an exporter's error, without its colours."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    return re.sub(r"\x1b\[[0-9;]*m", "", first_line(root))


def _named(model: ir.Model, outputs: list[str]) -> ir.Model:
    """Give every output a value and a name of its own, also where one is an input or another output."""
    OutputFixPass()(model)
    _name_batch(model.graph)
    for value, name in zip(model.graph.outputs, outputs, strict=True):
        value.name = name
    return model


def _name_batch(graph: ir.Graph) -> None:
    """Give the batch its name, where torch made up a symbol for it."""
    shape = graph.inputs[0].shape
    symbol = None if shape is None else shape[0]
    if not isinstance(symbol, ir.SymbolicDim):
        return
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([ir.SymbolicDim(BATCH) if each == symbol else each for each in value.shape])


def _like_signature(module: torch.nn.Module, flat: tuple[dict[int, object], ...]) -> tuple[object, ...]:
    """Return one entry per tensor, those that `forward` takes through `*names` as one tuple."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return flat
    positional = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*flat[:positional], flat[positional:])


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress and warnings off the terminal; its errors come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
