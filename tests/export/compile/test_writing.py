"""What is written where names meet: functions, variables of single numbers, arrays that nothing reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgernn_export.compile import compile_model
from edgernn_export.metadata import write_spec
from edgernn_runtime import load
from edgernn_runtime.errors import EngineError
from edgernn_runtime.spec import Feedback
from tests.export.compile.graphs import engines, library_of, write_graph
from tests.export.compile.test_random_graphs import write_random
from tests.export.compile.test_source import STRICT, compile_strictly

node = helper.make_node

AXIS = {"axis": np.array([1])}
SCALARS = [
    node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
    node("Tanh", ["sum"], ["gain"]),
    node("Unsqueeze", ["gain", "axis"], ["wide"]),
    node("Mul", ["x", "wide"], ["scaled"]),
    node("ReduceSum", ["scaled", "axis"], ["second"], keepdims=0),
    node("Tanh", ["second"], ["y"]),
]
SIMILAR = [
    node("Add", ["h", "x"], ["first"]),
    node("Tanh", ["first"], ["next_h"]),
    node("Add", ["h_2", "x"], ["second"]),
    node("Sigmoid", ["second"], ["next_h_2"]),
    node("Mul", ["h", "h_2"], ["y"]),
]


def assert_equal(path: Path) -> None:
    """Fail if a compiled model of an input x computes something else than ONNX Runtime."""
    reference, compiled = (model.executor() for model in engines(path))
    rng = np.random.default_rng(0)
    for _ in range(3):
        frame = rng.standard_normal((1, 4)).astype(np.float32)
        for each in (reference, compiled):
            each.inputs["x"][...] = frame
            each.run()
        np.testing.assert_allclose(compiled.outputs["y"], reference.outputs["y"], rtol=1e-5, atol=1e-6)


def test_single_numbers_of_one_function_have_variables_of_their_own(tmp_path: Path) -> None:
    outputs = {"y": ("float32", ()), "gain": ("float32", ())}
    path = write_graph(tmp_path / "model.onnx", SCALARS, inputs={"x": (4,)}, outputs=outputs, constants=AXIS)
    assert_equal(path)


def test_functions_of_states_with_similar_names_are_two(tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "model.onnx",
        SIMILAR,
        inputs={"x": (4,)},
        outputs={"y": ("float32", (4,))},
        states={"h": ("next_h", (4,)), "h_2": ("next_h_2", (4,))},
    )
    assert_equal(path)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", range(12))
def test_the_c_of_a_random_graph_has_no_warning(seed: int, compiler: str, tmp_path: Path) -> None:
    compiled = compile_model(write_random(seed, tmp_path / "model.onnx"), tmp_path, name="model")
    compile_strictly(compiler, compiled.source, STRICT)


def test_a_step_takes_no_token_beyond_the_vocabulary(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", ["token", "axis"], ["column"]),
        node("Equal", ["column", "numbers"], ["chosen"]),
        node("Cast", ["chosen"], ["one_hot"], to=1),
        node("Add", ["one_hot", "h"], ["next_h"]),
        node("Identity", ["next_h"], ["logits"]),
    ]
    path = write_graph(
        tmp_path / "model.onnx",
        nodes,
        inputs={},
        outputs={"logits": ("float32", (4,))},
        states={"h": ("next_h", (4,))},
        constants=AXIS | {"numbers": np.arange(4)},
        tokens={"token": 4},
    )
    model = onnx.load(path)
    spec = load(path).spec
    unsized = (replace(spec.inputs[0], size=None),)
    feedback = Feedback("logits", "token", 0)
    write_spec(model, replace(spec, inputs=unsized, distribution="categorical", feedback=feedback))
    onnx.save(model, path)
    executor = load(library_of(path)).executor()
    for token in (4, -1):
        executor.inputs["token"][0] = token
        with pytest.raises(EngineError, match=rf"token must lie in 0\.\.3, got {token}"):
            executor.run()
