"""Convolutions and pooling over the window that a step sees."""

from collections.abc import Mapping
from math import prod
from typing import Final

import numpy as np

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.operators.products import product
from edgernn_export.compile.operators.reductions import reduced
from edgernn_export.compile.program import Array, Tensor
from edgernn_export.compile.views import expanded, sliced

_OFTEN: Final = 8
"""Places of a window from which on weights are laid out for speed."""


def _convolution(builder: Builder, node: Node) -> None:
    """Multiply every window with the weights: a product for each place, or by channel a sum of products."""
    weights = builder.constant(node.inputs[1])
    x = builder.tensor(node.inputs[0])
    if weights is None or x.shape[0] != 1:
        node.refuse("must have constant weights and one row")
    places = _padded(builder, node, x, weights.shape[2:])
    window, steps, dilations = weights.shape[2:], *_grid(node, weights.ndim - 2)
    sizes = [
        (size - dilation * (width - 1) - 1) // step + 1
        for size, width, step, dilation in zip(places.shape[2:], window, steps, dilations, strict=True)
    ]
    if min(sizes) < 1:
        node.refuse(f"has windows of {list(window)} on {list(places.shape[2:])} frames")
    groups = node.integer("group", 1)
    result = builder.scratch((1, weights.shape[0], *sizes), "float32", "filtered")
    bias = builder.tensor(node.inputs[2], "bias") if len(node.inputs) > 2 and node.inputs[2] else None
    for at in np.ndindex(*sizes):
        here = places
        for axis, (index, width, step, dilation) in enumerate(zip(at, window, steps, dilations, strict=True)):
            here = sliced(here, axis + 2, index * step, width, step=dilation)
        value = _by_group(builder, here, weights, groups, often=prod(sizes) >= _OFTEN)
        if bias is not None:
            value = builder.pointwise("{0} + {1}", value, bias, dtype="float32", name="filtered")
        target = result
        for axis, index in enumerate(at):
            target = sliced(target, axis + 2, index, 1)
        builder.store(builder.reshaped(value, target.shape), target)
    builder.bind(node.outputs[0], result)


def _by_group(builder: Builder, window: Tensor, weights: Array, groups: int, *, often: bool) -> Tensor:
    """Return one place of a convolution, float32 `[outputs]`, from its window `[1, inputs, ...]`."""
    outputs, inputs = weights.shape[0], weights.shape[1]
    matrix = weights.reshape(outputs, -1)
    if groups == 1:
        flat = builder.reshaped(window, (matrix.shape[1],))
        return product(builder, flat, np.ascontiguousarray(matrix.T), None, often=often)
    if inputs == 1 and groups == window.shape[1] and outputs % groups == 0:
        terms = builder.reshaped(window, (groups, 1, matrix.shape[1]))
        each = outputs // groups
        factors = builder.fixed(matrix.reshape(groups, each, -1), "weights")
        products = builder.pointwise("{0} * {1}", terms, factors, dtype="float32", name="term")
        return builder.reshaped(reduced(builder, "reduce_sum", products, [2]), (outputs,))
    joined = builder.scratch((outputs,), "float32", "filtered")
    size = outputs // groups
    for group in range(groups):
        part = sliced(window, 1, group * inputs, inputs)
        flat = builder.reshaped(part, (matrix.shape[1],))
        chosen = np.ascontiguousarray(matrix[group * size : (group + 1) * size].T)
        builder.store(product(builder, flat, chosen, None, often=often), sliced(joined, 0, group * size, size))
    return joined


