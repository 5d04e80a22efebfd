"""Sequence graphs in ONNX, as Keras, older torch exporters and others make them, lift or say why they cannot."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgernn_export import LiftOptions, export, lift_onnx
from edgernn_runtime import Model, load
from edgernn_runtime.errors import EdgeRNNError, ExportError, InputError, LiftError, ModelFileError

WIDTH: Final = 6
HIDDEN: Final = 4
WORDS: Final = 11
EXAMPLE: Final = "x=float32[B,T,6]"
DEFAULTS: Final = LiftOptions()
GATES: Final = {"LSTM": 4, "GRU": 3, "RNN": 1}

Axes = Sequence[int | str]
Floats = NDArray[np.float32]


@dataclass
class Graph:
    """A graph that is being built. Mutable: nodes and weights are added to it."""

    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[ValueInfoProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def input(self, name: str, axes: Axes, kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, axes))
        return name

    def output(self, value: str, axes: Axes, kind: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(value, kind, axes))

    def constant(self, values: object, dtype: str = "int64") -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * 0.6, "float32")

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        return self.several(kind, inputs, (name or f"{kind.lower()}_{len(self.nodes)}",), **attributes)[0]

    def several(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> tuple[str, ...]:
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"node_{len(self.nodes)}", **attributes))
        return tuple(outputs)

    def proto(self) -> GraphProto:
        return helper.make_graph(self.nodes, "graph", self.inputs, self.outputs, self.weights)

    def model(self) -> ModelProto:
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
        return helper.make_model(self.proto(), opset_imports=opsets, ir_version=8)


def time_first(graph: Graph) -> str:
    """Add the input `x` [b, t, 6] and return it as [t, b, 6]."""
    return graph.add("Transpose", graph.input("x", ["b", "t", WIDTH]), perm=[1, 0, 2])


def layer(
    graph: Graph,
    kind: str,
    x: str,
    *,
    width: int = WIDTH,
    biased: bool = True,
    lengths: str = "",
    states: Sequence[str] = (),
    peepholes: bool = False,
    **attributes: Any,
) -> tuple[str, ...]:
    """Add a recurrent operator with random weights; return Y [t, directions, b, h], Y_h and, of an LSTM, Y_c."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * HIDDEN
    bias = graph.weight(directions, 2 * rows) if biased else ""
    given = [x, graph.weight(directions, rows, width), graph.weight(directions, rows, HIDDEN), bias, lengths, *states]
    if peepholes:
        given += [*[""] * (7 - len(given)), graph.weight(directions, 3 * HIDDEN)]
    while not given[-1]:
        given.pop()
    made = [f"{part}_{len(graph.nodes)}" for part in ("Y", "Y_h", "Y_c")[: 3 if kind == "LSTM" else 2]]
    return graph.several(kind, given, made, hidden_size=HIDDEN, **attributes)


def batch_first(graph: Graph, y: str) -> str:
    """Return Y [t, 1, b, h] as [b, t, h]."""
    return graph.add("Transpose", graph.add("Squeeze", y, graph.constant([1])), perm=[1, 0, 2])


def give(graph: Graph, y: str) -> None:
    """Give Y [t, 1, b, h] as an output [b, t, h]."""
    graph.output(batch_first(graph, y), ["b", "t", HIDDEN])


def batch_of(graph: Graph, x: str) -> str:
    """Return the batch of frames [t, b, 6] as [1], as older torch exporters compute it."""
    size = graph.add("Gather", graph.add("Shape", x), graph.constant(1), axis=0)
    return graph.add("Unsqueeze", size, graph.constant([0]))


def state_shape(graph: Graph, x: str) -> str:
    return graph.add("Concat", graph.constant([1]), batch_of(graph, x), graph.constant([HIDDEN]), axis=0)


def zeros(graph: Graph, x: str) -> str:
    """Return zeros [1, b, h]."""
    return graph.add("ConstantOfShape", state_shape(graph, x), value=numpy_helper.from_array(np.zeros(1, "f4")))


