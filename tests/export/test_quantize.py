"""Quantization: what is rounded and how far, for every cell; and what is refused."""

from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import QuantizeReport, Recording, export, quantize
from edgernn_export.likelihood import perplexity
from edgernn_export.quantization.blocks import Bits, dequantize_blocks, quantize_blocks
from edgernn_export.quantization.quantizer import Precision
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import OutputExistsError, QuantizationError
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

VOCABULARY = 20
TOKENS = Recording.of_tokens("token", np.random.default_rng(1).integers(0, VOCABULARY, 301))


def float_model(folder: Path, cell: str, hidden: int = 48) -> Path:
    torch.manual_seed(2)
    model = RecurrentLM(ModelConfig(cell, VOCABULARY, hidden, layers=2))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return export(RecurrentLMStep(model, start=0), folder / f"{cell}.onnx").path


def quantized(source: Path, precision: Precision) -> QuantizeReport:
    target = source.with_suffix(f".{precision}.onnx")
    metric = partial(perplexity, recording=TOKENS)
    return quantize(source, target, precision=precision, recording=TOKENS, metric=metric, metric_name="perplexity")


@pytest.mark.parametrize(("precision", "limit"), [("int8", 2e-4), ("int4", 2e-2)])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_every_product_of_every_cell_is_quantized(
    tmp_path: Path, cell: str, precision: Precision, limit: float
) -> None:
    report = quantized(float_model(tmp_path, cell), precision)
    operators = [node.op_type for node in onnx.load(report.path).graph.node]
    assert "MatMul" not in operators
    assert "Gemm" not in operators
    assert operators.count("MatMulNBits") == len(report.nodes) == (4 if cell == "gru" else 3)
    assert report.bytes_after < report.bytes_before
    assert abs(report.quality.relative) < 0.05
    assert 0 < (report.drift.kl_nats or 0) < limit


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_states_and_interface_stay_as_they_were(tmp_path: Path, precision: Precision) -> None:
    source = float_model(tmp_path, "lstm")
    before, after = OrtEngine(source), OrtEngine(quantized(source, precision).path)
    for part in ("inputs", "outputs", "states", "feedback", "codec"):
        assert getattr(before.spec, part) == getattr(after.spec, part)
    assert after.spec.precision == precision
    assert after.spec.weight_bytes < before.spec.weight_bytes
    assert after.model_id != before.model_id


def test_a_quantized_model_is_not_quantized_again(tmp_path: Path) -> None:
    report = quantized(float_model(tmp_path, "gru"), "int8")
    with pytest.raises(QuantizationError, match="is int8 already"):
        quantized(report.path, "int4")


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    source = float_model(tmp_path, "gru")
    content = quantized(source, "int8").path.read_bytes()
    with pytest.raises(OutputExistsError):
        quantized(source, "int8")
    assert source.with_suffix(".int8.onnx").read_bytes() == content


class Decay(nn.Module):
    """A module without any product: `s_t = 0.9 s_{t-1} + x_t`."""

    spec = Spec(
        inputs=(TensorSpec("frame", "float32", (BATCH, 2), "frame"),),
        outputs=(TensorSpec("level", "float32", (BATCH, 2), "frame"),),
        states=(StateSpec("state.s", "next_state.s", "float32", (BATCH, 2)),),
    )

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        s = 0.9 * s + frame
        return s + 0, s


def test_a_model_with_nothing_to_quantize_is_an_error_and_no_file(tmp_path: Path) -> None:
    source = export(Decay(), tmp_path / "decay.onnx").path
    with pytest.raises(QuantizationError, match="nothing was quantized"):
        quantized(source, "int8")
    assert list(tmp_path.iterdir()) == [source]


@given(
    rows=st.integers(1, 70), columns=st.integers(1, 9), bits=st.sampled_from([4, 8]), block=st.sampled_from([16, 32])
)
def test_a_rounded_weight_is_within_half_a_step(rows: int, columns: int, bits: Bits, block: int) -> None:
    weight = np.random.default_rng(rows * 31 + columns).standard_normal((rows, columns)).astype(np.float32)
    blocks = quantize_blocks(weight, bits=bits, block=block)
    steps = np.repeat(blocks.scales.T, block, axis=0)[:rows]
    assert dequantize_blocks(blocks).shape == weight.shape
    assert np.all(np.abs(dequantize_blocks(blocks) - weight) <= steps * 1.01)  # the zero point is rounded as well
    assert np.mean(np.abs(dequantize_blocks(blocks) - weight) <= steps * 0.51) > 0.8


def test_zeros_stay_zeros() -> None:
    assert not dequantize_blocks(quantize_blocks(np.zeros((40, 3), np.float32), bits=4, block=32)).any()


@pytest.mark.parametrize("bits", [4, 8])
def test_onnxruntime_reads_the_blocks_as_we_do(tmp_path: Path, bits: Bits) -> None:
    source = float_model(tmp_path, "elman", hidden=40)
    report = quantized(source, "int4" if bits == 4 else "int8")
    weight = next(
        onnx.numpy_helper.to_array(each)
        for each in onnx.load(source).graph.initializer
        if each.name == report.nodes[-1].name
    )
    block = 64
    rounded = dequantize_blocks(quantize_blocks(weight, bits=bits, block=block))
    before, after = OrtEngine(source).executor(1), OrtEngine(report.path).executor(1)
    for token in TOKENS.inputs["token"][:20]:
        for executor in (before, after):
            executor.inputs["token"][0] = token
            executor.run()
        h = after.read_state()[1][0]
        bias = before.outputs["logits"][0] - before.read_state()[1][0] @ weight
        np.testing.assert_allclose(after.outputs["logits"][0], h @ rounded + bias, rtol=0, atol=0.03)
