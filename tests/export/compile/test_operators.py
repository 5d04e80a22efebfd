"""Every operator of compiled models computes what ONNX Runtime computes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgernn_export.compile import compile_model
from edgernn_export.compile.operators import OPERATORS
from tests.export.compile.graphs import engines, write_graph

Array = NDArray[np.generic]
RNG = np.random.default_rng(0)
STEPS = 20


@dataclass(frozen=True)
class Case:
    """One node, or a few that only make sense together."""

    operator: str
    inputs: Sequence[str]
    shapes: Mapping[str, tuple[int, ...]]
    result: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Array] = field(default_factory=dict)
    low: float = -3.0
    high: float = 3.0
    dtype: str = "float32"
    label: str = ""
    before: Sequence[onnx.NodeProto] = ()
    after: Sequence[onnx.NodeProto] = ()

    def __str__(self) -> str:
        """Return the name of the test."""
        return f"{self.operator} {self.label}".strip().replace(" ", "-")


def _floats(*shape: int, scale: float = 1.0) -> Array:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def _ints(*values: int) -> Array:
    return np.array(values, np.int64)


def _unary(operator: str, low: float = -3.0, high: float = 3.0, label: str = "", **attributes: Any) -> Case:
    return Case(operator, ["x"], {"x": (7,)}, (7,), attributes, low=low, high=high, label=label)


def _binary(operator: str, low: float = -3.0, high: float = 3.0, label: str = "", **attributes: Any) -> Case:
    return Case(operator, ["x", "z"], {"x": (3, 5), "z": (1, 5)}, (3, 5), attributes, low=low, high=high, label=label)


def _compared(operator: str) -> Case:
    """Return a comparison of rounded numbers, chosen by, as it gives truth."""
    before = [helper.make_node("Round", ["x"], ["rx"]), helper.make_node("Round", ["z"], ["rz"])]
    after = [helper.make_node("Where", ["made", "x", "z"], ["y"])]
    shapes = {"x": (3, 5), "z": (3, 5)}
    return Case(operator, ["rx", "rz"], shapes, (3, 5), before=before, after=after, low=-1.4, high=1.4)


def _logical(operator: str) -> Case:
    before = [helper.make_node("Less", ["x", "z"], ["a"]), helper.make_node("Less", ["x", "zero"], ["b"])]
    after = [helper.make_node("Where", ["made", "x", "z"], ["y"])]
    constants = {"zero": np.zeros(1, np.float32)}
    inputs = ["a"] if operator == "Not" else ["a", "b"]
    return Case(operator, inputs, {"x": (3, 5), "z": (3, 5)}, (3, 5), constants=constants, before=before, after=after)


def _reduced(operator: str, *, low: float = -3.0, label: str = "") -> Case:
    return Case(
        operator, ["x", "axes"], {"x": (4, 5, 6)}, (4, 1, 6), constants={"axes": _ints(2)}, low=low, label=label
    )


def _over_all(operator: str) -> Case:
    return Case(
        operator,
        ["x", "axes"],
        {"x": (37,)},
        (),
        {"keepdims": 0},
        {"axes": _ints(-1)},
        low=0.5,
        high=1.5,
        label="last axis",
    )


def _at_the_end(operator: str, first: int, dtype: str, *, by: int | None = None) -> Case:
    """Return integer arithmetic that leaves its type, with 1 where the result is larger than what it is made of."""
    table = np.array([first, 5, 7, 0], dtype)
    constants = {"table": table} | ({} if by is None else {"by": np.array(by, dtype)})
    before = [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["table", "i"], ["a"])]
    after = [
        helper.make_node("Greater", ["made", "a"], ["larger"]),
        helper.make_node("Cast", ["larger"], ["y"], to=1),
    ]
    inputs = ["a"] if by is None else ["a", "by"]
    return Case(
        operator, inputs, {"x": (9,)}, (9,), {}, constants, 0, 3.99, label=f"{dtype} end", before=before, after=after
    )


def _narrow(operator: str, *inputs: str) -> Case:
    """Return arithmetic of int8 whose result, of type int in C, leaves int8."""
    constants = {"table": np.array([-128, 127, 5, -7], np.int8)}
    before = [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["table", "i"], ["a"])]
    after = [helper.make_node("Cast", ["made"], ["y"], to=1)]
    return Case(operator, inputs, {"x": (9,)}, (9,), {}, constants, 0, 3.99, label="int8", before=before, after=after)


def _remainder(dtype: int) -> Case:
    """Return the remainder of integers of both signs by others of both signs."""
    before = [
        helper.make_node("Cast", ["x"], ["a"], to=dtype),
        helper.make_node("Sign", ["z"], ["sign"]),
        helper.make_node("Mul", ["sign", "three"], ["divisor"]),
        helper.make_node("Cast", ["divisor"], ["b"], to=dtype),
    ]
    after = [helper.make_node("Cast", ["made"], ["y"], to=1)]
    shapes, constants = {"x": (9,), "z": (9,)}, {"three": np.float32(3)}
    return Case("Mod", ["a", "b"], shapes, (9,), {}, constants, -9, 9, label=str(dtype), before=before, after=after)


def _extreme(operator: str) -> Case:
    """Return the larger or smaller of two sums of integers."""
    before = [
        helper.make_node("Cast", ["x"], ["a"], to=7),
        helper.make_node("Add", ["a", "a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
    ]
    constants = {"one": np.array(1), "two": np.array(2)}
    return Case(operator, ["c", "two"], {"x": (9,)}, (9,), {}, constants, dtype="int64", label="int64", before=before)


def _of_any(operator: str, label: str, after: Sequence[onnx.NodeProto] = (), **attributes: Any) -> Case:
    """Return an operator of numbers of which some are infinite or NaN."""
    before = [
        helper.make_node("Round", ["x"], ["rx"]),
        helper.make_node("Round", ["z"], ["rz"]),
        helper.make_node("Div", ["rx", "rz"], ["q"]),
    ]
    shapes = {"x": (9,), "z": (9,)}
    return Case(operator, ["q"], shapes, (9,), attributes, {}, -1.4, 1.4, label=label, before=before, after=after)


def _of_nothing(operator: str) -> Case:
    """Return a reduction over an axis without elements."""
    before = [helper.make_node("Split", ["x", "s"], ["whole", "nothing"], axis=1)]
    constants = {"s": _ints(3, 0), "a": _ints(1)}
    return Case(
        operator,
        ["nothing", "a"],
        {"x": (3, 4)},
        (4,),
        {"keepdims": 0},
        constants,
        label="of nothing",
        before=before,
    )


def _pooled(operator: str, result: tuple[int, ...], **attributes: Any) -> Case:
    return Case(operator, ["x"], {"x": (3, 8)}, result, attributes)


def _convolution(label: str, weights: Array, result: tuple[int, ...], **attributes: Any) -> Case:
    constants = {"w": weights, "b": _floats(result[0])}
    return Case("Conv", ["x", "w", "b"], {"x": (4, 9)}, result, attributes, constants, label=label)


def _recurrent(operator: str, gates: int, label: str = "", **attributes: Any) -> Case:
    hidden, inputs, frames = 5, 4, 3
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    constants = {
        "w": _floats(directions, gates * hidden, inputs),
        "r": _floats(directions, gates * hidden, hidden, scale=0.4),
        "b": _floats(directions, 2 * gates * hidden),
        "perm": _ints(0),
    }
    before = [helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2])]
    after = [helper.make_node("Transpose", ["made"], ["y"], perm=[2, 0, 1, 3])]
    return Case(
        operator,
        ["xt", "w", "r", "b"],
        {"x": (frames, inputs)},
        (frames, directions, hidden),
        {"hidden_size": hidden, **attributes},
        constants,
        label=label,
        before=before,
        after=after,
    )


def _blocks(bits: int, rows: int, columns: int) -> Case:
    """Return a product in blocks of 32 with random codes, scales and zero points."""
    count, block = -(-rows // 32), 32
    constants = {
        "q": RNG.integers(0, 256, (columns, count, block * bits // 8)).astype(np.uint8),
        "s": RNG.uniform(0.01, 0.02, columns * count).astype(np.float32),
        "z": RNG.integers(0, 256, columns * -(-count * bits // 8)).astype(np.uint8),
        "b": _floats(columns),
    }
    attributes = {
        "K": rows,
        "N": columns,
        "bits": bits,
        "block_size": block,
        "accuracy_level": 4,
        "domain": "com.microsoft",
    }
    inputs = ["x", "q", "s", "z", "", "b"]
    return Case(
        "MatMulNBits", inputs, {"x": (rows,)}, (columns,), attributes, constants, label=f"{bits} {rows} {columns}"
    )


_TRUTH = [helper.make_node("Cast", ["made"], ["y"], to=1)]

CASES = [
    *map(
        _unary, ("Abs", "Neg", "Sign", "Relu", "Exp", "Sigmoid", "Tanh", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh")
    ),
    *map(_unary, ("Erf", "Floor", "Ceil", "Round", "Softsign", "Softplus", "HardSwish", "Mish", "Identity", "Dropout")),
    *(_unary(name, 0.1, 4.0) for name in ("Sqrt", "Log", "Reciprocal")),
    *(_unary(name, -0.9, 0.9) for name in ("Asin", "Acos", "Atanh", "Tan")),
    _unary("Acosh", 1.1, 4.0),
    *map(_unary, ("LeakyRelu", "Elu", "Celu", "Selu", "ThresholdedRelu", "HardSigmoid", "Gelu")),
    _unary("Gelu", label="tanh", approximate="tanh"),
    _unary("LeakyRelu", label="steep", alpha=0.5),
    *map(_binary, ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu")),
    _binary("Pow", 0.1, 2.0),
    _binary("Mod", fmod=1),
    Case(
        "Div",
        ["sx", "sz"],
        {"x": (9,), "z": (9,)},
        (9,),
        low=-1.4,
        high=1.4,
        label="signs",
        before=[
            helper.make_node("Round", ["z"], ["rz"]),
            helper.make_node("Sign", ["x"], ["sx"]),
            helper.make_node("Sign", ["rz"], ["sz"]),
        ],
    ),
    _at_the_end("Add", 2**31 - 1, "int32", by=1),
    _at_the_end("Add", 2**63 - 1, "int64", by=1),
    _at_the_end("Sub", 2**63 - 1, "int64", by=-1),
    _at_the_end("Mul", 2**31 - 1, "int32", by=2),
    _at_the_end("Mod", 2**63 - 2, "int64", by=2**63 - 1),
    *(_at_the_end(name, -(2**63), "int64") for name in ("Neg", "Abs")),
    *map(_extreme, ("Max", "Min")),
    *(_narrow(name, "a") for name in ("Neg", "Abs")),
    *(_narrow(name, "a", "a") for name in ("Add", "Sub", "Mul")),
    *map(_remainder, (6, 7)),
    Case(
        "Mul",
        ["w", "three"],
        {"x": (9,)},
        (9,),
        constants={"zero": np.float32(0), "far": np.array(2_000_000_000), "near": np.array(7), "three": np.array(3)},
        dtype="int64",
        label="int64 constants",
        before=[
            helper.make_node("Less", ["x", "zero"], ["left"]),
            helper.make_node("Where", ["left", "far", "near"], ["w"]),
        ],
    ),
    *(_of_any(name, "of any") for name in ("Sign", "HardSigmoid", "Relu", "Sigmoid", "Tanh")),
    *(
        _of_any("IsInf", f"{negative} {positive}", _TRUTH, detect_negative=negative, detect_positive=positive)
        for negative, positive in ((1, 1), (0, 1), (1, 0))
    ),
    _of_any("IsNaN", "of any", _TRUTH),
    *map(_compared, ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *map(_logical, ("Not", "And", "Or", "Xor")),
    Case("Clip", ["x", "a", "b"], {"x": (7,)}, (7,), constants={"a": np.float32(-1), "b": np.float32(1.5)}),
    Case("Clip", ["x", "", "b"], {"x": (7,)}, (7,), constants={"b": np.float32(1.5)}, label="above"),
    Case("Reshape", ["x", "s"], {"x": (4, 6)}, (3, 8), constants={"s": _ints(-1, 3, 8)}),
    Case("Reshape", ["x", "s"], {"x": (4, 6)}, (24,), constants={"s": _ints(0, -1)}, label="guessed"),
    Case("Flatten", ["x"], {"x": (4, 6)}, (24,)),
    Case(
        "Flatten",
        ["x"],
        {"x": (3, 4)},
        (3, 4),
        {"axis": -1},
        {"one": _ints(1), "s": _ints(-1, 3, 4)},
        label="from behind",
        after=[
            helper.make_node("ReduceMax", ["made", "one"], ["largest"]),
            helper.make_node("Sub", ["made", "largest"], ["below"]),
            helper.make_node("Reshape", ["below", "s"], ["y"]),
        ],
    ),
    Case("Squeeze", ["x", "a"], {"x": (1, 6)}, (6,), constants={"a": _ints(1)}),
    Case("Unsqueeze", ["x", "a"], {"x": (6,)}, (6, 1), constants={"a": _ints(2)}),
    Case("Expand", ["x", "s"], {"x": (1, 6)}, (4, 6), constants={"s": _ints(1, 4, 1)}),
    Case("Transpose", ["x"], {"x": (2, 3, 4)}, (4, 2, 3), {"perm": [0, 3, 1, 2]}),
    Case("Slice", ["x", "a", "b", "c"], {"x": (9,)}, (4,), constants={"a": _ints(2), "b": _ints(6), "c": _ints(1)}),
    Case(
        "Slice",
        ["x", "a", "b", "c", "d"],
        {"x": (9,)},
        (5,),
        constants={"a": _ints(8), "b": _ints(-100), "c": _ints(1), "d": _ints(-2)},
        label="backwards",
    ),
    Case(
        "Split",
        ["x", "s"],
        {"x": (9,)},
        (9,),
        {"axis": 1},
        {"s": _ints(4, 5)},
        after=[helper.make_node("Concat", ["made2", "made"], ["y"], axis=1)],
    ),
    Case("Concat", ["x", "z", "x"], {"x": (3, 2), "z": (3, 4)}, (3, 8), {"axis": 2}),
    Case(
        "Concat",
        ["nothing", "nothing"],
        {"x": (3, 4)},
        (3, 4),
        {"axis": 1},
        {"s": _ints(3, 0)},
        label="nothing",
        before=[helper.make_node("Split", ["x", "s"], ["whole", "nothing"], axis=1)],
        after=[helper.make_node("Concat", ["whole", "made"], ["y"], axis=1)],
    ),
    Case("Pad", ["x", "p", "v"], {"x": (5,)}, (8,), constants={"p": _ints(0, 1, 0, 2), "v": np.float32(0.5)}),
    Case("Pad", ["x", "p"], {"x": (5,)}, (9,), {"mode": "reflect"}, {"p": _ints(0, 2, 0, 2)}, label="reflect"),
    Case("Pad", ["x", "p"], {"x": (5,)}, (8,), {"mode": "edge"}, {"p": _ints(0, 1, 0, 2)}, label="edge"),
    Case("Tile", ["x", "r"], {"x": (2, 3)}, (4, 9), constants={"r": _ints(1, 2, 3)}),
    Case("MatMul", ["x", "w"], {"x": (40,)}, (70,), constants={"w": _floats(40, 70)}),
    Case("MatMul", ["x", "w"], {"x": (3, 40)}, (3, 5), constants={"w": _floats(40, 5)}, label="rows"),
    Case("MatMul", ["x", "z"], {"x": (3, 4), "z": (4, 5)}, (3, 5), label="computed"),
    Case(
        "Gemm",
        ["x", "w", "b"],
        {"x": (8,)},
        (20,),
        {"transB": 1, "alpha": 0.5},
        {"w": _floats(20, 8), "b": _floats(20)},
    ),
    Case(
        "Gemm",
        ["x", "w", "b"],
        {"x": (8,)},
        (20,),
        {"beta": 0.0},
        {"w": _floats(8, 20), "b": np.full(20, np.inf, np.float32)},
        label="alone",
    ),
    *(_blocks(bits, *sizes) for bits in (4, 8) for sizes in ((64, 80), (90, 33), (32, 3))),
    Case("Gather", ["x", "i"], {"x": (5, 3)}, (2, 3), {"axis": 1}, {"i": _ints(3, -1)}),
    Case("Gather", ["x", "i"], {"x": (5, 3)}, (5,), {"axis": 2}, {"i": np.array(2)}, label="one"),
    Case(
        "GatherElements",
        ["x", "i"],
        {"x": (5, 3), "z": (4, 3)},
        (1, 3),
        {"axis": 1},
        before=[helper.make_node("ArgMax", ["z"], ["i"], axis=1)],
    ),
    *(_reduced(name) for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")),
    *(_reduced(name) for name in ("ReduceSumSquare", "ReduceL1", "ReduceL2")),
    _reduced("ReduceLogSum", low=0.1),
    *(
        Case(name, ["x"], {"x": (7,)}, (7,), {"noop_with_empty_axes": 1}, low=low, label="no axes")
        for name, low in (("ReduceL1", -3), ("ReduceL2", -3), ("ReduceSumSquare", -3), ("ReduceLogSum", 0.1))
    ),
    *map(_of_nothing, ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")),
    Case(
        "ReduceSum",
        ["m", "a"],
        {"x": (1, 9)},
        (20,),
        {"keepdims": 0},
        {"a": _ints(2), "w": _floats(20, 9)},
        label="of products",
        before=[helper.make_node("Mul", ["x", "w"], ["m"])],
    ),
    *map(_over_all, ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2")),
    Case("Softmax", ["x"], {"x": (4, 9)}, (4, 9), {"axis": -1}),
    Case("Softmax", ["x"], {"x": (4, 9)}, (4, 9), {"axis": 1}, label="first axis"),
    Case("LogSoftmax", ["x"], {"x": (9,)}, (9,)),
    Case("CumSum", ["x", "a"], {"x": (4, 9)}, (4, 9), constants={"a": np.array(1)}),
    Case("ArgMax", ["x"], {"x": (4, 9)}, (4,), {"axis": 2, "keepdims": 0}, dtype="int64"),
    Case("ArgMin", ["x"], {"x": (4, 9)}, (1, 9), {"axis": 1}, dtype="int64"),
    Case("LayerNormalization", ["x", "s", "b"], {"x": (4, 9)}, (4, 9), {}, {"s": _floats(9), "b": _floats(9)}),
    Case(
        "BatchNormalization",
        ["x", "s", "b", "m", "v"],
        {"x": (4, 9)},
        (4, 9),
        {},
        {"s": _floats(4), "b": _floats(4), "m": _floats(4), "v": RNG.uniform(0.5, 2, 4).astype(np.float32)},
    ),
    _convolution("plain", _floats(6, 4, 3), (6, 7)),
    _convolution("dilated", _floats(6, 4, 3), (6, 3), dilations=[2], strides=[2]),
    _convolution("narrow", _floats(3, 4, 1), (3, 9)),
    _convolution("padded", _floats(20, 4, 3), (20, 9), pads=[1, 1]),
    _convolution("by channel", _floats(8, 1, 3), (8, 7), group=4),
    _convolution("grouped", _floats(6, 2, 3), (6, 7), group=2),
    Case(
        "ConvTranspose",
        ["x", "w", "b"],
        {"x": (4, 5)},
        (6, 11),
        {"strides": [2], "group": 2},
        {"w": _floats(4, 3, 3), "b": _floats(6)},
    ),
    _pooled("MaxPool", (3, 4), kernel_shape=[2], strides=[2]),
    _pooled("AveragePool", (3, 6), kernel_shape=[3]),
    _pooled("GlobalMaxPool", (3, 1)),
    _pooled("GlobalAveragePool", (3, 1)),
    _recurrent("LSTM", 4),
    _recurrent("LSTM", 4, label="both ways", direction="bidirectional"),
    _recurrent("GRU", 3, linear_before_reset=1),
    _recurrent("GRU", 3, label="reset first"),
    _recurrent("GRU", 3, label="backwards", direction="reverse", linear_before_reset=1),
    _recurrent("RNN", 1),
    Case(
        "QuantizeLinear",
        ["x", "s", "p"],
        {"x": (3, 5)},
        (3, 5),
        constants={"s": np.float32(0.05), "p": np.uint8(100)},
        after=[helper.make_node("DequantizeLinear", ["made", "s", "p"], ["y"])],
        label="and back",
    ),
]


def case_model(case: Case, folder: Path) -> Path:
    """Write the step model of a case, and return its path."""
    made = ["y"] if not case.after else ["made", "made2"][: 2 if case.operator == "Split" else 1]
    attributes = dict(case.attributes)
    domain = attributes.pop("domain", "")
    node = helper.make_node(case.operator, case.inputs, made, case.operator, domain=domain, **attributes)
    return write_graph(
        folder / "model.onnx",
        [*case.before, node, *case.after],
        inputs=case.shapes,
        outputs={"y": (case.dtype, case.result)},
        constants=case.constants,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_computes_what_onnx_runtime_computes(case: Case, tmp_path: Path) -> None:
    reference, compiled = (model.executor() for model in engines(case_model(case, tmp_path)))
    for _ in range(STEPS):
        for name, shape in case.shapes.items():
            value = RNG.uniform(case.low, case.high, (1, *shape)).astype(np.float32)
            reference.inputs[name][...] = value
            compiled.inputs[name][...] = value
        reference.run()
        compiled.run()
        expected, actual = reference.outputs["y"], compiled.outputs["y"]
        size = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6 * size)


@pytest.mark.parametrize("axis", [0, 1, -2, -1])
def test_weights_on_a_grid_by_row_or_column_are_multiplied_as_what_they_stand_for(axis: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "s", "z"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weights"], axis=axis),
        helper.make_node("MatMul", ["rounded", "weights"], ["y"]),
    ]
    constants = {
        "s": np.float32(0.05),
        "z": np.uint8(128),
        "w": RNG.integers(-127, 128, (4, 6)).astype(np.int8),
        "ws": np.array([0.01, 0.1, 1, 10, 20, 30], np.float32)[: (4, 6)[axis]],
        "wz": np.zeros((4, 6)[axis], np.int8),
    }
    path = write_graph(
        tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (6,))}, constants=constants
    )
    x = _floats(1, 4)
    executor = engines(path)[1].executor()
    executor.inputs["x"][...] = x
    executor.run()

    (expected,) = ReferenceEvaluator(str(path)).run(["y"], {"x": x})
    np.testing.assert_allclose(executor.outputs["y"], expected, rtol=1e-4, atol=1e-4)
    integers = "product_rows_int8(" in compile_model(path, tmp_path, name="model").source.read_text()
    assert integers == (axis in (1, -1))


def test_nan_is_quantized_to_the_lowest_code(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "p"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "s", "p"], ["y"]),
    ]
    constants = {"s": np.float32(1), "p": np.int8(0)}
    path = write_graph(
        tmp_path / "m.onnx", nodes, inputs={"x": (4,)}, outputs={"y": ("float32", (4,))}, constants=constants
    )
    executor = engines(path)[1].executor()
    executor.inputs["x"][...] = [np.nan, np.inf, -np.inf, 2.5]
    executor.run()

    np.testing.assert_array_equal(executor.outputs["y"], [[-128, 127, -128, 2]])


def test_the_factor_of_what_gemm_adds_is_a_float(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], beta=0.3)
    constants = {"w": _floats(4, 3), "b": _floats(3)}
    path = write_graph(
        tmp_path / "m.onnx", [node], inputs={"x": (4,)}, outputs={"y": ("float32", (3,))}, constants=constants
    )
    assert " + 0.3f * " in compile_model(path, tmp_path, name="model").source.read_text()


TESTED_IN_MODELS = {"com.microsoft:GatherBlockQuantized", "DequantizeLinear", "Cast", "IsNaN", "IsInf", "Where"}
"""Operators that other tests of this folder compile."""


def test_every_operator_has_a_case() -> None:
    covered = {case.operator for case in CASES} | {"com.microsoft:MatMulNBits"} | TESTED_IN_MODELS

    assert set(OPERATORS) - covered == set()


def test_the_page_on_compiling_lists_every_operator() -> None:
    page = (Path(__file__).parents[3] / "docs" / "compile.md").read_text()
    listed = page.partition("<!-- operators -->")[2].partition("<!-- /operators -->")[0]

    assert {name.partition(":")[2] or name for name in OPERATORS} | {"Shape"} == set(re.findall(r"`(\w+)`", listed))