def learned(graph: Graph, x: str) -> str:
    """Return one random row for the whole batch, [1, b, h]."""
    return graph.add("Expand", graph.weight(1, 1, HIDDEN), state_shape(graph, x))


def branch(value: Callable[[Graph], str]) -> GraphProto:
    """Return the body of an If, whose one output is [b, t, h]."""
    inner = Graph()
    inner.output(value(inner), ["b", "t", HIDDEN])
    graph = inner.proto()
    for each in graph.initializer:
        for node in graph.node:
            node.input[:] = [f"inner_{name}" if name == each.name else name for name in node.input]
        each.name = f"inner_{each.name}"
    return graph


# What a graph may hold; each takes frames [t, b, 6] and gives an output.


def lstm(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x)[0])


def lstm_without_biases(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, biased=False)[0])


def gru(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "GRU", x, linear_before_reset=1)[0])


def rnn(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "RNN", x)[0])


def rnn_of_relu_without_biases(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "RNN", x, biased=False, activations=["Relu"])[0])


def two_layers(graph: Graph, x: str) -> None:
    first = graph.add("Squeeze", layer(graph, "GRU", x, linear_before_reset=1)[0], graph.constant([1]))
    give(graph, layer(graph, "LSTM", first, width=HIDDEN)[0])


def gru_that_resets_first(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "GRU", x)[0])


def lstm_of_hard_sigmoids(graph: Graph, x: str) -> None:
    names = ["HardSigmoid", "Tanh", "Tanh"]
    give(graph, layer(graph, "LSTM", x, activations=names, activation_alpha=[0.2], activation_beta=[0.5])[0])


def gru_of_relus(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "GRU", x, activations=["Sigmoid", "Relu"])[0])


def lstm_with_coupled_gates(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, input_forget=1)[0])


def lstm_from_zeros(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, states=[zeros(graph, x), zeros(graph, x)])[0])


def lstm_from_a_learned_state(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, states=[learned(graph, x), learned(graph, x)])[0])


def peepholes_from_a_learned_state(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, states=[learned(graph, x), learned(graph, x)], peepholes=True)[0])


def last_of_gru(graph: Graph, x: str) -> None:
    last = layer(graph, "GRU", x, linear_before_reset=1)[1]
    graph.output(graph.add("Squeeze", last, graph.constant([0])), ["b", HIDDEN])


def last_of_hard_gru_without_biases(graph: Graph, x: str) -> None:
    last = layer(graph, "GRU", x, biased=False, activations=["HardSigmoid", "Tanh"])[1]
    graph.output(graph.add("Squeeze", last, graph.constant([0])), ["b", HIDDEN])


def last_cell_of_lstm(graph: Graph, x: str) -> None:
    graph.output(layer(graph, "LSTM", x)[2], [1, "b", HIDDEN])


def last_frame_by_slice(graph: Graph, x: str) -> None:
    frames = batch_first(graph, layer(graph, "LSTM", x)[0])
    last = graph.add("Slice", frames, *(graph.constant([each]) for each in (-1, 2**31 - 1, 1)))
    graph.output(graph.add("Squeeze", last, graph.constant([1])), ["b", HIDDEN])


def dense_with_softmax(graph: Graph, x: str) -> None:
    y = batch_first(graph, layer(graph, "LSTM", x)[0])
    dense = graph.add("Add", graph.add("MatMul", y, graph.weight(HIDDEN, WORDS)), graph.weight(WORDS))
    graph.output(graph.add("Softmax", dense, axis=-1), ["b", "t", WORDS])


def causal_convolution_with_batch_normalisation(graph: Graph, x: str) -> None:
    channels = graph.add("Transpose", x, perm=[1, 2, 0])
    made = graph.add("Conv", channels, graph.weight(5, WIDTH, 3), graph.weight(5), pads=[2, 0], kernel_shape=[3])
    variance = graph.constant([0.5, 1.0, 1.5, 2.0, 2.5], "float32")
    normal = graph.add("BatchNormalization", made, graph.weight(5), graph.weight(5), graph.weight(5), variance)
    frames = graph.add("Transpose", graph.add("Relu", normal), perm=[2, 0, 1])
    give(graph, layer(graph, "GRU", frames, width=5)[0])