def _transposed(builder: Builder, node: Node) -> None:
    """Add up the windows that each frame spreads to; over one axis."""
    weights = builder.constant(node.inputs[1])
    x = builder.tensor(node.inputs[0])
    fixed = node.text("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in node.attributes
    if weights is None or weights.ndim != 3 or x.shape[0] != 1 or not fixed:
        node.refuse("must have constant weights, one row and one axis, and say its padding in numbers")
    groups, (inputs, outputs, width), frames = node.integer("group", 1), weights.shape, x.shape[2]
    (stride,), (dilation,) = _grid(node, 1)
    before, after = node.integers("pads", [0, 0])
    positions = (frames - 1) * stride + (width - 1) * dilation + 1 - before - after
    positions += node.integers("output_padding", [0])[0]
    y = builder.scratch((1, groups * outputs, positions), "float32", "filtered")
    operands = {"x": builder.stored(x), "w": builder.fixed(weights, "weights"), "y": y}
    bias = "NULL"
    if len(node.inputs) > 2 and node.inputs[2]:
        bias, operands["b"] = "{b}", builder.tensor(node.inputs[2], "bias")
    sizes = f"{groups}, {inputs // groups}, {outputs}, {frames}, {positions}, {width}, {stride}, {dilation}, {before}"
    builder.call(
        f"convolution_transpose({{x}}, {{w}}, {bias}, {{y}}, {sizes});",
        operands,
        writes=["y"],
        kernels=["convolution_transpose"],
    )
    builder.bind(node.outputs[0], y)


def _pool(builder: Builder, node: Node) -> None:
    """Take the largest element or the mean of every window."""
    x = builder.tensor(node.inputs[0])
    window = tuple(node.integers("kernel_shape", ()))
    if node.integer("ceil_mode", 0) or any(node.integers("pads", ())) or node.text("auto_pad", "NOTSET") != "NOTSET":
        node.refuse("must have windows that lie inside what a step sees")
    steps, dilations = _grid(node, len(window))
    sizes = [
        (size - dilation * (width - 1) - 1) // step + 1
        for size, width, step, dilation in zip(x.shape[2:], window, steps, dilations, strict=True)
    ]
    result = builder.scratch((*x.shape[:2], *sizes), "float32", "pooled")
    axes = range(2, 2 + len(window))
    for at in np.ndindex(*sizes):
        here, target = x, result
        for axis, (index, width, step, dilation) in enumerate(zip(at, window, steps, dilations, strict=True)):
            here = sliced(here, axis + 2, index * step, width, step=dilation)
            target = sliced(target, axis + 2, index, 1)
        builder.store(_pooled(builder, node, here, list(axes)), target)
    builder.bind(node.outputs[0], result)


def _pooled(builder: Builder, node: Node, window: Tensor, axes: list[int]) -> Tensor:
    if node.operator.endswith("MaxPool"):
        return reduced(builder, "reduce_max", window, axes)
    total = reduced(builder, "reduce_sum", window, axes)
    count = prod(window.shape[axis] for axis in axes)
    return builder.pointwise(f"{{0}} / {count}.0f", total, dtype="float32", name="mean")


def _pool_all(builder: Builder, node: Node) -> None:
    """Take the largest element or the mean of every channel."""
    x = builder.tensor(node.inputs[0])
    builder.bind(node.outputs[0], _pooled(builder, node, x, list(range(2, len(x.shape)))))


def _padded(builder: Builder, node: Node, x: Tensor, window: tuple[int, ...]) -> Tensor:
    """Return the input with the zeros around it that a convolution asks for."""
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        node.refuse("must say its padding in numbers")
    amounts = node.integers("pads", [0] * 2 * len(window))
    if not any(amounts):
        return x
    before, after = amounts[: len(window)], amounts[len(window) :]
    sizes = [size + first + last for size, first, last in zip(x.shape[2:], before, after, strict=True)]
    whole = builder.scratch((*x.shape[:2], *sizes), "float32", "padded")
    zero = builder.fixed(np.zeros(1, np.float32), "zero")
    builder.store(expanded(builder.reshaped(zero, ()), whole.shape), whole)
    inside = whole
    for axis, first in enumerate(before):
        inside = sliced(inside, axis + 2, first, x.shape[axis + 2])
    builder.store(x, inside)
    return whole


def _grid(node: Node, rank: int) -> tuple[list[int], list[int]]:
    """Return the strides and the dilations of windows."""
    return node.integers("strides", [1] * rank), node.integers("dilations", [1] * rank)


OPERATORS: Final[Mapping[str, Operator]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalMaxPool": _pool_all,
    "GlobalAveragePool": _pool_all,
}
