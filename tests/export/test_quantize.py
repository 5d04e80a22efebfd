"""Quantized models: what is stored in few bits and what stays as it was, for every cell and precision."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgernn_export import QuantizeReport, Recording, quantize
from edgernn_export.metadata import read_model, weight_bytes, write_spec
from edgernn_export.outputs import outputs_along
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import calibrate
from edgernn_export.quantization.formats import INT4, INT8, Plan, Precision, plan_of
from edgernn_export.quantization.operators.blocked import INT8_ACTIVATIONS
from edgernn_export.quantization.record import to_record
from edgernn_export.quantization.source import Source
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.ort import OrtEngine

Form = Callable[..., QuantizeReport]

KL_LIMITS: dict[Precision, float] = {"int8": 2e-2, "int4": 0.5, "int8-portable": 2e-2, "fp16": 2e-5, "mixed": 0.5}


@pytest.fixture(scope="module")
def recording(tiny_tokens: NDArray[np.int64]) -> Recording:
    return Recording.of_tokens("token", tiny_tokens[:401])


@pytest.fixture(scope="module")
def calibration(tiny_tokens: NDArray[np.int64]) -> Recording:
    return Recording.of_tokens("token", tiny_tokens[1000:1401])


@pytest.fixture(scope="module")
def form(
    tiny_path: Callable[..., Path],
    recording: Recording,
    calibration: Recording,
    tmp_path_factory: pytest.TempPathFactory,
) -> Form:
    """Quantizes a tiny language model: `form("lstm", "int4")`, `form("lstm", "int4", expand=True)`."""
    folder = tmp_path_factory.mktemp("forms")

    @cache
    def make(cell: str, precision: Precision, *, expand: bool) -> QuantizeReport:
        return quantize(
            tiny_path(cell),
            folder / f"{cell}.{precision}.{expand}.onnx",
            precision=precision,
            recording=recording,
            calibration=calibration,
            max_loss=0.5 if precision == "mixed" else None,
            expand=expand,
        )

    return lambda cell, precision, expand=False: make(cell, precision, expand=expand)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def float_matrices(path: Path, source: Source) -> set[str]:
    """Return the matrices of a source that a file still holds in float32."""
    tensors = onnx.load(path).graph.initializer
    return {each.name for each in tensors if each.data_type == onnx.TensorProto.FLOAT} & source.weights.keys()


def stored_bytes(path: Path) -> int:
    """Return the bytes of all constants in a file."""
    return sum(onnx.numpy_helper.to_array(each).nbytes for each in onnx.load(path).graph.initializer)


def with_stored(source: Source, builder: Builder, plan: Plan) -> Engine:
    """Return the float32 model with the numbers that a plan leaves of its weights."""
    proto = onnx.ModelProto.FromString(source.cell_contents()[""])
    for tensor in proto.graph.initializer:
        if tensor.name in plan:
            stored = builder.stored(tensor.name, plan[tensor.name])
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(stored), tensor.name))
    spec = read_model(source.path)[1]
    write_spec(proto, spec)
    return OrtEngine(proto.SerializeToString())


@pytest.mark.parametrize("precision", KL_LIMITS)
def test_no_matrix_of_any_cell_stays_float(
    form: Form, tiny_path: Callable[..., Path], cell: str, precision: Precision
) -> None:
    report, source = form(cell, precision), Source.open(tiny_path(cell))
    assert {node.name for node in report.nodes} == source.weights.keys()
    assert not float_matrices(report.path, source)
    found, products = operators(report.path), 4 if cell == "gru" else 3
    assert found["Gemm"] == 0
    if precision in ("int8", "int4", "mixed"):
        assert found["MatMul"] == found["Gather"] == 0
        assert (found["MatMulNBits"], found["GatherBlockQuantized"]) == (products, 1)
        nodes = [node for node in onnx.load(report.path).graph.node if node.op_type == "MatMulNBits"]
        levels = {each.i for node in nodes for each in node.attribute if each.name == "accuracy_level"}
        assert levels == {INT8_ACTIVATIONS}
    elif precision == "fp16":
        assert (found["MatMul"], found["Gather"], found["Cast"]) == (products, 1, products + 1)
    else:
        assert (found["MatMul"], found["Gather"]) == (products, 1)
        assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (products, 2 * products + 1)


@pytest.mark.parametrize("precision", KL_LIMITS)
def test_states_and_interface_of_every_cell_stay_as_they_were(
    form: Form, tiny_path: Callable[..., Path], cell: str, precision: Precision
) -> None:
    before, after = OrtEngine(tiny_path(cell)), OrtEngine(form(cell, precision).path)
    for part in ("inputs", "outputs", "states", "feedback", "codec", "distribution", "batch", "producer"):
        assert getattr(before.spec, part) == getattr(after.spec, part)
    assert after.spec.precision == precision
    assert after.spec.lowering == "cell"
    assert after.spec.parity is None
    assert after.model_id != before.model_id
    if precision == "fp16":
        assert after.spec.weight_bytes == before.spec.weight_bytes
    else:
        assert after.spec.weight_bytes == weight_bytes(onnx.load(form(cell, precision).path))
        assert after.spec.weight_bytes < before.spec.weight_bytes / 2


@pytest.mark.parametrize("precision", KL_LIMITS)
def test_every_form_is_smaller_and_nearly_as_good(form: Form, cell: str, precision: Precision) -> None:
    report = form(cell, precision)
    assert report.bytes_after < report.bytes_before
    assert report.quality.metric == "perplexity"
    assert report.quality.kl_nats == pytest.approx(report.drift.kl_nats, rel=1e-6)
    assert 0 < (report.quality.kl_nats or 0) < KL_LIMITS[precision]
    if precision == "mixed":
        assert report.quality.upper <= 0.5
        assert [point.chosen for point in report.frontier].count(True) == 1


def test_the_report_tells_what_was_written(
    form: Form, tiny_path: Callable[..., Path], recording: Recording, calibration: Recording
) -> None:
    report, source = form("lstm", "int4"), Source.open(tiny_path("lstm"))
    assert (report.precision, report.method, report.relowered) == ("int4", "gptq", False)
    assert report.bytes_before == tiny_path("lstm").stat().st_size
    assert report.bytes_after == report.path.stat().st_size
    assert report.quality.steps == report.drift.steps == len(recording)
    assert report.calibration is not None
    assert report.calibration.steps == len(calibration)
    assert (report.sensitivities, report.frontier, report.float_p50_us) == ((), (), None)
    plan = plan_of("int4", source)
    builder = Builder(source, calibrate(source, calibration))
    for node in report.nodes:
        weight = source.weights[node.name]
        error = np.abs(builder.stored(node.name, plan[node.name]) - weight.array).max()
        assert (node.shape, node.format) == (weight.array.shape, plan[node.name].name)
        assert node.max_error == pytest.approx(error)
    record = to_record(report)
    assert record["quality"] == asdict(report.quality)
    assert record["bytes_after"] == report.bytes_after


def test_int4_keeps_tables_and_a_small_head_in_int8(tiny_path: Callable[..., Path]) -> None:
    def formats(cell: str) -> dict[str, object]:
        return dict(plan_of("int4", Source.open(tiny_path(cell))))

    lstm, elman = formats("lstm"), formats("elman")
    assert {name for name, form in lstm.items() if form == INT8} == {
        "model.head.weight.T",
        "model.stack.cells.0.kernel.weight_ih_l0.T.table.biased.gates",
    }
    assert sum(form == INT4 for form in lstm.values()) == 2
    assert elman["model.head.weight.T"] == INT4  # more than an eighth of the products


@pytest.mark.parametrize("precision", ["int8", "int4", "fp16"])
def test_expanded_weights_compute_the_step_of_the_float_graph_with_the_stored_numbers(
    form: Form, tiny_path: Callable[..., Path], recording: Recording, calibration: Recording,
    cell: str, precision: Precision,
) -> None:  # fmt: skip
    source, report = Source.open(tiny_path(cell)), form(cell, precision, expand=True)
    builder = Builder(source, calibrate(source, calibration))
    expected = with_stored(source, builder, plan_of(precision, source))
    made = outputs_along(OrtEngine(report.path), recording.head(50))
    np.testing.assert_allclose(made, outputs_along(expected, recording.head(50)), rtol=0, atol=1e-4)
    if precision != "fp16":
        blocked = form(cell, precision)
        assert [node.max_error for node in report.nodes] == [node.max_error for node in blocked.nodes]
    assert stored_bytes(report.path) < 0.7 * stored_bytes(tiny_path(cell))


@pytest.mark.parametrize("precision", ["int8", "int4", "fp16"])
def test_onnxruntime_folds_expanded_weights_to_the_float_graph(
    form: Form, tiny_path: Callable[..., Path], tmp_path: Path, cell: str, precision: Precision
) -> None:
    report = form(cell, precision, expand=True)

    def optimised(path: Path, name: str) -> Counter[str]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(tmp_path / name)
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return operators(tmp_path / name)

    assert optimised(report.path, "form.onnx") == optimised(tiny_path(cell), "source.onnx")
    assert OrtEngine(report.path).spec.weight_bytes == OrtEngine(tiny_path(cell)).spec.weight_bytes


def test_portable_int8_is_valid_onnx_with_standard_operators_alone(form: Form, cell: str) -> None:
    proto = onnx.load(form(cell, "int8-portable").path)
    assert [each.domain for each in proto.opset_import] == [""]
    assert {node.domain for node in proto.graph.node} == {""}
    onnx.checker.check_model(proto, full_check=True)
