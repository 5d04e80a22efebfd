"""Each graph pass: what it does to a graph, and that the results are unchanged."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgernn_export.passes import optimize, tidy
from edgernn_export.passes.fold_biases import fold_biases
from edgernn_export.passes.merge_gates import merge_gates
from edgernn_export.passes.merge_products import merge_products
from edgernn_export.passes.split_gemm import split_gemm
from edgernn_export.passes.token_table import token_table

WEIGHTS = {
    "E": (11, 6),
    "W": (6, 8),
    "R": (4, 8),
    "W_T": (8, 6),
    "b": (8,),
    "c": (8,),
    "T": (11, 8),
    "narrow": (4, 1),
}

LSTM_GATES = """
    i, f, g, o = Split <axis = 1, num_outputs = 4> (gates)
    i1 = Sigmoid (i)
    f1 = Sigmoid (f)
    g1 = Tanh (g)
    o1 = Sigmoid (o)
    ig = Mul (i1, g1)
    fg = Sub (f1, ig)
    y = Mul (fg, o1)
"""


def graph(body: str, y: str = "float[batch, 8] y") -> ir.Model:
    """Return a model with inputs token, x, h, the weights above, and the nodes of `body`."""
    text = f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (int64[batch] token, float[batch, 6] x, float[batch, 4] h) => ({y})
        {{ {body} }}
    """
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    for name, shape in WEIGHTS.items():
        if name in used:
            array = np.random.default_rng(len(name) + shape[0]).standard_normal(shape).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def compute(model: ir.Model) -> NDArray[np.float32]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        "token": rng.integers(0, 11, 3),
        "x": rng.standard_normal((3, 6)).astype(np.float32),
        "h": rng.standard_normal((3, 4)).astype(np.float32),
    }
    outputs: list[NDArray[np.float32]] = session.run(None, feeds)
    return outputs[0]


def operators(model: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph))


def check(body: str, change: object, expected: dict[str, int], y: str = "float[batch, 8] y") -> ir.Model:
    """Apply one pass, and compare its operators with `expected` and its results with those before."""
    model = graph(body, y)
    before = compute(model)
    assert callable(change)
    assert change(model) is True
    tidy(model)
    assert operators(model) == expected
    np.testing.assert_allclose(compute(model), before, rtol=0, atol=2e-6)
    assert change(model) is False
    return model


def unchanged(body: str, change: object, y: str = "float[batch, 8] y") -> None:
    model = graph(body, y)
    before = operators(model)
    assert callable(change)
    assert change(model) is False
    assert operators(model) == before


@pytest.mark.parametrize("form", ["Gemm <transB = 1> (x, W_T, b)", "Gemm (x, W, b)"])
def test_a_gemm_becomes_a_product_and_a_sum(form: str) -> None:
    check(f"y = {form}", split_gemm, {"MatMul": 1, "Add": 1})


def test_a_gemm_without_bias_becomes_a_product() -> None:
    check("y = Gemm (x, W)", split_gemm, {"MatMul": 1})


@pytest.mark.parametrize("form", ["Gemm <alpha = 0.5> (x, W, b)", "Gemm <beta = 2.0> (x, W, b)"])
def test_a_scaled_gemm_stays(form: str) -> None:
    unchanged(f"y = {form}", split_gemm)


def test_embedding_and_projection_become_a_table() -> None:
    model = check("e = Gather <axis = 0> (E, token) y = MatMul (e, W)", token_table, {"Gather": 1})
    assert [value.shape for value in model.graph.initializers.values()] == [ir.Shape([11, 8])]


def test_a_projection_of_something_else_is_no_table() -> None:
    unchanged("y = MatMul (x, W)", token_table)


def test_an_embedding_that_others_read_stays_beside_its_table() -> None:
    sums = "p = MatMul (e, W) q = MatMul (x, W) s = Add (p, q)"
    body = f"e = Gather <axis = 0> (E, token) {sums} y = Concat <axis = 1> (s, e)"
    check(body, token_table, {"Gather": 2, "MatMul": 1, "Add": 1, "Concat": 1}, "float[batch, 14] y")


def test_biases_of_one_sum_become_one() -> None:
    body = "p = MatMul (x, W) q = MatMul (h, R) s = Add (p, b) t = Add (q, c) y = Add (s, t)"
    check(body, fold_biases, {"MatMul": 2, "Add": 2})


def test_a_bias_goes_into_the_table_of_its_sum() -> None:
    model = graph("e = Gather <axis = 0> (E, token) p = MatMul (e, W) s = Add (p, b) q = MatMul (h, R) y = Add (s, q)")
    before = compute(model)
    assert token_table(model)
    assert fold_biases(model)
    tidy(model)
    assert operators(model) == {"Gather": 1, "MatMul": 1, "Add": 1}
    np.testing.assert_allclose(compute(model), before, rtol=0, atol=2e-6)