def reshape_by_zeros(graph: Graph, x: str) -> None:
    y = graph.add("Transpose", layer(graph, "LSTM", x)[0], perm=[2, 0, 1, 3])
    graph.output(graph.add("Reshape", y, graph.constant([0, 0, -1])), ["b", "t", HIDDEN])


def dense_over_folded_time(graph: Graph, x: str) -> None:
    y = batch_first(graph, layer(graph, "GRU", x, linear_before_reset=1)[0])
    sizes = graph.add("Shape", y)
    rows = graph.add("Reshape", y, graph.constant([-1, HIDDEN]))
    dense = graph.add("Gemm", rows, graph.weight(3, HIDDEN), graph.weight(3), transB=1)
    outer = graph.add("Slice", sizes, graph.constant([0]), graph.constant([2]))
    shape = graph.add("Concat", outer, graph.constant([3]), axis=0)
    graph.output(graph.add("Reshape", dense, shape), ["b", "t", 3])


def branch_by_a_size(graph: Graph, x: str) -> None:
    y = batch_first(graph, layer(graph, "LSTM", x)[0])
    size = graph.add("Gather", graph.add("Shape", x), graph.constant(2), axis=0)
    wide = graph.add("Equal", size, graph.constant(WIDTH))
    then = branch(lambda inner: inner.add("Mul", y, inner.constant(2, "float32"), name=f"{y}_then"))
    other = branch(lambda inner: inner.add("Neg", y, name=f"{y}_else"))
    graph.output(graph.add("If", wide, then_branch=then, else_branch=other), ["b", "t", HIDDEN])


Construct = Callable[[Graph, str], None]

LIFTED: Final[Mapping[str, Sequence[Construct]]] = {
    "layers that torch has": [lstm, lstm_without_biases, gru, rnn, rnn_of_relu_without_biases, two_layers],
    "cells that torch has not": [lstm_of_hard_sigmoids, gru_of_relus, lstm_with_coupled_gates],
    "initial states": [
        lstm_from_zeros,
        lstm_from_a_learned_state,
        peepholes_from_a_learned_state,
    ],
    "many to one": [last_of_gru, last_of_hard_gru_without_biases, last_cell_of_lstm, last_frame_by_slice],
    "layers around": [dense_with_softmax, causal_convolution_with_batch_normalisation],
    "shape arithmetic": [reshape_by_zeros, dense_over_folded_time, branch_by_a_size],
}


def saved(graph: Graph, folder: Path) -> Path:
    path = folder / "sequence.onnx"
    onnx.save(graph.model(), path)
    return path


def exported(path: Path, example: Sequence[str], options: LiftOptions = DEFAULTS, **fixed: int) -> Model:
    values = {name: np.array(value) for name, value in fixed.items()}
    step = lift_onnx(path, example, options, fixed=values)
    return load(export(step, path.with_name("step.onnx"), tolerance=1e-4).path)


