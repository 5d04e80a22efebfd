"""What cannot be compiled is refused by operator and place, before anything is written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgernn_export.compile import compile_model
from edgernn_export.metadata import read_spec, write_spec
from edgernn_runtime.errors import CompileError, EngineError, ModelFileError, SpecError
from tests.export.compile.graphs import engines, write_graph


def test_an_operator_outside_the_table_is_named_with_its_place(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Einsum", ["t", "t"], ["y"], "squares", equation="bi,bi->bi"),
    ]
    path = write_graph(tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (4,))})

    with pytest.raises(CompileError, match=r"Einsum of the head \(node squares\) is no operator .*docs/compile.md"):
        compile_model(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()


NODE = helper.make_node
REFUSED = [
    (
        [NODE("RandomNormal", [], ["r"], "noise", shape=[1, 3, 4]), NODE("Add", ["x", "r"], ["y"])],
        r"RandomNormal of the head \(node noise\) is no operator",
    ),
    (
        [NODE("RandomUniformLike", ["zeros"], ["r"], "noise"), NODE("Add", ["x", "r"], ["y"])],
        r"RandomUniformLike of the head \(node noise\) is no operator",
    ),
    (
        [NODE("Dropout", ["zeros", "half", "true"], ["r"], "drop"), NODE("Add", ["x", "r"], ["y"])],
        r"Dropout of the head \(node drop\) must be exported in evaluation mode",
    ),
    (
        [NODE("Dropout", ["x"], ["r", "mask"], "drop"), NODE("Cast", ["mask"], ["y"], to=1)],
        r"Dropout of the head \(node drop\) must do without its output 1 \(mask\)",
    ),
    (
        [NODE("MaxPool", ["x"], ["r", "places"], "pool", kernel_shape=[1]), NODE("Cast", ["places"], ["y"], to=1)],
        r"MaxPool of the head \(node pool\) must do without its output 1 \(places\)",
    ),
    (
        [
            NODE("Concat", ["x", "column"], ["five"], axis=2),
            NODE("Split", ["five"], ["p", "q", "r", "s"], "cut", axis=2, num_outputs=4),
            NODE("Concat", ["p", "q"], ["y"], axis=2),
        ],
        r"Split of the head \(node cut\) cannot split 5 elements into 4 parts of 2",
    ),
    (
        [
            NODE("Cast", ["x"], ["base"], to=6),
            NODE("Pow", ["base", "half"], ["power"], "root"),
            NODE("Cast", ["power"], ["y"], to=1),
        ],
        r"Pow of the head \(node root\) takes float32, got int32; export it with float32",
    ),
    (
        [NODE("ConvTranspose", ["x", "filter"], ["y"], "spread", output_shape=[4])],
        r"ConvTranspose of the head \(node spread\) must .* say its padding in numbers",
    ),
    (
        [
            NODE("IsInf", ["x"], ["r"], "test", detect_negative=0, detect_positive=0),
            NODE("Cast", ["r"], ["y"], to=1),
        ],
        r"IsInf of the head \(node test\) must detect infinity of one sign at least",
    ),
]


@pytest.mark.parametrize(("nodes", "message"), REFUSED, ids=[message.partition(" ")[0] for _, message in REFUSED])
def test_what_would_be_computed_wrongly_is_refused(
    nodes: Sequence[onnx.NodeProto], message: str, tmp_path: Path
) -> None:
    constants = {
        "zeros": np.zeros((1, 3, 4), np.float32),
        "half": np.float32(0.5),
        "true": np.ones((), np.bool_),
        "column": np.zeros((1, 3, 1), np.float32),
        "filter": np.ones((3, 3, 2), np.float32),
    }
    path = write_graph(
        tmp_path / "m.onnx", nodes, inputs={"x": (3, 4)}, outputs={"y": ("float32", (3, 4))}, constants=constants
    )
    with pytest.raises(CompileError, match=message):
        compile_model(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_shape_that_a_step_computes_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["count"], to=7),
        helper.make_node("Unsqueeze", ["count", "zero"], ["counts"]),
        helper.make_node("Slice", ["x", "zero", "counts", "one"], ["part"], "cut"),
        helper.make_node("ReduceSum", ["part", "one"], ["y"], keepdims=1),
    ]
    constants = {"zero": np.array([0]), "one": np.array([1])}
    path = write_graph(
        tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (1,))}, constants=constants
    )

    with pytest.raises(CompileError, match=r"Slice of the head \(node cut\) has ends that depend on what the step"):
        compile_model(path, tmp_path)


def test_an_older_opset_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    path = write_graph(tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (4,))})
    model = onnx.load(path)
    model.opset_import[0].version = 13
    spec, _ = read_spec(model)
    write_spec(model, spec)
    onnx.save(model, path)
    with pytest.raises(CompileError, match="the graph has opset 13, 18 is the oldest"):
        compile_model(path, tmp_path)


def test_a_token_out_of_range_changes_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["row"]),
        helper.make_node("Add", ["row", "h"], ["next_h"]),
        helper.make_node("Identity", ["next_h"], ["y"]),
    ]
    path = write_graph(
        tmp_path / "m.onnx",
        nodes,
        inputs={},
        outputs={"y": ("float32", (3,))},
        states={"h": ("next_h", (3,))},
        constants={"table": np.ones((5, 3), np.float32)},
        tokens={"token": 5},
    )
    executor = engines(path)[1].executor()
    executor.inputs["token"][0] = 4
    executor.run()
    before = executor.read_state()[0].copy()
    executor.inputs["token"][0] = 5
    with pytest.raises(EngineError, match=r"token must lie in 0\.\.4, got 5"):
        executor.run()
    np.testing.assert_array_equal(executor.read_state()[0], before)


def test_what_is_no_model_is_refused_as_by_load(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        compile_model(tmp_path / "m.onnx", tmp_path)
    with pytest.raises(ModelFileError, match="could not be read"):
        compile_model(tmp_path / "none.onnx", tmp_path)


def test_a_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    constants = {"factor": np.array([2.0], np.float32)}
    path = write_graph(
        tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (4,))}, constants=constants
    )
    path.write_bytes(path.read_bytes().replace(np.float32(2).tobytes(), np.float32(3).tobytes()))
    with pytest.raises(SpecError, match="changed after the export"):
        compile_model(path, tmp_path)
