"""States that one loop reads and writes: what a step reads of them is what they were before it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.export.compile.graphs import engines, write_graph

SIZE = 4

node = helper.make_node

NEXT = [
    node("Max", ["s", "x"], ["larger"]),
    node("Add", ["larger", "m"], ["next_s"]),
    node("Mul", ["old", "next_s"], ["next_m"]),
]
GRAPHS = {
    "read back out of a joined array": [
        node("Concat", ["x", "s"], ["joined"], axis=1),
        node("Slice", ["joined", "four", "eight", "one"], ["old"]),
        *NEXT,
    ],
    "read back out of a padded array": [node("Pad", ["s", "none"], ["old"]), *NEXT],
    "split": [
        node("Concat", ["m", "s"], ["joined"], axis=1),
        node("Split", ["joined"], ["other", "old"], axis=1, num_outputs=2),
        *NEXT,
    ],
}
CONSTANTS = {
    "one": np.array([1]),
    "four": np.array([SIZE]),
    "eight": np.array([2 * SIZE]),
    "none": np.array([0, 0, 0, 0]),
    "mixing": np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32),
}


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_a_step_reads_states_as_they_were_before_it(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "model.onnx",
        [*nodes, node("MatMul", ["next_m", "mixing"], ["y"])],
        inputs={"x": (SIZE,)},
        outputs={"y": ("float32", (SIZE,))},
        states={"s": ("next_s", (SIZE,)), "m": ("next_m", (SIZE,))},
        constants={name: CONSTANTS[name] for each in nodes for name in each.input if name in CONSTANTS}
        | {"mixing": CONSTANTS["mixing"]},
    )
    reference, compiled = (model.executor() for model in engines(path))
    rng = np.random.default_rng(0)
    for _ in range(3):
        state = [rng.standard_normal((1, SIZE)).astype(np.float32) for _ in range(2)]
        frame = rng.standard_normal((1, SIZE)).astype(np.float32)
        for each in (reference, compiled):
            each.inputs["x"][...] = frame
            each.write_state(state)
            each.run()
        np.testing.assert_allclose(compiled.outputs["y"], reference.outputs["y"], rtol=1e-5, atol=1e-5)
        for expected, found in zip(reference.read_state(), compiled.read_state(), strict=True):
            np.testing.assert_array_equal(found, expected)