def refused(
    path: Path, example: Sequence[str] = (EXAMPLE,), options: LiftOptions = DEFAULTS, **fixed: int
) -> EdgeRNNError:
    """Return the one error that lifting a file raises; nothing is written."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(EdgeRNNError) as caught:
        exported(path, example, options, **fixed)
    assert "\n" not in str(caught.value)
    assert before == sorted(path.parent.iterdir())
    return caught.value


def original(path: Path, **feeds: NDArray[np.generic]) -> list[Floats]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(each) for each in session.run(None, feeds)]


def streamed(model: Model, values: NDArray[np.generic]) -> Floats:
    return np.asarray(model.stream().run(values), np.float32)


def frames_of_noise(count: int) -> Floats:
    return np.random.default_rng(3).standard_normal((count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("constructs", LIFTED.values(), ids=LIFTED)
def test_a_graph_lifts_and_its_step_computes_what_onnxruntime_computes(
    constructs: Sequence[Construct], tmp_path: Path
) -> None:
    graph = Graph()
    x = time_first(graph)
    for construct in constructs:
        construct(graph, x)

    spec = exported(saved(graph, tmp_path), [EXAMPLE]).spec
    assert "dynamic" == spec.batch
    assert [each.name for each in graph.outputs] == [each.name for each in spec.outputs]


def test_a_stream_of_frames_equals_a_run_of_the_original_over_the_sequence(tmp_path: Path) -> None:
    graph = Graph()
    gru_that_resets_first(graph, time_first(graph))
    path = saved(graph, tmp_path)
    frames = frames_of_noise(50)

    made = streamed(exported(path, [EXAMPLE]), frames)
    np.testing.assert_allclose(made, original(path, x=frames[None])[0][0], atol=1e-4)


def test_a_stream_of_tokens_equals_a_run_of_the_original_over_the_sequence(tmp_path: Path) -> None:
    graph = Graph()
    words = graph.input("tokens", ["b", "t"], TensorProto.INT64)
    dense_with_softmax(
        graph, graph.add("Transpose", graph.add("Gather", graph.weight(WORDS, WIDTH), words), perm=[1, 0, 2])
    )
    path = saved(graph, tmp_path)
    tokens = np.random.default_rng(4).integers(0, WORDS, 50)

    model = exported(path, ["tokens=int64[B,T]"])
    assert WORDS == model.spec.main_input.size
    made = streamed(model, tokens)
    np.testing.assert_allclose(made, original(path, tokens=tokens[None])[0][0], atol=1e-4)


def explicit_states(graph: Graph, *, order: Sequence[int]) -> Sequence[str]:
    """Build an LSTM that takes its states as inputs and returns Y, Y_h and Y_c in an order; return its example."""
    x = time_first(graph)
    given = [graph.input(name, [1, "b", HIDDEN]) for name in ("memory", "cell")]
    y, h, c = layer(graph, "LSTM", x, states=given)
    frames: tuple[str, Axes] = (batch_first(graph, y), ["b", "t", HIDDEN])
    states: list[tuple[str, Axes]] = [(graph.add("Identity", each), [1, "b", HIDDEN]) for each in (h, c)]
    made = [frames, *states]
    for i in order:
        graph.output(*made[i])
    return [EXAMPLE, "memory=float32[1,B,4]", "cell=float32[1,B,4]"]


def test_states_that_a_graph_takes_and_returns_under_other_names_become_states(tmp_path: Path) -> None:
    graph = Graph()
    example = explicit_states(graph, order=(0, 1, 2))
    path = saved(graph, tmp_path)
    frames = frames_of_noise(50)

    model = exported(path, example)
    assert ["x"] == [each.name for each in model.spec.inputs]
    assert ["state.memory", "state.cell"] == [each.input for each in model.spec.states]
    zero = np.zeros((1, 1, HIDDEN), np.float32)
    wanted = original(path, x=frames[None], memory=zero, cell=zero)[0][0]
    np.testing.assert_allclose(streamed(model, frames), wanted, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 2, 0)], ids=["swapped", "first"])
def test_states_that_are_returned_in_another_order_are_not_mixed_up(order: Sequence[int], tmp_path: Path) -> None:
    graph = Graph()
    example = explicit_states(graph, order=order)

    error = refused(saved(graph, tmp_path), example)
    assert isinstance(error, ExportError)


def test_a_graph_that_was_traced_with_one_row_lifts_for_one_row_only(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.add("Transpose", graph.input("x", [1, "t", WIDTH]), perm=[1, 0, 2])
    start = graph.constant(np.zeros((1, 1, HIDDEN)), "float32")
    graph.output(batch_first(graph, layer(graph, "LSTM", x, states=[start, start])[0]), [1, "t", HIDDEN])
    path = saved(graph, tmp_path)

    error = refused(path)
    assert type(error) is InputError
    assert "x has a fixed batch of 1 in the file; take it with --batch 1" in str(error)
    assert 1 == exported(path, [EXAMPLE], LiftOptions(batch=1)).spec.batch


def branch_by_a_rate(graph: Graph, x: str) -> None:
    y = batch_first(graph, layer(graph, "LSTM", x)[0])
    fast = graph.add("Equal", graph.input("rate", [], TensorProto.INT64), graph.constant(16000))
    then = branch(lambda inner: inner.add("Tanh", y, name="fast"))
    other = branch(lambda inner: inner.add("Neg", y, name="slow"))
    graph.output(graph.add("If", fast, then_branch=then, else_branch=other), ["b", "t", HIDDEN])


def test_an_input_that_is_fixed_decides_a_branch_and_is_no_input_of_the_step(tmp_path: Path) -> None:
    graph = Graph()
    branch_by_a_rate(graph, time_first(graph))
    path = saved(graph, tmp_path)
    frames = frames_of_noise(50)

    model = exported(path, [EXAMPLE], rate=16000)
    assert ["x"] == [each.name for each in model.spec.inputs]
    wanted = original(path, x=frames[None], rate=np.array(16000))[0][0]
    np.testing.assert_allclose(streamed(model, frames), wanted, atol=1e-4)


# What has no step form.


def reversed_lstm(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, direction="reverse")[0])


def reversed_gru_that_resets_first(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "GRU", x, direction="reverse")[0])


def _both(graph: Graph, y: str) -> None:
    graph.output(graph.add("Reshape", y, graph.constant([0, 0, -1])), ["t", 2, "c"])


def bidirectional_lstm(graph: Graph, x: str) -> None:
    _both(graph, layer(graph, "LSTM", x, direction="bidirectional")[0])


def bidirectional_gru_that_resets_first(graph: Graph, x: str) -> None:
    _both(graph, layer(graph, "GRU", x, direction="bidirectional")[0])


def clipped_lstm(graph: Graph, x: str) -> None:
    give(graph, layer(graph, "LSTM", x, clip=3.0)[0])


def lengths_from_the_frames(graph: Graph, x: str) -> None:
    loud = graph.add("Greater", graph.add("ReduceMax", x, axes=[2], keepdims=0), graph.constant(0, "float32"))
    counts = graph.add("ReduceSum", graph.add("Cast", loud, to=TensorProto.INT32), graph.constant([0]), keepdims=0)
    give(graph, layer(graph, "LSTM", x, lengths=counts)[0])


def branch_by_the_frames(graph: Graph, x: str) -> None:
    y = batch_first(graph, layer(graph, "LSTM", x)[0])
    loud = graph.add("Greater", graph.add("ReduceMax", x, keepdims=0), graph.constant(0, "float32"))
    then = branch(lambda inner: inner.add("Tanh", y, name="loud"))
    other = branch(lambda inner: inner.add("Neg", y, name="quiet"))
    graph.output(graph.add("If", loud, then_branch=then, else_branch=other), ["b", "t", HIDDEN])


def operator_of_another_domain(graph: Graph, x: str) -> None:
    graph.output(graph.add("Sharpen", x, domain="com.example"), ["t", "b", WIDTH])


def _sum_of_frames(total: str, frame: str) -> Graph:
    body = Graph()
    body.input(total, ["b", WIDTH])
    body.input(frame, ["b", WIDTH])
    made = body.add("Add", total, frame)
    body.output(made, ["b", WIDTH])
    body.output(body.add("Identity", made), ["b", WIDTH])
    return body


def scan(graph: Graph, x: str) -> None:
    start = graph.add("ReduceSum", x, graph.constant([0]), keepdims=0)
    body = _sum_of_frames("total", "frame").proto()
    graph.several("Scan", [start, x], ["end", "sums"], body=body, num_scan_inputs=1)
    graph.output("sums", ["t", "b", WIDTH])


def loop(graph: Graph, x: str) -> None:
    body = Graph()
    body.input("index", [], TensorProto.INT64)
    go = body.input("go", [], TensorProto.BOOL)
    total = body.input("total", ["b", WIDTH])
    body.output(body.add("Identity", go), [], TensorProto.BOOL)
    body.output(body.add("Add", total, body.add("Gather", x, "index")), ["b", WIDTH])
    start = graph.add("ReduceSum", x, graph.constant([0]), keepdims=0)
    steps = graph.add("Gather", graph.add("Shape", x), graph.constant(0))
    graph.output(graph.add("Loop", steps, "", start, body=body.proto()), ["b", WIDTH])


def numbers_up_to_a_frame(graph: Graph, x: str) -> None:
    most = graph.add("Cast", graph.add("ReduceMax", x, keepdims=0), to=TensorProto.INT64)
    graph.output(graph.add("Range", graph.constant(0), most, graph.constant(1)), ["n"], TensorProto.INT64)


REFUSED: Final[Mapping[Construct, str]] = {
    reversed_lstm: "reverses time: its first output needs the last input",
    reversed_gru_that_resets_first: "reverses time: its first output needs the last input",
    bidirectional_lstm: "runs over time in both directions",
    bidirectional_gru_that_resets_first: "runs over time in both directions",
    clipped_lstm: "LSTM with clip is not read; clip its inputs instead",
    lengths_from_the_frames: "the sequence_lens of LSTM is computed from the input",
    branch_by_the_frames: "decides by a value that is computed from the input",
    operator_of_another_domain: "is a com.example operator Sharpen that lifting does not read",
    scan: "is a Scan, whose body is not read",
    loop: "is a Loop, whose body is not read",
    numbers_up_to_a_frame: "is a Range of what is computed from the input, which lifting does not read",
}


@pytest.mark.parametrize("construct", REFUSED, ids=lambda construct: construct.__name__)
def test_a_graph_without_a_step_form_is_refused_with_the_reason(construct: Construct, tmp_path: Path) -> None:
    graph = Graph()
    construct(graph, time_first(graph))

    error = refused(saved(graph, tmp_path))
    assert type(error) is LiftError
    assert re.search(re.escape(REFUSED[construct]), str(error))


def test_a_graph_that_takes_no_tensor_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    lstm(graph, time_first(graph))
    graph.inputs.append(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))

    error = refused(saved(graph, tmp_path))
    assert type(error) is LiftError
    assert "parts is no tensor" in str(error)


def test_a_graph_for_one_number_of_frames_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    graph.output(graph.add("Tanh", graph.input("x", ["b", 10, WIDTH])), ["b", 10, WIDTH])

    error = refused(saved(graph, tmp_path))
    assert type(error) is InputError
    assert "x is float32[b, 10, 6] in the graph, with a fixed length" in str(error)


def test_a_graph_that_cannot_take_the_shortest_sequences_lifts_with_a_delay(tmp_path: Path) -> None:
    graph = Graph()
    channels = graph.add("Transpose", time_first(graph), perm=[1, 2, 0])
    made = graph.add("Conv", channels, graph.weight(HIDDEN, WIDTH, 3))
    graph.output(graph.add("Transpose", made, perm=[0, 2, 1]), ["b", "n", HIDDEN])
    path = saved(graph, tmp_path)

    error = refused(path)
    assert type(error) is LiftError
    assert "its output would lag by 2 steps; allow that with --allow-delay" in str(error)
    assert 2 == exported(path, [EXAMPLE], LiftOptions(allow_delay=True)).spec.delay_steps


def test_a_layer_that_onnxruntime_does_not_compute_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    y = layer(graph, "LSTM", graph.input("x", ["b", "t", WIDTH]), layout=1)[0]
    graph.output(graph.add("Squeeze", y, graph.constant([2])), ["b", "t", HIDDEN])

    error = refused(saved(graph, tmp_path))
    assert type(error) is ModelFileError
    assert "cannot be opened by ONNX Runtime" in str(error)


# Bad input.


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file that lifts."""
    graph = Graph()
    lstm(graph, time_first(graph))
    return saved(graph, tmp_path)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (["y=float32[B,T,6]"], "the graph has no input y; it has x"),
        (["x=float32[B,T]"], "x is float32[b, t, 6] in the graph, and not as the example says"),
        (["x=float64[B,T,6]"], "x is float32[b, t, 6] in the graph, and not as the example says"),
        (["x=float32[T,6]"], "x is float32[b, t, 6] in the graph, and not as the example says"),
        (["x=float32[B,T,6]", "z=float32[B,T,6]"], "the graph has no input z; it has x"),
        ([], "the example must describe an argument at least"),
        (["float32[B,T,6]"], "an example must read NAME=DTYPE[AXES]"),
        (["x=float32"], "x must read DTYPE[AXES]"),
        (["x=complex64[B,T,6]"], "x has dtype complex64"),
    ],
    ids=lambda value: ";".join(value) if isinstance(value, list) else "",
)
def test_an_example_that_is_not_the_graphs_is_refused(example: list[str], message: str, plain: Path) -> None:
    error = refused(plain, example)
    assert type(error) is InputError
    assert message in str(error)


