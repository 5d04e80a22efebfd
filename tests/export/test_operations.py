"""What each node of a step graph is for, and how many multiplications a step takes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgernn.cells import lower
from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, lift, quantize
from edgernn_export.metadata import read_model
from edgernn_export.operations import macs_per_step, operations, read_graph
from edgernn_runtime import load
from edgernn_runtime.errors import ModelFileError
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec

HIDDEN = 24
GATES = {"elman": 1, "gru": 3, "lstm": 4}
TYPES = {"uint8": onnx.TensorProto.UINT8, "int4": onnx.TensorProto.INT4}


def places(path: Path) -> dict[str, set[str]]:
    """Return the operators at each place of a model."""
    proto, spec, _ = read_model(path)
    found: dict[str, set[str]] = {}
    for each in operations(proto, spec):
        found.setdefault(each.place, set()).add(each.operator)
    return found


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_every_layer_has_its_products_and_gates(tiny_path: Callable[..., Path], cell: str, precision: str) -> None:
    found = places(tiny_path(cell, precision))
    product = {"MatMul"} if precision == "float32" else {"MatMulNBits"}
    assert {"table", "layer 0 product", "layer 0 gates", "layer 1 product", "layer 1 gates", "head"} == set(found)
    assert found["layer 0 product"] == found["layer 1 product"] == product
    assert found["table"] == {"Gather" if precision == "float32" else "GatherBlockQuantized"}
    assert product <= found["head"]
    assert "Tanh" in found["layer 0 gates"] & found["layer 1 gates"]


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_multiplications_are_those_of_the_weight_matrices(
    tiny_path: Callable[..., Path], cell: str, precision: str
) -> None:
    vocabulary = load(tiny_path(cell)).spec.vocabulary
    counted = macs_per_step(read_graph(tiny_path(cell, precision)))
    folded = GATES[cell] * HIDDEN * HIDDEN * 3  # the first layer's input product is a table
    assert counted == folded + HIDDEN * vocabulary


def test_a_fused_layer_is_one_operator_with_as_many_multiplications(tmp_path: Path, cell: str) -> None:
    step = RecurrentLMStep(RecurrentLM(ModelConfig(cell, 11, 12, 2))).eval()
    lower(step, "fused")
    path = export(step, tmp_path / "fused.onnx").path
    operator = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}[cell]
    found = places(path)
    assert found[f"layer 0 {operator}"] == found[f"layer 1 {operator}"] == {operator}
    assert macs_per_step(read_graph(path)) == GATES[cell] * 12 * 12 * 4 + 12 * 11


class Convolved(nn.Module):
    """A causal convolution, then a GRU, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.past = nn.Conv1d(6, 8, kernel_size=3)
        self.rnn = nn.GRU(8, 10, batch_first=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(x.transpose(1, 2), (2, 0))
        outputs, _ = self.rnn(torch.relu(self.past(padded)).transpose(1, 2))
        return self.head.forward(outputs)


@pytest.fixture(scope="module")
def convolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    return export(lift(Convolved(), "x=float32[B,T,6]"), tmp_path_factory.mktemp("lifted") / "lifted.onnx").path


def test_a_lifted_graph_says_where_its_convolution_and_its_past_are(convolved: Path) -> None:
    found = places(convolved)
    assert found["layer 0 convolution"] == {"Conv"}
    assert any(place.startswith("state ") for place in found)
    assert "layer 1 product" not in found
    assert macs_per_step(read_graph(convolved)) == 6 * 8 * 3 + 3 * 10 * (8 + 10) + 10 * 2


def test_a_quantized_lifted_graph_has_the_same_multiplications(convolved: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)
    recording = Recording({"x": frames}, np.arange(60) == 0)
    target = quantize(convolved, tmp_path / "small.onnx", precision="int8", recording=recording, method="nearest").path
    assert macs_per_step(read_graph(target)) == macs_per_step(read_graph(convolved))


def sampling_graph() -> tuple[onnx.ModelProto, Spec]:
    """Return a graph whose logits, noise and temperature become a token, beside a counter of steps."""
    graph = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (int64[batch] token, float[batch, 1] noise, float[batch, 1] temperature, float[batch, 3] state_h,
           int64[batch, 1] state_n)
        => (float[batch, 3] logits, int64[batch] next_token, float[batch, 3] cumulative, float[batch, 3] next_h,
            int64[batch, 1] next_n)
        <float[3, 3] weight = {1, 0, 0, 0, 1, 0, 0, 0, 1}, int64[1] one = {1}> {
            row = Gather(weight, token)
            product = MatMul(state_h, weight)
            next_h = Add(product, row)
            next_n = Add(state_n, one)
            logits = MatMul(next_h, weight)
            warm = Div(logits, temperature)
            cumulative = Softmax(warm)
            drawn = Neg(noise)
            noisy = Add(warm, drawn)
            next_token = ArgMax <axis = 1, keepdims = 0> (noisy)
            nothing = Abs(noisy)
        }
    """)
    for i, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}{i}"
    spec = Spec(
        inputs=(
            TensorSpec("token", "int64", (BATCH,), "token"),
            TensorSpec("noise", "float32", (BATCH, 1), "noise"),
            TensorSpec("temperature", "float32", (BATCH, 1), "control"),
        ),
        outputs=(
            TensorSpec("logits", "float32", (BATCH, 3), "logits"),
            TensorSpec("next_token", "int64", (BATCH,), "token"),
            TensorSpec("cumulative", "float32", (BATCH, 3), "params"),
        ),
        states=(
            StateSpec("state_h", "next_h", "float32", (BATCH, 3)),
            StateSpec("state_n", "next_n", "int64", (BATCH, 1)),
        ),
        distribution="categorical",
        feedback=Feedback("logits", "token"),
    )
    return graph, spec


def test_what_leads_to_a_token_alone_is_sampling() -> None:
    found = {each.node: each.place for each in operations(*sampling_graph())}
    assert found == {
        "Gather0": "table",
        "MatMul1": "layer 0 product",
        "Add2": "layer 0 gates",
        "Add3": "state state_n",
        "MatMul4": "head",
        "Div5": "sampling",
        "Softmax6": "sampling",
        "Neg7": "sampling",
        "Add8": "sampling",
        "ArgMax9": "sampling",
        "Abs10": "unused",
    }


def test_places_stand_in_the_order_of_a_step() -> None:
    ranks = sorted((each.rank, each.place) for each in operations(*sampling_graph()))
    order = list(dict.fromkeys(place for _, place in ranks))
    assert order == ["table", "layer 0 gates", "layer 0 product", "state state_n", "head", "sampling", "unused"]


def test_a_product_of_unknown_shape_is_not_counted() -> None:
    graph = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18, "other" : 1]>
        g (float[batch, 3] x) => (float[batch, 3] y) <float[3, 3] weight = {1, 0, 0, 0, 1, 0, 0, 0, 1}> {
            hidden = other.Unknown(x)
            y = MatMul(hidden, weight)
        }
    """)
    assert macs_per_step(graph) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Gemm <transB = 1> (x, w)", 6 * 4),
        ("y = Conv <kernel_shape = [1, 1], group = 2> (image, k)", 4 * 3 * 8 * 8),
        ("y = ConvTranspose <kernel_shape = [1, 1]> (image, t)", 6 * 8 * 8 * 5),
        ("y = MatMul(x, other)", 6 * 6),
        ("y = Relu(x)", 0),
    ],
)
def test_multiplications_in_numbers(body: str, expected: int) -> None:
    graph = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[batch, 6] x, float[batch, 6, 8, 8] image, float[6, 6] other, float[4, 6] w, float[4, 3, 1, 1] k,
           float[6, 5, 1, 1] t) => (float y) {{ {body} }}
    """)
    assert macs_per_step(graph) == expected


def test_a_file_that_is_no_graph_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFileError, match=r"no\.onnx could not be read"):
        read_graph(tmp_path / "no.onnx")


@pytest.mark.parametrize(("kind", "bits", "columns"), [("uint8", 4, 16), ("uint8", 8, 8), ("int4", 4, 8)])
def test_a_byte_of_a_table_may_hold_two_codes(kind: str, bits: int, columns: int) -> None:
    graph = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
        g (int64[batch] token, float[{columns}, 3] weight, float[2, 1] scales) => (float y) {{
            row = com.microsoft.GatherBlockQuantized <bits = {bits}, block_size = 16> (codes, token, scales)
            y = MatMul(row, weight)
        }}
    """)
    graph.graph.initializer.append(onnx.TensorProto(name="codes", dims=[2, 8], data_type=TYPES[kind]))
    assert macs_per_step(graph) == columns * 3
