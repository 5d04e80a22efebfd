"""Pooling over time, and windows cut out of it."""

from typing import Final, cast

import torch
from torch import fx

from edgernn_export.lifting.nodes import arguments, axis_of, integers, overload
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.rules.convolution import strided
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Known, Place
from edgernn_export.lifting.walk import Walk

_SPATIAL: Final = {
    aten.avg_pool1d.default: 1,
    aten.max_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
    aten.max_pool2d.default: 2,
}


def pooling(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of average or maximum pooling."""
    args = arguments(node)
    value = walk.stream(args["self"])
    spatial = _SPATIAL[overload(node)]
    if value is None or (at := value.where.axis - (value.sample.dim() - spatial)) < 0:
        return None
    if args["ceil_mode"]:
        raise refusal(node, "rounds its length up", "use ceil_mode=False")
    kernel = integers(args["kernel_size"], spatial)
    stride = integers(args["stride"], spatial) if args["stride"] else list(kernel)
    padding = integers(args["padding"], spatial)
    dilation = integers(args.get("dilation", [1]), spatial)
    average = node.target in (aten.avg_pool1d.default, aten.avg_pool2d.default)
    if average and padding[at] and not args["count_include_pad"]:
        raise refusal(node, "counts fewer elements at the edges", "use count_include_pad=True")
    fill = 0.0 if average else float(torch.finfo(value.sample.dtype).min)
    value = walk.padded(value, padding[at], padding[at], fill, node)
    reach = (kernel[at] - 1) * dilation[at]
    window, count, shift = strided(walk, node, value, reach=reach, stride=stride[at])
    padding[at] = 0
    rest = [] if average else [dilation]
    made = walk.step.call(overload(node), window, kernel, stride, padding, *rest)
    return walk.derived(node, made, value.where, count, shift)


def unfold(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of windows along time, `Tensor.unfold`."""
    args = arguments(node)
    value = walk.stream(args["self"])
    if value is None or axis_of(args["dimension"], value.sample.dim()) != value.where.axis:
        return None
    size, stride = cast("int", args["size"]), cast("int", args["step"])
    window, count, shift = strided(walk, node, value, reach=size - 1, stride=stride)
    made = walk.step.call(aten.unfold.default, window, value.where.axis, size, stride)
    return walk.derived(node, made, Place(value.where.axis), count, shift)


RULES: Final = {**dict.fromkeys(_SPATIAL, pooling), aten.unfold.default: unfold}
