"""The two lowerings of a step graph, and the way back from recurrent operators to plain ones."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.cells import Lowering, lower
from edgernn.cells.stack import CELLS
from edgernn.models import FrameModel, ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import StepModule, TorchEngine
from edgernn_export.exporter import exported
from edgernn_export.metadata import lowering_of, weight_bytes, write_spec
from edgernn_export.parity import largest_difference, random_inputs
from edgernn_export.passes import optimize, tidy
from edgernn_export.passes.drop_sequence_axis import drop_sequence_axis
from edgernn_export.passes.lower_recurrent import lower_recurrent
from edgernn_export.passes.merge_views import merge_views
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

RECURRENT = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN", "elman-relu": "RNN"}
STEPS = 300
TOLERANCE = 1e-5


KINDS = ("tokens", "frames")


def make(cell: str, kind: str, layers: int = 2) -> RecurrentLMStep | FrameModel:
    """Return a step with lively weights, of tokens or of frames."""
    torch.manual_seed(7)
    if kind == "tokens":
        step: RecurrentLMStep | FrameModel = RecurrentLMStep(RecurrentLM(ModelConfig(cell, 11, 12, layers)))
    else:
        mean, deviation = [0.5, 0, -1], [2, 1, 1]
        step = FrameModel(
            cell, mean=mean, deviation=deviation, hidden=10, layers=layers, output=(4,), distribution="none"
        )
    for parameter in step.parameters():
        nn.init.normal_(parameter, std=0.2)
    return step.eval()


@cache
def content_of(cell: str, kind: str, layers: int, lowering: Lowering) -> tuple[bytes, Spec, tuple[str, ...]]:
    step = make(cell, kind, layers)
    lower(step, lowering)
    return exported(step)


def operators(content: bytes | ir.Model) -> Counter[str]:
    """Return how often each operator stands in a model."""
    model = onnx.load_from_string(content) if isinstance(content, bytes) else ir.to_proto(content)
    return Counter(node.op_type for node in model.graph.node)


def engine(model: ir.Model, spec: Spec) -> OrtEngine:
    """Return an engine that computes a changed graph of the same interface."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    write_spec(proto, replace(spec, lowering=lowering_of(model.graph), weight_bytes=weight_bytes(proto)))
    return OrtEngine(proto.SerializeToString())


