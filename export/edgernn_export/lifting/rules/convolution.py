"""Convolutions over time, plain and transposed: the past they reach becomes a state."""

from typing import Final, cast

from torch import fx

from edgernn_export.lifting.nodes import arguments, integers, overload
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Known, Place, Value
from edgernn_export.lifting.walk import Walk


def convolution(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a convolution."""
    args = arguments(node)
    value = walk.stream(args["input"])
    weight = walk.value(cast("fx.Node", args["weight"]))
    spatial = weight.sample.dim() - 2
    if value is None or (at := _spatial_axis(value, spatial)) is None:
        return None
    stride, dilation = integers(args["stride"], spatial), integers(args["dilation"], spatial)
    kernel = list(weight.sample.shape[2:])
    reach = (kernel[at] - 1) * dilation[at]
    sides = _padding(args["padding"], kernel, dilation)
    left, right = sides[at]
    value = walk.padded(value, left, right, 0.0, node)
    window, count, shift = strided(walk, node, value, reach=reach, stride=stride[at])
    others = [(0, 0) if i == at else side for i, side in enumerate(sides)]
    if any(before != after for before, after in others):
        flat = [size for side in reversed(others) for size in side]
        window, others = walk.step.call(aten.constant_pad_nd.default, window, flat), [(0, 0)] * spatial
    target = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[spatial]
    bias = args["bias"]
    made = walk.step.call(
        target,
        window,
        weight.node,
        walk.value(bias).node if isinstance(bias, fx.Node) else None,
        stride,
        [before for before, _ in others],
        dilation,
        cast("int", args["groups"]),
    )
    return walk.derived(node, made, value.where, count, shift)


def strided(walk: Walk, node: fx.Node, value: Value, *, reach: int, stride: int) -> tuple[fx.Node, int, int]:
    """Return what a filter of `reach` elements back needs in one step, and the count and shift of its results."""
    if value.count % stride:
        raise refusal(
            node,
            f"moves {stride} elements at a time, but a step has {value.count}",
            f"use --frames-per-step {stride * walk.sizes.frames // value.count or stride} or a multiple of it",
        )
    count = value.count // stride
    shift = (value.shift + value.count - 1 - reach) // stride - count + 1
    return walk.window(value, value.shift - shift * stride, node), count, shift


def transposed(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a transposed convolution."""
    args = arguments(node)
    value = walk.stream(args["input"])
    weight = walk.value(cast("fx.Node", args["weight"]))
    spatial = weight.sample.dim() - 2
    if value is None or (at := _spatial_axis(value, spatial)) is None:
        return None
    stride, dilation = integers(args["stride"], spatial), integers(args["dilation"], spatial)
    padding, extra = integers(args["padding"], spatial), integers(args["output_padding"], spatial)
    past = (weight.sample.shape[2 + at] - 1) * dilation[at] // stride[at]
    window = walk.window(value, past, node)
    left = padding[at]
    padding[at] = extra[at] = 0
    bias = args["bias"]
    made = walk.step.call(
        overload(node),
        window,
        weight.node,
        walk.value(bias).node if isinstance(bias, fx.Node) else None,
        stride,
        padding,
        extra,
        cast("int", args["groups"]),
        dilation,
    )
    axis, count = value.where.axis, value.count * stride[at]
    made = walk.step.call(aten.slice.Tensor, made, axis, past * stride[at], past * stride[at] + count)
    return walk.derived(node, made, Place(axis), count, value.shift * stride[at] - left)


def _spatial_axis(value: Value, spatial: int) -> int | None:
    """Return which of a convolution's spatial axes is time; None if none is."""
    at = value.where.axis - (value.sample.dim() - spatial)
    return at if at >= 0 else None


def _padding(padding: object, kernel: list[int], dilation: list[int]) -> list[tuple[int, int]]:
    """Return the padding before and behind each spatial axis."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        reaches = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
        return [(reach // 2, reach - reach // 2) for reach in reaches]
    return [(size, size) for size in integers(padding, len(kernel))]


RULES: Final = {
    **dict.fromkeys(
        (
            aten.conv1d.default,
            aten.conv1d.padding,
            aten.conv2d.default,
            aten.conv2d.padding,
            aten.conv3d.default,
            aten.conv3d.padding,
        ),
        convolution,
    ),
    aten.conv_transpose1d.default: transposed,
    aten.conv_transpose2d.input: transposed,
}
