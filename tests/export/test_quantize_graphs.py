"""Graphs of unusual form: matrices read twice, rows that fold the batch, further outputs, tables too small."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import Recording, export, quantize
from edgernn_export.quantization.calibration import calibrate
from edgernn_export.quantization.source import Source
from edgernn_runtime.errors import GateError, QuantizationError
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

CHANNELS, WIDTH = 24, 20
FRAME = TensorSpec("frame", "float32", (BATCH, CHANNELS), "frame")
S = StateSpec("state.s", "next_state.s", "float32", (BATCH, CHANNELS))


def frames(seed: int, steps: int = 400) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((steps, CHANNELS)).astype(np.float32)


SEEN, MET = Recording.of("frame", frames(1)), Recording.of("frame", frames(2))


def matrix(rows: int, columns: int, seed: int = 0) -> nn.Parameter:
    values = np.random.default_rng(seed).standard_normal((rows, columns)) / math.sqrt(rows)
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))


class Twice(nn.Module):
    """One matrix that multiplies a loud frame and a quiet state."""

    spec = Spec((FRAME,), (TensorSpec("y", "float32", (BATCH, WIDTH), "params"),), (S,))

    def __init__(self) -> None:
        super().__init__()
        self.weight = matrix(CHANNELS, WIDTH)

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.tanh(0.5 * s + 0.1 * frame)
        return torch.relu((20 * frame) @ self.weight) + torch.tanh(s @ self.weight), s


@pytest.mark.parametrize(("precision", "least"), [("int8", 35), ("int8-portable", 30)])
def test_a_matrix_with_two_inputs_is_calibrated_on_both(tmp_path: Path, precision: str, least: float) -> None:
    source = export(Twice().eval(), tmp_path / "twice.onnx").path
    (met,) = calibrate(Source.open(source), MET).inputs.values()
    assert met.histogram.high > 20
    assert met.histogram.counts.sum() == 2 * MET.inputs["frame"].size
    report = quantize(source, tmp_path / "q.onnx", precision=precision, recording=SEEN, calibration=MET)  # type: ignore[arg-type]
    assert report.quality.after > least
    assert len(report.nodes) == 1


class Folded(nn.Module):
    """Four rows of a frame go through one matrix as if they were a batch."""

    spec = Spec((FRAME,), (TensorSpec("y", "float32", (BATCH, 4, WIDTH), "params"),), (S,))

    def __init__(self) -> None:
        super().__init__()
        self.weight = matrix(CHANNELS // 4, WIDTH)

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s = 0.5 * s + frame
        rows = s.reshape(frame.shape[0] * 4, CHANNELS // 4)
        return (rows @ self.weight).reshape(frame.shape[0], 4, WIDTH), s


@pytest.mark.parametrize("precision", ["int8", "int4", "int8-portable"])
def test_rows_that_fold_the_batch_are_observed(tmp_path: Path, precision: str) -> None:
    source = export(Folded().eval(), tmp_path / "folded.onnx").path
    (met,) = calibrate(Source.open(source), MET).inputs.values()
    s = np.zeros(CHANNELS)
    rows = []
    for frame in MET.inputs["frame"]:
        s = 0.5 * s + frame
        rows += list(s.reshape(4, -1))
    expected = np.stack(rows).T @ np.stack(rows) / len(rows)
    assert met.moments is not None
    np.testing.assert_allclose(met.moments, expected, rtol=1e-4, atol=1e-4)
    report = quantize(source, tmp_path / "q.onnx", precision=precision, recording=SEEN, calibration=MET)  # type: ignore[arg-type]
    assert report.quality.after > 15


class TwoHeads(nn.Module):
    """A quiet main output and a loud one beside it."""

    spec = Spec(
        (FRAME,),
        (TensorSpec("y", "float32", (BATCH, WIDTH), "params"), TensorSpec("loud", "float32", (BATCH, WIDTH), "params")),
        (S,),
    )

    def __init__(self) -> None:
        super().__init__()
        self.quiet, self.loud = matrix(CHANNELS, WIDTH), matrix(CHANNELS, WIDTH, 1)

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        s = 0.5 * s + frame
        return s @ self.quiet, 1000 * (s @ self.loud), s


def test_the_drift_of_an_output_beside_the_main_one_counts(tmp_path: Path) -> None:
    source = export(TwoHeads().eval(), tmp_path / "two.onnx").path
    with pytest.raises(GateError, match="drift apart"):
        quantize(source, tmp_path / "q.onnx", precision="int8", recording=SEEN, calibration=MET, max_drift=0.5)
    assert not (tmp_path / "q.onnx").exists()
    report = quantize(source, tmp_path / "q.onnx", precision="int8", recording=SEEN, calibration=MET)
    assert report.quality.max_abs < 0.5 < report.drift.max_abs


class SmallTable(nn.Module):
    """A table of eight columns, and nothing else to quantize."""

    spec = Spec(
        (TensorSpec("token", "int64", (BATCH,), "token", size=10),),
        (TensorSpec("y", "float32", (BATCH, 8), "params"),),
        (StateSpec("state.s", "next_state.s", "float32", (BATCH, 8)),),
    )

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)

    def forward(self, token: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s = s + self.table(token)
        return 2 * s, s


@pytest.mark.parametrize("precision", ["int8", "fp16", "mixed"])
def test_a_table_too_small_for_a_block_is_nothing_to_quantize(tmp_path: Path, precision: str) -> None:
    source = export(SmallTable().eval(), tmp_path / "small.onnx").path
    recording = Recording.of("token", np.arange(400) % 10)
    with pytest.raises(QuantizationError, match="nothing was quantized"):
        quantize(source, tmp_path / "q.onnx", precision=precision, recording=recording, max_loss=0.5)  # type: ignore[arg-type]
    assert not (tmp_path / "q.onnx").exists()