def differs(step: StepModule, left: TorchEngine | OrtEngine, right: OrtEngine) -> float:
    return max(
        largest_difference(left, right, random_inputs(step.spec, steps=STEPS, batch=batch, seed=batch)).max_abs
        for batch in (1, 3)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_fused_step_computes_what_torch_computes(cell: str, kind: str) -> None:
    content, spec, _ = content_of(cell, kind, 2, "fused")
    assert spec.lowering == "fused"
    assert spec.batch == "dynamic"
    step = make(cell, kind)
    assert differs(step, TorchEngine(step), OrtEngine(content)) <= TOLERANCE


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_fused_step_has_one_recurrent_operator_for_each_layer_and_little_else(cell: str) -> None:
    layers, states = 2, 2 if cell == "lstm" else 1
    content, _, passes = content_of(cell, "tokens", layers, "fused")
    assert operators(content) == {
        RECURRENT[cell]: layers,
        "Gather": 1,
        "Unsqueeze": 1 + layers * states,
        "Squeeze": layers * states,
        "MatMul": 1,
        "Add": 1,
    }
    assert passes[0] == "drop_sequence_axis"


def test_the_cell_lowering_can_be_chosen_again() -> None:
    step = make("gru", "tokens")
    lower(step, "fused")
    lower(step, "cell")
    content, spec, _ = exported(step)
    plain, plain_spec, _ = content_of("gru", "tokens", 2, "cell")
    assert spec == plain_spec
    assert spec.lowering == "cell"
    assert operators(content) == operators(plain)


@pytest.mark.parametrize(("kind", "layers"), [("tokens", 1), ("tokens", 2), ("frames", 2)])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_way_back_leads_to_the_graph_of_the_cell_lowering(cell: str, kind: str, layers: int) -> None:
    plain, _, _ = content_of(cell, kind, layers, "cell")
    content, spec, _ = content_of(cell, kind, layers, "fused")
    model = ir.from_proto(onnx.load_from_string(content))
    assert lower_recurrent(model) is True
    optimize(model)
    assert operators(model) == operators(plain)
    assert lowering_of(model.graph) == "cell"
    step, lowered = make(cell, kind, layers), engine(model, spec)
    assert differs(step, TorchEngine(step), lowered) <= TOLERANCE
    assert differs(step, OrtEngine(content), lowered) <= TOLERANCE
    assert lower_recurrent(model) is False


@pytest.mark.parametrize("cell", ["lstm", "elman"])
def test_large_weights_are_constants_too(cell: str) -> None:
    step = RecurrentLMStep(RecurrentLM(ModelConfig(cell, 11, 200, 1)))
    lower(step, "fused")
    content, spec, _ = exported(step)
    assert spec.weight_bytes <= 1.1 * sum(4 * each.numel() for each in step.model.parameters())
    assert not operators(content).keys() & {"Slice", "Concat", "Transpose"}
    assert lower_recurrent(ir.from_proto(onnx.load_from_string(content))) is True


class Steps(nn.Module):
    """A module of one's own around a recurrent layer of torch, `k` frames a step."""

    def __init__(self, layer: nn.RNNBase, frames: int) -> None:
        super().__init__()
        self.layer = layer.eval()
        nn.init.normal_(layer.all_weights[0][0], std=0.5)
        directions = 2 if layer.bidirectional else 1
        self.rows = layer.num_layers * directions
        self.spec = Spec(
            inputs=(TensorSpec("frames", "float32", (BATCH, frames, layer.input_size), "frame", frames=frames),),
            outputs=(TensorSpec("y", "float32", (BATCH, frames, directions * layer.hidden_size), "params"),),
            states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, self.rows, layer.hidden_size)),),
            frames_per_step=frames,
        )

    def forward(self, frames: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        if self.layer.batch_first:
            y, after = self.layer(frames, h.transpose(0, 1))
            return y, after.transpose(0, 1)
        y, after = self.layer(frames.transpose(0, 1), h.transpose(0, 1))
        return y.transpose(0, 1), after.transpose(0, 1)


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize(
    "layer",
    [
        nn.RNN(3, 5, num_layers=2),
        nn.RNN(3, 5, num_layers=2, bias=False, nonlinearity="relu"),
        nn.RNN(3, 5, num_layers=3, batch_first=True),
        nn.GRU(3, 5, num_layers=2, batch_first=True),
    ],
    ids=["rnn", "relu-without-bias", "batch-first", "gru"],
)
def test_a_layer_of_torch_in_a_module_of_ones_own_stays_an_operator(layer: nn.RNNBase, frames: int) -> None:
    torch.manual_seed(2)
    step = Steps(layer, frames)
    content, spec, _ = exported(step)
    assert spec.lowering == "fused"
    assert operators(content)[RECURRENT["gru" if layer.mode == "GRU" else "elman"]] == layer.num_layers
    assert differs(step, TorchEngine(step), OrtEngine(content)) <= TOLERANCE
    model = ir.from_proto(onnx.load_from_string(content))
    assert lower_recurrent(model) is (frames == 1)
    optimize(model)
    assert differs(step, TorchEngine(step), engine(model, spec)) <= TOLERANCE


@pytest.mark.parametrize("frames", [1, 3])
def test_an_elman_layer_of_two_directions_is_exported_as_torch_does(frames: int) -> None:
    torch.manual_seed(2)
    step = Steps(nn.RNN(3, 5, bidirectional=True), frames)
    content, spec, _ = exported(step)
    assert spec.lowering == "cell"
    assert differs(step, TorchEngine(step), OrtEngine(content)) <= TOLERANCE


WEIGHTS = {
    "W1": (1, 4, 6), "R1": (1, 4, 4), "B1": (1, 8),
    "W3": (1, 12, 6), "R3": (1, 12, 4), "B3": (1, 24),
    "W4": (1, 16, 6), "R4": (1, 16, 4), "B4": (1, 32), "P": (1, 12),
    "W6": (2, 12, 6), "R6": (2, 12, 4), "B6": (2, 24),
}  # fmt: skip
INPUTS = "float[1, batch, 6] x, float[1, batch, 4] h, float[1, batch, 4] c"
STATE = "float[1, batch, 4]"


def graph(body: str, outputs: str, inputs: str = INPUTS) -> ir.Model:
    """Return a model of the nodes in `body`, with the weights above."""
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {body} }}'
    )
    used = {name for node in model.graph.node for name in node.input} - {value.name for value in model.graph.input}
    rng = np.random.default_rng(4)
    for name, shape in WEIGHTS.items():
        if name in used:
            array = rng.standard_normal(shape).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def compute(model: ir.Model) -> list[NDArray[np.float32]]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.standard_normal([axis if isinstance(axis, int) else 3 for axis in value.shape]).astype("f4")
        for value in session.get_inputs()
    }
    found: list[NDArray[np.float32]] = session.run(None, feeds)
    return found


