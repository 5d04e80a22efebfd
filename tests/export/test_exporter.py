"""Export: a step module becomes one checked, self-describing file, or nothing."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgernn.cells.stack import CELLS
from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import TorchEngine, export
from edgernn_export.metadata import read_model
from edgernn_export.parity import largest_difference, random_inputs
from edgernn_runtime.codecs import CharacterCodec
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import ExportError, ModelFileError, OutputExistsError, ParityError, SpecError
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec


def lm_step(cell: str, layers: int = 2, hidden: int = 12) -> RecurrentLMStep:
    torch.manual_seed(3)
    codec = CharacterCodec.from_text("abcdefgh\n ")
    model = RecurrentLM(ModelConfig(cell, codec.size, hidden, layers))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return RecurrentLMStep(model, codec=codec, start=1)


class Echo(nn.Module):
    """A module whose state is the frame before: `y_t = x_t - x_{t-1}`."""

    def __init__(self, *, broken: str = "") -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))
        self.broken = broken
        self.spec = Spec(
            inputs=(TensorSpec("frame", "float32", (BATCH, 3), "frame"),),
            outputs=(TensorSpec("difference", "float32", (BATCH, 3), "frame"),),
            states=(StateSpec("state.past", "next_state.past", "float32", (BATCH, 3), initial=(1.0, 2.0, 3.0)),),
        )

    def forward(self, frame: Tensor, past: Tensor) -> tuple[Tensor, ...]:
        difference = self.gain * (frame - past)
        if self.broken == "control flow" and float(frame.sum()) > 0:
            return frame, past
        if self.broken == "random":
            return difference + torch.rand_like(difference), frame
        return (difference, frame, past) if self.broken == "too many" else (difference, frame)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_an_exported_model_computes_what_torch_computes_at_any_batch(tmp_path: Path, cell: str, layers: int) -> None:
    step = lm_step(cell, layers)
    report = export(step, tmp_path / "m.onnx")
    assert report.spec.parity is not None
    assert report.spec.parity.steps == 256
    assert report.spec.parity.max_abs <= 1e-5
    source, candidate = TorchEngine(step), OrtEngine(report.path)
    for batch in (1, 2, 7):
        inputs = random_inputs(step.spec, steps=300, batch=batch, seed=batch)
        assert largest_difference(source, candidate, inputs).max_abs <= 1e-5


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_step_graph_is_valid_onnx_without_loops_or_recurrent_operators(tmp_path: Path, cell: str) -> None:
    report = export(lm_step(cell), tmp_path / "m.onnx")
    model = onnx.load(report.path)
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"Loop", "Scan", "If", "LSTM", "GRU", "RNN"}
    assert model.graph.input[0].name == "token"
    assert {value.name for value in model.graph.input if value.name.startswith("state.")} == {
        state.input for state in report.spec.states
    }
    assert str(Path.cwd()) not in str(model)


def test_the_table_leaves_one_product_out_of_each_step(tmp_path: Path) -> None:
    model = onnx.load(export(lm_step("lstm"), tmp_path / "m.onnx").path)
    assert sum(node.op_type == "MatMul" for node in model.graph.node) == 3  # two layers and the head


def test_a_module_of_ones_own_exports_with_its_initial_state(tmp_path: Path) -> None:
    report = export(Echo(), tmp_path / "echo.onnx")
    executor = OrtEngine(report.path).executor(2)
    executor.inputs["frame"][...] = [[1, 1, 1], [5, 5, 5]]
    executor.run()
    assert executor.outputs["difference"].tolist() == [[0, -1, -2], [4, 3, 2]]


class Bare(nn.Module):
    """A module whose output is its next state, which is its input: three names for one tensor."""

    spec = Spec(
        inputs=(TensorSpec("frame", "float32", (BATCH, 2), "frame"),),
        outputs=(TensorSpec("echo", "float32", (BATCH, 2), "frame"),),
        states=(StateSpec("state.s", "next_state.s", "float32", (BATCH, 2)),),
    )

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        del s
        return frame, frame


def test_one_tensor_may_be_input_output_and_state(tmp_path: Path) -> None:
    executor = OrtEngine(export(Bare(), tmp_path / "bare.onnx").path).executor(1)
    executor.inputs["frame"][...] = [[3, 4]]
    executor.run()
    assert executor.outputs["echo"].tolist() == [[3, 4]]
    assert executor.read_state()[0].tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ("control flow", ExportError, "could not export Echo"),
        ("random", ParityError, "differs from its source by"),
        ("too many", ExportError, "must return a tuple of 2 tensors"),
    ],
)
def test_a_module_that_is_no_step_writes_nothing(
    tmp_path: Path, broken: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        export(Echo(broken=broken), tmp_path / "echo.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_module_with_nan_weights_writes_nothing(tmp_path: Path) -> None:
    step = Echo()
    step.gain.data[1] = math.nan
    with pytest.raises(ParityError, match="nan"):
        export(step, tmp_path / "echo.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_module_whose_forward_does_not_fit_its_spec_is_refused(tmp_path: Path) -> None:
    class Short(Echo):
        def forward(self, frame: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            return (frame,)

    with pytest.raises(ExportError, match="cannot take the Spec's 2 tensors"):
        export(Short(), tmp_path / "short.onnx")


def test_an_existing_file_is_kept_unless_the_caller_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("precious")
    with pytest.raises(OutputExistsError):
        export(Echo(), path)
    assert path.read_text() == "precious"
    export(Echo(), path, overwrite=True)
    assert read_model(path)[1].states[0].initial == (1.0, 2.0, 3.0)


def test_the_same_weights_have_the_same_id_and_others_another(tmp_path: Path) -> None:
    step = lm_step("gru")
    ids = [OrtEngine(export(step, tmp_path / f"{name}.onnx").path).model_id for name in ("a", "b")]
    assert ids[0] == ids[1]
    step.model.head.bias.data[0] += 1e-3
    assert OrtEngine(export(step, tmp_path / "c.onnx").path).model_id != ids[0]


def test_weights_changed_after_the_export_are_noticed(tmp_path: Path) -> None:
    path = export(Echo(), tmp_path / "echo.onnx").path
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(3, 7, np.float32), tensor.name))
    onnx.save(model, path)
    with pytest.raises(SpecError, match="changed after the export"):
        read_model(path)


@pytest.mark.parametrize("content", [b"", b"\x08\x0a", b"no model at all"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_model(path)
