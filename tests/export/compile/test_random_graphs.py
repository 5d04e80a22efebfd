"""Random graphs of views, loops, products and states: compiled, they compute what ONNX Runtime computes."""

import random
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from edgernn_runtime.errors import SpecError
from tests.export.compile.graphs import engines, write_graph

Shape = tuple[int, ...]
STEPS = 4
LARGEST = 60


class Graph:
    """A graph that grows node by node; its values are known by name and shape, the batch left out."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311, a reproducible graph
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[str, Shape] = {}

    def constant(self, array: NDArray[np.generic]) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = array
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, inputs: list[str], shape: Shape, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.values[name] = shape
        return name

    def pick(self) -> str:
        names = list(self.values)
        return self.random.choice(names[-8:] if self.random.random() < 0.6 else names)

    def fitted(self, name: str, shape: Shape) -> str:
        """Return a value in another shape: reshaped, cut or repeated."""
        have, wanted = prod(self.values[name]), prod(shape)
        if self.values[name] == shape:
            return name
        if have != wanted:
            name = self.add("Reshape", [name, self.integers(-1, have)], (have,))
        while have < wanted:
            name, have = self.add("Concat", [name, name], (2 * have,), axis=1), 2 * have
        if have > wanted:
            start = self.random.randrange(have - wanted + 1)
            bounds = [self.integers(start), self.integers(start + wanted), self.integers(1)]
            name = self.add("Slice", [name, *bounds], (wanted,))
        return name if self.values[name] == shape else self.add("Reshape", [name, self.integers(-1, *shape)], shape)

    def grow(self) -> None:
        """Add one operation on a value that is there."""
        name, choose = self.pick(), self.random.choice
        shape = self.values[name]
        axis = self.random.randrange(len(shape))
        kind = choose(["unary", "binary", "binary", "transpose", "slice", "concat", "pad", "mean", "product"])
        if kind == "unary":
            self.add(choose(["Tanh", "Relu", "Neg", "Sigmoid", "Abs", "Identity"]), [name], shape)
        elif kind == "binary":
            self.add(choose(["Add", "Sub", "Mul", "Max"]), [name, self.fitted(self.pick(), shape)], shape)
        elif kind == "transpose" and len(shape) == 2:
            self.add("Transpose", [name], shape[::-1], perm=[0, 2, 1])
        elif kind == "slice":
            step, start = choose([1, 1, -1, 2, -2]), self.random.randrange(shape[axis])
            count = len(range(shape[axis])[start::step])
            numbers = (start, 10**6 if step > 0 else -(10**6), axis + 1, step)
            self.add("Slice", [name, *map(self.integers, numbers)], (*shape[:axis], count, *shape[axis + 1 :]))
        elif kind == "concat":
            other = choose([name, self.fitted(self.pick(), shape)])
            self.add("Concat", [name, other], (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :]), axis=axis + 1)
        elif kind == "pad":
            before, after = self.random.randrange(3), self.random.randrange(3)
            amounts = [0] * 2 * (len(shape) + 1)
            amounts[axis + 1], amounts[len(shape) + axis + 2] = before, after
            value = self.constant(np.array(choose([0, 1.5]), np.float32))
            padded = (*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :])
            self.add("Pad", [name, self.integers(*amounts), value], padded)
        elif kind == "mean":
            mean = self.add("ReduceMean", [name, self.integers(axis + 1)], (*shape[:axis], 1, *shape[axis + 1 :]))
            self.add("Sub", [name, mean], shape)
        elif kind == "product" and len(shape) == 1:
            weights = np.random.default_rng(self.random.randrange(99)).normal(size=shape * 2) / 2
            self.add("MatMul", [name, self.constant(weights.astype(np.float32))], shape)
        if prod(self.values[list(self.values)[-1]]) > LARGEST:
            self.values.pop(list(self.values)[-1])
            self.nodes.pop()


def write_random(seed: int, path: Path) -> Path:
    """Write a model of a random graph."""
    graph = Graph(seed)
    choose = graph.random.choice
    rows, columns = choose([2, 3, 4]), choose([2, 3])
    inputs = {"x": (rows, columns), "z": (rows * columns,)}
    states = {f"s{i}": choose([(rows, columns), (rows * columns,), (rows,)]) for i in range(choose([1, 2, 3]))}
    graph.values = {**inputs, **states}
    for _ in range(graph.random.randrange(4, 22)):
        graph.grow()
    ends = []
    for name, shape in states.items():
        value = graph.fitted(graph.pick(), shape)
        bounded = graph.add("Tanh", [value], shape) if graph.random.random() < 0.5 else value
        ends.append(helper.make_node("Identity", [bounded], [f"next_{name}"]))
    outputs = {}
    for i in range(choose([1, 2, 3])):
        value = graph.pick()
        outputs[f"y{i}"] = ("float32", graph.values[value])
        ends.append(helper.make_node("Identity", [value], [f"y{i}"]))
    graph.random.shuffle(ends)
    return write_graph(
        path,
        [*graph.nodes, *ends],
        inputs=inputs,
        outputs=outputs,
        states={name: (f"next_{name}", shape) for name, shape in states.items()},
        constants=graph.constants,
    )


@pytest.mark.parametrize("seed", [*range(50), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(50, 250))])
def test_a_random_graph_computes_what_onnx_runtime_computes(seed: int, tmp_path: Path) -> None:
    path = write_random(seed, tmp_path / "model.onnx")
    try:
        reference, compiled = (model.executor() for model in engines(path))
    except SpecError:
        pytest.skip("ONNX Runtime infers that the batch is 1")
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        for name in ("x", "z"):
            value = rng.standard_normal(reference.inputs[name].shape).astype(np.float32)
            reference.inputs[name][...] = value
            compiled.inputs[name][...] = value
        compiled.write_state(reference.read_state())
        reference.run()
        compiled.run()
        pairs = [(reference.outputs[name], compiled.outputs[name]) for name in reference.outputs]
        for expected, actual in [*pairs, *zip(reference.read_state(), compiled.read_state(), strict=True)]:
            np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5 * max(1, np.abs(expected).max()))