TAKEN = {
    "an LSTM": ("y, a, b = LSTM <hidden_size = 4> (x, W4, R4, B4, , h, c)", 3),
    "an LSTM without bias": ("y, a, b = LSTM <hidden_size = 4> (x, W4, R4, , , h, c)", 3),
    "an LSTM that gives its cell alone": ("y, , a = LSTM <hidden_size = 4> (x, W4, R4, B4, , h, c)", 2),
    "an LSTM that names its activations": (
        'y, a, b = LSTM <hidden_size = 4, activations = ["sigmoid", "Tanh", "tanh"]> (x, W4, R4, B4, , h, c)',
        3,
    ),
    "a GRU": ("y, a = GRU <hidden_size = 4, linear_before_reset = 1> (x, W3, R3, B3, , h)", 2),
    "a GRU that resets first": ("y, a = GRU <hidden_size = 4> (x, W3, R3, B3, , h)", 2),
    "a GRU that resets first, without bias": ("y, a = GRU <hidden_size = 4> (x, W3, R3, , , h)", 2),
    "an RNN": ("y, a = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", 2),
    "an RNN that gives its sequence alone": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", 1),
    "a rectified RNN": ('y, a = RNN <hidden_size = 4, activations = ["Relu"]> (x, W1, R1, B1, , h)', 2),
}


@pytest.mark.parametrize("name", TAKEN)
def test_one_step_of_a_recurrent_operator_becomes_plain_operators(name: str) -> None:
    body, count = TAKEN[name]
    outputs = ["float[1, 1, batch, 4] y", f"{STATE} a", f"{STATE} b"][:count]
    model = graph(body, ", ".join(outputs))
    before = compute(model)
    assert lower_recurrent(model) is True
    tidy(model)
    assert not operators(model).keys() & {"LSTM", "GRU", "RNN"}
    assert [value.name for value in model.graph.outputs] == ["y", "a", "b"][:count]
    for old, new in zip(before, compute(model), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=2e-6)


LSTM = "LSTM <hidden_size = 4> (x, W4, R4, B4, , h, c)"
LEFT = {
    "two steps": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", "float[2, batch, 6] x, float[1, batch, 4] h"),
    "any number of steps": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", f"float[t, batch, 6] x, {STATE} h"),
    "two directions": (
        'y = GRU <hidden_size = 4, direction = "bidirectional"> (x, W6, R6, B6, , h)',
        "float[1, batch, 6] x, float[2, batch, 4] h",
    ),
    "backwards": ('y = GRU <hidden_size = 4, direction = "reverse"> (x, W3, R3, B3, , h)', INPUTS),
    "batch first": ("y = RNN <hidden_size = 4, layout = 1> (x, W1, R1, B1, , h)", "float[1, 1, 6] x, float[1, 1, 4] h"),
    "no initial state": ("y = GRU <hidden_size = 4> (x, W3, R3, B3)", INPUTS),
    "no initial cell": ("y = LSTM <hidden_size = 4> (x, W4, R4, B4, , h)", INPUTS),
    "lengths": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, n, h)", f"{INPUTS}, int32[batch] n"),
    "peepholes": ("y = LSTM <hidden_size = 4> (x, W4, R4, B4, , h, c, P)", INPUTS),
    "clip": ("y = LSTM <hidden_size = 4, clip = 1.0> (x, W4, R4, B4, , h, c)", INPUTS),
    "coupled gates": ("y = LSTM <hidden_size = 4, input_forget = 1> (x, W4, R4, B4, , h, c)", INPUTS),
    "other activations": ('y = GRU <hidden_size = 4, activations = ["Tanh", "Tanh"]> (x, W3, R3, B3, , h)', INPUTS),
    "weights that are given": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", f"{INPUTS}, float[1, 4, 4] R1"),
    "biases that are given": ("y = RNN <hidden_size = 4> (x, W1, R1, B1, , h)", f"{INPUTS}, float[1, 8] B1"),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_node_that_cannot_be_lowered_stays_as_it_is(name: str) -> None:
    body, inputs = LEFT[name]
    model = graph(body, "float[time, rows, batch, 4] y", inputs)
    before = ir.to_proto(model).SerializeToString()
    assert lower_recurrent(model) is False
    assert ir.to_proto(model).SerializeToString() == before