def test_an_input_that_is_neither_described_nor_fixed_is_named(tmp_path: Path) -> None:
    graph = Graph()
    branch_by_a_rate(graph, time_first(graph))

    error = refused(saved(graph, tmp_path))
    assert type(error) is InputError
    assert "the example has no rate, which is int64[]; describe it, or fix it" in str(error)


def test_only_an_input_of_the_graph_can_be_fixed(plain: Path) -> None:
    error = refused(plain, rate=16000)
    assert type(error) is InputError
    assert "the graph has no input rate to fix; it has x" in str(error)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path / "sequence.onnx")
    assert type(error) is ModelFileError
    assert "could not be read: No such file or directory" in str(error)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sequence.onnx"
    path.write_bytes(content)

    error = refused(path)
    assert type(error) is ModelFileError
    assert str(path) in str(error)
    assert re.search(r"is no (valid )?ONNX model", str(error))


def test_a_file_that_was_cut_off_is_refused(plain: Path) -> None:
    plain.write_bytes(plain.read_bytes()[:-100])

    error = refused(plain)
    assert type(error) is ModelFileError
    assert re.search(r"is no (valid )?ONNX model", str(error))


def kept_outside(graph: Graph, location: str, *, constant: bool) -> None:
    """Move a weight of a graph to another file, as an initializer or as the value of a Constant."""
    weight = graph.weights[0]
    del weight.external_data[:]
    weight.external_data.add(key="location", value=location)
    weight.data_location = TensorProto.EXTERNAL
    weight.ClearField("raw_data")
    if constant:
        del graph.weights[0]
        graph.nodes.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))


