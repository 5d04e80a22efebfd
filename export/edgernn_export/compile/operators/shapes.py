"""Operators that only say where elements lie: nothing is computed."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Final

import numpy as np

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.program import Shape, Tensor
from edgernn_export.compile.views import expanded, sliced, transposed


def _identity(builder: Builder, node: Node) -> None:
    builder.bind(node.outputs[0], builder.tensor(node.inputs[0]))


def _dropout(builder: Builder, node: Node) -> None:
    if len(node.inputs) > 2 and node.inputs[2]:
        training = builder.constant(node.inputs[2])
        if training is None or training.any():
            node.refuse("must be exported in evaluation mode")
    _identity(builder, node)


def _reshape(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    wanted = _constant(builder, node, 1, "shape")
    if not node.integer("allowzero", 0):
        wanted = [value.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    known = prod(size for size in wanted if size != -1)
    _bind(builder, node, value, tuple(value.size // known if size == -1 else size for size in wanted))


def _flatten(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    axis = node.integer("axis", 1)
    axis = axis + len(value.shape) if axis < 0 else axis
    _bind(builder, node, value, (prod(value.shape[:axis]), prod(value.shape[axis:])))


def _squeeze(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    if len(node.inputs) > 1 and node.inputs[1]:
        axes = {axis % len(value.shape) for axis in _constant(builder, node, 1, "axes")}
    else:
        axes = {axis for axis, size in enumerate(value.shape) if size == 1}
    _bind(builder, node, value, tuple(size for axis, size in enumerate(value.shape) if axis not in axes))


def _unsqueeze(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    axes = _constant(builder, node, 1, "axes")
    rank = len(value.shape) + len(axes)
    places = {axis % rank for axis in axes}
    sizes = iter(value.shape)
    _bind(builder, node, value, tuple(1 if axis in places else next(sizes) for axis in range(rank)))


def _expand(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    shape = np.broadcast_shapes(value.shape, tuple(_constant(builder, node, 1, "shape")))
    builder.bind(node.outputs[0], expanded(value, shape))


def _transpose(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    axes = node.integers("perm", range(len(value.shape))[::-1])
    builder.bind(node.outputs[0], transposed(value, axes))


def _slice(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    starts, ends = _constant(builder, node, 1, "starts"), _constant(builder, node, 2, "ends")
    axes = _constant(builder, node, 3, "axes", range(len(starts)))
    steps = _constant(builder, node, 4, "steps", [1] * len(starts))
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        start, end, step = slice(*bounds).indices(value.shape[axis])
        value = sliced(value, axis % len(value.shape), start, max(0, len(range(start, end, step))), step=step)
    if not value.size:
        node.refuse("makes an array without elements")
    builder.bind(node.outputs[0], value)


def _split(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    axis = node.integer("axis", 0) % len(value.shape)
    size, count = value.shape[axis], len(node.outputs)
    sizes = _constant(builder, node, 1, "split", [-(-size // count)] * count)
    sizes[-1] = size - sum(sizes[:-1])
    if sizes[-1] < 0:
        node.refuse(f"cannot split {size} elements into {count} parts of {sizes[0]}")
    for name, start, part in zip(node.outputs, [0, *accumulate(sizes)], sizes, strict=False):
        if name:
            builder.bind(name, sliced(value, axis, start, part))


def _concat(builder: Builder, node: Node) -> None:
    given = [builder.tensor(name) for name in node.inputs]
    parts = [part for part in given if part.size] or given
    axis = node.integer("axis") % len(parts[0].shape)
    total = sum(part.shape[axis] for part in parts)
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    joined = builder.scratch(shape, parts[0].dtype, "joined")
    start = 0
    for part in parts:
        builder.store(part, sliced(joined, axis, start, part.shape[axis]))
        start += part.shape[axis]
    builder.bind(node.outputs[0], joined)


def _pad(builder: Builder, node: Node) -> None:
    """Put a constant around an array, or what it has at its edges."""
    value = builder.tensor(node.inputs[0])
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        node.refuse(f"fills with {mode}; constant, reflect and edge are what compiled models have")
    rank = len(value.shape)
    axes = [axis % rank for axis in _constant(builder, node, 3, "axes", range(rank))]
    amounts = _constant(builder, node, 1, "pads")
    shape, place = list(value.shape), [0] * rank
    for axis, before, after in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        if min(before, after) < 0:
            node.refuse("must add elements, and takes some away")
        shape[axis] += before + after
        place[axis] = before
    padded = builder.scratch(tuple(shape), value.dtype, "padded")
    if mode != "constant":
        for axis, before in enumerate(place):
            after = shape[axis] - value.shape[axis] - before
            value = _mirrored(builder, value, axis, (before, after), mode)
        builder.bind(node.outputs[0], value)
        return
    filling = builder.tensor(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    zero = builder.fixed(np.zeros(1, value.dtype), "zero") if filling is None else filling
    builder.store(expanded(builder.reshaped(zero, ()), tuple(shape)), padded)
    inside = padded
    for axis, start in enumerate(place):
        inside = sliced(inside, axis, start, value.shape[axis])
    builder.store(value, inside)
    builder.bind(node.outputs[0], padded)


def _mirrored(builder: Builder, value: Tensor, axis: int, amounts: tuple[int, int], mode: str) -> Tensor:
    """Return a tensor with what lies at both edges along an axis around it."""
    if not any(amounts):
        return value
    (before, after), size = amounts, value.shape[axis]
    shape = (*value.shape[:axis], before + size + after, *value.shape[axis + 1 :])
    result = builder.scratch(shape, value.dtype, "padded")
    builder.store(value, sliced(result, axis, before, size))
    step = -1 if mode == "reflect" else 0
    edges = ((0, before, before if step else 0), (before + size, after, size - 2 if step else size - 1))
    for start, count, source in edges:
        builder.store(sliced(value, axis, source, count, step=step), sliced(result, axis, start, count))
    return result


def _tile(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    counts = _constant(builder, node, 1, "repeats")
    apart = tuple(each for size in value.shape for each in (1, size))
    repeated = tuple(each for size, count in zip(value.shape, counts, strict=True) for each in (count, size))
    shape = tuple(size * count for size, count in zip(value.shape, counts, strict=True))
    _bind(builder, node, expanded(builder.reshaped(value, apart), repeated), shape)


def _bind(builder: Builder, node: Node, value: Tensor, shape: Shape) -> None:
    builder.bind(node.outputs[0], builder.reshaped(value, shape))


def _constant(builder: Builder, node: Node, index: int, what: str, default: Sequence[int] | None = None) -> list[int]:
    """Return a list of integers among the inputs that the graph must fix."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    if not name and default is not None:
        return list(default)
    array = builder.constant(name)
    if array is None:
        node.refuse(f"has {what} that depend on what the step computes; shapes must be fixed")
    return [int(each) for each in np.atleast_1d(array)]


OPERATORS: Final[Mapping[str, Operator]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "Tile": _tile,
}
