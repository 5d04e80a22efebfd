"""Reductions: sums, products and extremes over axes, and what is made of them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.operators.products import product
from edgernn_export.compile.program import Affine, Pointwise, Tensor, of_expression
from edgernn_export.compile.views import expanded, transposed

_OF_NOTHING: Final = {"reduce_sum": 0, "reduce_product": 1, "reduce_max": -np.inf, "reduce_min": np.inf}
"""What a kernel would give for no elements."""

_Step = Callable[[Builder, Tensor, int], Tensor]
"""Changes a tensor before or after its sum; the integer is how many elements were summed."""


def reduced(builder: Builder, kernel: str, value: Tensor, axes: Sequence[int]) -> Tensor:
    """Return a reduction of float32 over axes, which stay with size one.

    Args:
        builder: The program.
        kernel: `reduce_sum`, `reduce_max`, `reduce_min` or `reduce_product`.
        value: The tensor.
        axes: The axes, from 0 on.
    """
    multiplied = _product(builder, value, axes) if kernel == "reduce_sum" else None
    if multiplied is not None:
        return multiplied
    kept = [axis for axis in range(len(value.shape)) if axis not in axes]
    rows, size = prod(value.shape[axis] for axis in kept), prod(value.shape[axis] for axis in axes)
    shape = tuple(1 if axis in axes else length for axis, length in enumerate(value.shape))
    if not size:
        return expanded(builder.fixed(np.full(1, _OF_NOTHING[kernel], np.float32), "empty"), shape)
    source = builder.stored(transposed(value, [*kept, *sorted(axes)]))
    result = builder.scratch(shape, "float32", kernel.removeprefix("reduce_"))
    builder.call(f"{kernel}({{x}}, {{y}}, {rows}, {size});", {"x": source, "y": result}, writes=["y"], kernels=[kernel])
    return result


def _product(builder: Builder, value: Tensor, axes: Sequence[int]) -> Tensor | None:
    """Return a sum of products with a constant matrix as one product with it; None if the sum is no such.

    The matrix has a row for each sum, and all of them have the other factor in common.
    """
    expression, shape = value.source, value.shape
    large = [axis for axis, size in enumerate(shape) if size > 1]
    if not isinstance(expression, Pointwise) or expression.template != "{0} * {1}" or expression.shape != shape:
        return None
    if len(large) != 2 or large[1] not in axes or large[0] in axes or value.places != of_expression(expression).places:
        return None
    row, column = large
    for weights, other in (expression.operands, expression.operands[::-1]):
        matrix = weights.constant
        if matrix is None or matrix.dtype != np.float32 or any(place.steps[row] for place in other.places):
            continue
        places = tuple(Affine(place.offset, (place.steps[column],)) for place in other.places)
        factor = Tensor(other.source, (shape[column],), places)
        result = product(builder, factor, np.ascontiguousarray(matrix.reshape(shape[row], shape[column]).T), None)
        return builder.reshaped(result, tuple(1 if axis in axes else size for axis, size in enumerate(shape)))
    return None


def _reduction(kernel: str, before: _Step | None = None, after: _Step | None = None) -> Operator:
    """Return the operator that reduces with a kernel, between two expressions."""

    def operator(builder: Builder, node: Node) -> None:
        value = builder.tensor(node.inputs[0])
        axes = _axes(builder, node, len(value.shape))
        if value.dtype != "float32":
            node.refuse(f"takes float32, got {value.dtype}; export the model with float32 there")
        count = prod(value.shape[axis] for axis in axes)
        value = value if before is None else before(builder, value, count)
        result = reduced(builder, kernel, value, axes) if axes else value
        result = result if after is None else after(builder, result, count)
        if not node.integer("keepdims", 1):
            shape = tuple(size for axis, size in enumerate(result.shape) if axis not in axes)
            result = builder.reshaped(result, shape)
        builder.bind(node.outputs[0], result)

    return operator


def _axes(builder: Builder, node: Node, rank: int) -> list[int]:
    """Return the axes to reduce, an input or an attribute; all if there are none, or none if the node says so."""
    found: Sequence[int] | None = None
    if len(node.inputs) > 1 and node.inputs[1]:
        constant = builder.constant(node.inputs[1])
        if constant is None:
            node.refuse("has axes that depend on what the step computes; axes must be fixed")
        found = [int(axis) for axis in constant.reshape(-1)]
    elif "axes" in node.attributes:
        found = node.integers("axes", ())
    if not found:
        return [] if node.integer("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in found)


def _each(template: str, name: str) -> _Step:
    """Return the change of every element by an expression."""
    return lambda builder, value, _: builder.pointwise(template, value, dtype="float32", name=name)


def _divided(builder: Builder, value: Tensor, count: int) -> Tensor:
    return builder.pointwise(f"{{0}} / {count}.0f", value, dtype="float32", name="mean")


def softmax(builder: Builder, value: Tensor, axis: int, *, logarithm: bool = False) -> Tensor:
    """Return the softmax of float32 along an axis, or its logarithm."""
    last = [other for other in range(len(value.shape)) if other != axis]
    source = builder.stored(transposed(value, [*last, axis]))
    result = builder.scratch(source.shape, "float32", "softmax")
    kernel = "log_softmax" if logarithm else "softmax"
    builder.call(
        f"{kernel}({{x}}, {{y}}, {source.size // source.shape[-1]}, {source.shape[-1]});",
        {"x": source, "y": result},
        writes=["y"],
        kernels=[kernel],
    )
    back = [*range(axis), len(value.shape) - 1, *range(axis, len(value.shape) - 1)]
    return transposed(result, back)


def _softmax(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    axis = node.integer("axis", -1) % len(value.shape)
    logarithm = node.operator == "LogSoftmax"
    builder.bind(node.outputs[0], softmax(builder, value, axis, logarithm=logarithm))


def _cumulative(builder: Builder, node: Node) -> None:
    """Sum up along an axis."""
    value, axis = builder.tensor(node.inputs[0]), builder.constant(node.inputs[1])
    if axis is None or node.integer("reverse", 0) or node.integer("exclusive", 0):
        node.refuse("must sum along a fixed axis, forwards, each element included")
    along = int(axis.reshape(())) % len(value.shape)
    if value.dtype != "float32":
        node.refuse(f"takes float32, got {value.dtype}")
    last = [other for other in range(len(value.shape)) if other != along]
    source = builder.stored(transposed(value, [*last, along]))
    result = builder.scratch(source.shape, "float32", "cumulative")
    builder.call(
        f"cumulative_sum({{x}}, {{y}}, {source.size // source.shape[-1]}, {source.shape[-1]});",
        {"x": source, "y": result},
        writes=["y"],
        kernels=["cumulative_sum"],
    )
    back = [*range(along), len(value.shape) - 1, *range(along, len(value.shape) - 1)]
    builder.bind(node.outputs[0], transposed(result, back))


def _place_of_extreme(builder: Builder, node: Node) -> None:
    """Find the index of the largest or smallest element along an axis, the first one of equals."""
    value = builder.tensor(node.inputs[0])
    axis = node.integer("axis", 0) % len(value.shape)
    if node.integer("select_last_index", 0) or value.dtype != "float32":
        node.refuse("must find the first index in float32")
    if node.operator == "ArgMin":
        value = builder.pointwise("-{0}", value, dtype="float32", name="negative")
    last = [other for other in range(len(value.shape)) if other != axis]
    source = builder.stored(transposed(value, [*last, axis]))
    shape = tuple(1 if other == axis else size for other, size in enumerate(value.shape))
    result = builder.scratch(shape, "int64", "index")
    builder.call(
        f"index_of_largest({{x}}, {{y}}, {source.size // source.shape[-1]}, {source.shape[-1]});",
        {"x": source, "y": result},
        writes=["y"],
        kernels=["index_of_largest"],
        dtypes={"y": "int64"},
    )
    if not node.integer("keepdims", 1):
        result = builder.reshaped(result, (*shape[:axis], *shape[axis + 1 :]))
    builder.bind(node.outputs[0], result)


def _layer_normalization(builder: Builder, node: Node) -> None:
    """Subtract the mean and divide by the deviation over the last axes, then scale and shift."""
    value, scale = builder.tensor(node.inputs[0]), builder.tensor(node.inputs[1], "scale")
    rank = len(value.shape)
    axes = range(node.integer("axis", -1) % rank, rank)
    normal = _normalized(builder, value, axes, node.number("epsilon", 1e-5))
    result = builder.pointwise("{0} * {1}", normal, scale, dtype="float32", name="scaled")
    if len(node.inputs) > 2 and node.inputs[2]:
        shift = builder.tensor(node.inputs[2], "shift")
        result = builder.pointwise("{0} + {1}", result, shift, dtype="float32", name="shifted")
    if any(node.outputs[1:]):
        node.refuse("must give its result alone, not mean and deviation")
    builder.bind(node.outputs[0], result)


def _batch_normalization(builder: Builder, node: Node) -> None:
    """Scale and shift by channel, with the statistics of the training."""
    value = builder.tensor(node.inputs[0])
    if node.integer("training_mode", 0):
        node.refuse("must be exported in evaluation mode")
    shape = (1, -1, *[1] * (len(value.shape) - 2))
    names = ("scale", "shift", "mean", "variance")
    parts = [builder.tensor(name, what) for name, what in zip(node.inputs[1:], names, strict=True)]
    sized = [builder.reshaped(part, tuple(part.size if size == -1 else size for size in shape)) for part in parts]
    epsilon = f"{node.number('epsilon', 1e-5):.9e}f"
    template = f"({{0}} - {{3}}) / sqrtf({{4}} + {epsilon}) * {{1}} + {{2}}"
    builder.bind(node.outputs[0], builder.pointwise(template, value, *sized, dtype="float32", name="normal"))


def _normalized(builder: Builder, value: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    value = builder.stored(value)
    mean = _divided(builder, reduced(builder, "reduce_sum", value, axes), prod(value.shape[axis] for axis in axes))
    centred = builder.stored(builder.pointwise("{0} - {1}", value, mean, dtype="float32", name="centred"))
    squares = builder.pointwise("{0} * {0}", centred, dtype="float32", name="square")
    root = _root(builder, reduced(builder, "reduce_sum", squares, axes), value, axes, epsilon)
    return builder.pointwise("{0} / {1}", centred, root, dtype="float32", name="normal")


def _root(builder: Builder, total: Tensor, value: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    count = prod(value.shape[axis] for axis in axes)
    return builder.pointwise(f"sqrtf({{0}} / {count}.0f + {epsilon:.9e}f)", total, dtype="float32", name="deviation")


_SQUARE: Final = _each("{0} * {0}", "square")
_SIZE: Final = _each("fabsf({0})", "size")
_LOG: Final = _each("logf({0})", "logarithm")

OPERATORS: Final[Mapping[str, Operator]] = {
    "ReduceSum": _reduction("reduce_sum"),
    "ReduceMean": _reduction("reduce_sum", after=_divided),
    "ReduceMax": _reduction("reduce_max"),
    "ReduceMin": _reduction("reduce_min"),
    "ReduceProd": _reduction("reduce_product"),
    "ReduceSumSquare": _reduction("reduce_sum", before=_SQUARE),
    "ReduceL1": _reduction("reduce_sum", before=_SIZE),
    "ReduceL2": _reduction("reduce_sum", before=_SQUARE, after=_each("sqrtf({0})", "norm")),
    "ReduceLogSum": _reduction("reduce_sum", after=_LOG),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "CumSum": _cumulative,
    "ArgMax": _place_of_extreme,
    "ArgMin": _place_of_extreme,
    "LayerNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
}