@pytest.mark.parametrize("constant", [False, True], ids=["initializer", "constant"])
@pytest.mark.parametrize("way", ["absolute", "upwards", "link"])
def test_weights_outside_the_folder_of_a_model_are_not_read(way: str, constant: bool, tmp_path: Path) -> None:  # noqa: FBT001
    graph = Graph()
    lstm(graph, time_first(graph))
    secret = tmp_path / "secret.bin"
    secret.write_bytes(graph.weights[0].raw_data)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    kept_outside(
        graph, {"absolute": str(secret), "upwards": "../secret.bin", "link": "link.bin"}[way], constant=constant
    )

    error = refused(saved(graph, folder))
    assert type(error) is ModelFileError
    assert re.search("outside|absolute path|symbolic link", str(error))


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    graph = Graph()
    lstm(graph, time_first(graph))
    (tmp_path / "weights.bin").write_bytes(graph.weights[0].raw_data)
    kept_outside(graph, "weights.bin", constant=False)

    assert 2 == len(exported(saved(graph, tmp_path), [EXAMPLE]).spec.states)


def test_weights_that_are_missing_beside_the_model_are_named(tmp_path: Path) -> None:
    graph = Graph()
    lstm(graph, time_first(graph))
    kept_outside(graph, "weights.bin", constant=False)

    error = refused(saved(graph, tmp_path))
    assert type(error) is ModelFileError
    assert "weights.bin" in str(error)