def test_a_bias_alone_goes_into_its_table() -> None:
    check("e = Gather <axis = 0> (T, token) y = Add (e, b)", fold_biases, {"Gather": 1})


def test_a_table_that_others_read_keeps_out_the_bias() -> None:
    twice = "e = Gather <axis = 0> (T, token) f = Gather <axis = 0> (T, token) s = Add (e, b)"
    unchanged(f"{twice} y = Concat <axis = 1> (s, f)", fold_biases, "float[batch, 16] y")


def test_a_sum_that_others_read_keeps_its_bias() -> None:
    body = "p = MatMul (x, W) s = Add (p, b) t = Add (s, c) y = Concat <axis = 1> (s, t)"
    unchanged(body, fold_biases, "float[batch, 16] y")


def test_products_that_are_added_become_one() -> None:
    body = "p = MatMul (x, W) q = MatMul (h, R) s = Add (p, q) y = Add (s, b)"
    check(body, merge_products, {"Concat": 1, "MatMul": 1, "Add": 1})


def test_a_product_that_others_read_is_not_merged() -> None:
    body = "p = MatMul (x, W) q = MatMul (h, R) s = Add (p, q) y = Concat <axis = 1> (s, p)"
    unchanged(body, merge_products, "float[batch, 16] y")


def test_gates_with_one_activation_share_a_node() -> None:
    body = "p = MatMul (x, W) gates = Add (p, b)" + LSTM_GATES
    expected = {"MatMul": 1, "Add": 1, "Split": 2, "Sigmoid": 1, "Tanh": 1, "Mul": 2, "Sub": 1}
    check(body, merge_gates, expected, "float[batch, 2] y")


def test_gates_are_reordered_inside_a_table_too() -> None:
    body = "e = Gather <axis = 0> (E, token) p = MatMul (e, W) q = MatMul (h, R) gates = Add (p, q)" + LSTM_GATES
    model = graph(body, "float[batch, 2] y")
    before = compute(model)
    assert token_table(model)
    assert merge_gates(model)
    tidy(model)
    assert operators(model)["Sigmoid"] == 1
    np.testing.assert_allclose(compute(model), before, rtol=0, atol=2e-6)


def test_gates_of_a_sum_that_others_read_stay() -> None:
    body = (
        "p = MatMul (x, W) gates = Add (p, b)" + LSTM_GATES.replace("y = ", "z = ") + "y = Concat <axis = 1> (z, gates)"
    )
    unchanged(body, merge_gates, "float[batch, 10] y")


def test_gates_behind_no_constant_stay() -> None:
    unchanged("gates = Concat <axis = 1> (h, h)" + LSTM_GATES, merge_gates, "float[batch, 2] y")


def test_all_passes_together_leave_the_fewest_nodes() -> None:
    body = "e = Gather <axis = 0> (E, token) p = Gemm (e, W, b) q = Gemm (h, R, c) gates = Add (p, q)" + LSTM_GATES
    model = graph(body, "float[batch, 2] y")
    before = compute(model)
    assert optimize(model) == ("split_gemm", "token_table", "fold_biases", "merge_gates")
    assert operators(model) == {
        "Gather": 1, "MatMul": 1, "Add": 1, "Split": 2, "Sigmoid": 1, "Tanh": 1, "Mul": 2, "Sub": 1,
    }  # fmt: skip
    np.testing.assert_allclose(compute(model), before, rtol=0, atol=2e-6)
    assert not any(node.metadata_props or node.doc_string for node in model.graph)


@pytest.mark.parametrize("change", [fold_biases, merge_products])
def test_a_sum_that_is_a_term_of_another_sum_survives_both_rewrites(change: object) -> None:
    body = """
        p = MatMul (x, W) q = MatMul (h, R) s0 = Add (p, b) s1 = Add (s0, c) s = Add (s1, q)
        t = Tanh (s)
        u = MatMul (x, W) v = MatMul (h, R) r0 = Add (u, b) r1 = Add (r0, v) r2 = Add (r1, c) r = Add (r2, s)
        y = Mul (r, t)
    """
    model = graph(body)
    before = compute(model)
    assert callable(change)
    assert change(model) is True
    tidy(model)
    np.testing.assert_allclose(compute(model), before, rtol=0, atol=2e-5)


def test_gates_that_are_outputs_of_the_graph_stay() -> None:
    body = "p = MatMul (x, W) gates = Add (p, b)" + LSTM_GATES
    unchanged(body, merge_gates, "float[batch, 2] y, float[batch, 2] g")


def test_products_that_are_added_by_broadcasting_are_not_merged() -> None:
    unchanged("p = MatMul (x, W) q = MatMul (h, narrow) y = Add (p, q)", merge_products)
