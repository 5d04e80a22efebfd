"""Padding and concatenation along time, and stacks of single frames."""

from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import fx

from edgernn_export.lifting.nodes import arguments, axis_of
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Kind, Known, Moment, Value
from edgernn_export.lifting.walk import Walk


def pad(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of padding."""
    args = arguments(node)
    value = walk.stream(args["self"])
    if value is None:
        return None
    flat = list(cast("list[int]", args["pad"]))
    at = 2 * (value.sample.dim() - 1 - value.where.axis)
    left, right = flat[at : at + 2] if at < len(flat) else (0, 0)
    if not left and not right:
        return None
    if args.get("mode", "constant") != "constant":
        raise refusal(node, f"pads time in mode {args['mode']}, which reads frames to come", "pad with a constant")
    fill = float(cast("float", args["value"] or 0.0))
    value = walk.padded(value, left, right, fill, node)
    flat[at : at + 2] = [0, 0]
    made = value.node
    if any(flat):
        made = walk.step.call(aten.constant_pad_nd.default, made, flat, fill)
    return walk.derived(node, made, value.where, value.count, value.shift)


def concatenate(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a concatenation along time."""
    args = arguments(node)
    parts = cast("list[fx.Node]", args["tensors"])
    known = [walk.known(part) for part in parts]
    axis = axis_of(args["dim"], walk.sample(node).dim())
    if any(isinstance(each, Moment) for each in known):
        return walk.loops.joined(node, parts, axis, kept=True)
    streams = [i for i, part in enumerate(parts) if (value := walk.stream(part)) and value.where.axis == axis]
    if not streams:
        return None
    at = next((i for i in streams if not _constant_stream(walk, parts[i])), streams[0])
    if any(i != at for i in streams):
        raise refusal(node, "joins two sequences one behind the other", "stream them one after the other")
    value = walk.value(parts[at])
    before, behind = (_constants(node, known[part]) for part in (slice(at), slice(at + 1, None)))
    left, right = (sum(each.shape[axis] for each in side) for side in (before, behind))
    fill = 0.0
    if (value.shift < 0 and left) or (walk.flush is not None and right):
        beside = torch.cat([each.flatten() for each in (*before, *behind)])
        fill = float(beside[0])
        if bool((beside != fill).any()):
            raise refusal(node, "puts varying constants beside a tensor that looks ahead", "use one constant")
    value = walk.padded(value, left, right, fill, node)
    return walk.derived(node, value.node, value.where, value.count, value.shift)


def _constants(node: fx.Node, known: Sequence[Known]) -> list[torch.Tensor]:
    """Return the samples of what stands beside the sequence, which must be constants."""
    samples = [each.sample for each in known if isinstance(each, Value) and each.kind is Kind.CONSTANT]
    if len(samples) < len(known):
        raise refusal(
            node,
            "puts an argument or a computed tensor beside the sequence, along time",
            "pass the past as a state that the module also returns",
        )
    return samples


def stack(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a stack of frames."""
    args = arguments(node)
    parts = cast("list[fx.Node]", args["tensors"])
    if not any(isinstance(walk.known(part), Moment) for part in parts):
        return None
    return walk.loops.joined(node, parts, axis_of(args["dim"], walk.sample(node).dim()), kept=False)


def _constant_stream(walk: Walk, node: fx.Node) -> bool:
    """Return whether a stream holds the same whatever the input is."""
    return torch.equal(walk.sample(node), cast("torch.Tensor", walk.others[node]))


RULES: Final = {
    aten.pad.default: pad,
    aten.constant_pad_nd.default: pad,
    aten.cat.default: concatenate,
    aten.stack.default: stack,
}