def test_a_node_that_can_be_lowered_does_not_wait_for_one_that_cannot() -> None:
    body = f"y, a, b = {LSTM} z, d = GRU <hidden_size = 4, clip = 0.5> (x, W3, R3, B3, , h)"
    model = graph(body, f"float[1, 1, batch, 4] y, {STATE} d")
    before = compute(model)
    assert lower_recurrent(model) is True
    tidy(model)
    assert operators(model)["GRU"] == 1
    assert operators(model)["LSTM"] == 0
    assert lowering_of(model.graph) == "fused"
    for old, new in zip(before, compute(model), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=2e-6)


VIEWS = {
    "there and back": ("u = Unsqueeze (h, zero) v = Squeeze (u, zero) y = Tanh (v)", {"Tanh": 1}),
    "through axes of length 1": (
        "u = Transpose <perm = [1, 0, 2]> (h) v = Reshape (u, like) y = Tanh (v)",
        {"Tanh": 1},
    ),
    "all of it": ("v = Slice (h, zero, many, zero, one) y = Tanh (v)", {"Tanh": 1}),
    "two equal ones": (
        "u = Squeeze (h, zero) v = Squeeze (h, zero) s = Add (u, v) y = Unsqueeze (s, zero)",
        {"Squeeze": 1, "Add": 1, "Unsqueeze": 1},
    ),
    "one that an output names": (
        "t = Tanh (h) u = Squeeze (t, zero) v = Unsqueeze (u, zero) y = Identity (v)",
        {"Tanh": 1},
    ),
}
KEPT = {
    "an order that changes": "v = Transpose <perm = [0, 2, 1]> (h) y = Tanh (v)",
    "backwards": "v = Slice (h, many, least, two, back) y = Tanh (v)",
    "a part": "v = Slice (h, zero, one, two) y = Tanh (v)",
    "two parts": "u = Slice (h, zero, one, two) v = Slice (h, one, two, two) y = Add (u, v)",
    "an input that is an output": "y = Identity (h)",
}
AXES = """
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] back = {-1},
    int64[1] many = {99}, int64[1] least = {-99}, int64[3] like = {1, -1, 4}>
"""


def views(body: str, sizes: str = "1, 5, 4") -> ir.Model:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[{sizes}] h) => (float[r, b, c] y) {AXES} {{ {body} }}'
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_the_same_elements_become_one(name: str) -> None:
    body, expected = VIEWS[name]
    model = views(body)
    before = compute(model)
    assert merge_views(model) is True
    tidy(model)
    assert operators(model) == expected
    assert [value.name for value in model.graph.outputs] == ["y"]
    np.testing.assert_array_equal(compute(model)[0], before[0])
    assert merge_views(model) is False


@pytest.mark.parametrize("name", KEPT)
def test_other_views_stay(name: str) -> None:
    model = views(KEPT[name], "1, 5, 5")
    before = operators(model)
    assert merge_views(model) is False
    assert operators(model) == before


def test_the_outputs_of_one_step_are_read_from_the_last_state() -> None:
    model = graph(f"s, a, b = {LSTM} y = Tanh (s)", f"float[1, 1, batch, 4] y, {STATE} a")
    before = compute(model)
    assert drop_sequence_axis(model) is True
    (node,) = (each for each in model.graph if each.op_type == "LSTM")
    assert not node.outputs[0].uses()
    for old, new in zip(before, compute(model), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("name", ["two steps", "lengths", "batch first"])
def test_the_outputs_of_a_sequence_stay(name: str) -> None:
    body, inputs = LEFT[name]
    model = graph(f"{body.replace('y =', 's, a =')} y = Tanh (s)", "float[time, rows, batch, 4] y", inputs)
    assert drop_sequence_axis(model) is False
    (node,) = (each for each in model.graph if each.op_type == "RNN")
    assert node.outputs[0].uses()
