"""Slices along time, and single frames taken out of it."""

from typing import Final, cast

import torch
from torch import fx

from edgernn_export.lifting.nodes import arguments, axis_of
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.rules.convolution import strided
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Known, Value
from edgernn_export.lifting.walk import Walk


def part(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a slice: a crop, every n-th element, or a single frame."""
    args = arguments(node)
    value = _along(walk, args)
    if value is None:
        return None
    axis, length = value.where.axis, value.length
    step = cast("int", args["step"])
    start, stop, _ = slice(args["start"], args["end"]).indices(length)
    if value.where.folded:
        raise refusal(node, "slices an axis that holds more than time", "unfold it before")
    if stop - start == 1 and step == 1:
        return walk.loops.frame(node, value, start, kept=True)
    if (stop - start) * 2 < length:
        raise refusal(node, f"takes elements {start} to {stop - 1} of the sequence alone", "take all of them")
    cropped = walk.padded(value, -start, stop - length, 0.0, node)
    if step == 1:
        return walk.derived(node, cropped.node, value.where, value.count, cropped.shift)
    window, count, shift = strided(walk, node, cropped, reach=0, stride=step)
    made = walk.step.call(aten.slice.Tensor, window, axis, 0, None, step)
    return walk.derived(node, made, value.where, count, shift)


def select(walk: Walk, node: fx.Node) -> Known | None:
    """Take one frame out of time."""
    args = arguments(node)
    value = _along(walk, args)
    if value is None:
        return None
    return walk.loops.frame(node, value, cast("int", args["index"]) % value.length, kept=False)


def unbind(walk: Walk, node: fx.Node) -> Known | None:
    """Take all frames out of time, one by one."""
    value = _along(walk, arguments(node))
    if value is None:
        return None
    for user in node.users:
        walk.loops.frame(user, value, cast("int", user.args[1]), kept=False)
    return tuple(walk.loops.taken(value, node, i, kept=False) for i in range(value.length))


def split(walk: Walk, node: fx.Node) -> Known | None:
    """Split time into single frames."""
    args = arguments(node)
    value = _along(walk, args)
    if value is None:
        return None
    samples = cast("tuple[torch.Tensor, ...]", walk.samples[node])
    if len(samples) != value.length:
        raise refusal(node, "splits the sequence into pieces", "use views instead, and a step for each piece")
    for user in node.users:
        walk.loops.frame(user, value, cast("int", user.args[1]), kept=True)
    return tuple(walk.loops.taken(value, node, i, kept=True) for i in range(value.length))


def _along(walk: Walk, args: "object") -> Value | None:
    """Return the stream that an operator works on, if its axis is time."""
    named = cast("dict[str, object]", args)
    value = walk.stream(named["self"])
    if value is None or axis_of(named["dim"], value.sample.dim()) != value.where.axis:
        return None
    return value


RULES: Final = {
    aten.slice.Tensor: part,
    aten.select.int: select,
    aten.unbind.int: unbind,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split,
    aten.chunk.default: split,
}
