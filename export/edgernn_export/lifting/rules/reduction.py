"""Sums, means, maxima and minima over all time: running ones, right for the sequence so far."""

import math
from typing import Final, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from edgernn_export.lifting.nodes import arguments, integers, overload, used_outputs
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.rules.cumulative import identity_of
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Kind, Known, Value
from edgernn_export.lifting.walk import Walk

_COMBINE: Final = {
    aten.sum.dim_IntList: aten.add.Tensor,
    aten.mean.dim: aten.add.Tensor,
    aten.amax.default: aten.maximum.default,
    aten.amin.default: aten.minimum.default,
    aten.max.dim: aten.maximum.default,
    aten.min.dim: aten.minimum.default,
}
_LEAST: Final = {
    aten.amax.default: -math.inf,
    aten.max.dim: -math.inf,
    aten.amin.default: math.inf,
    aten.min.dim: math.inf,
}
_WITH_POSITIONS: Final = {aten.max.dim: aten.amax.default, aten.min.dim: aten.amin.default}


def reduction(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a reduction over time."""
    args = arguments(node)
    value = walk.stream(args["self"])
    if value is None:
        return None
    rank = value.sample.dim()
    given = args["dim"]
    axes = list(range(rank)) if given is None else sorted({axis % rank for axis in integers(given, 1)})
    if value.where.axis not in axes:
        return None
    if value.where.folded or walk.step.batch_axis(value.sample.shape) in axes:
        raise refusal(node, "reduces over the batch as well", "reduce over the other axes alone")
    if value.length - value.count * walk.sizes.steps != value.shift:
        raise refusal(node, "reduces what looks ahead", "reduce over the part that is causal")
    samples = walk.samples[node]
    several = isinstance(samples, tuple)
    if several and any(used_outputs(node)):
        raise refusal(node, "returns a position in the sequence", "use its value alone")
    sample = cast("Tensor", samples[0] if several else samples)
    target = _WITH_POSITIONS.get(overload(node), overload(node))
    mean = node.target is aten.mean.dim
    identity = identity_of(_LEAST.get(overload(node), 0.0), sample.dtype)
    source = value.node
    if value.shift < 0:
        source = walk.masked(source, value, lambda index: walk.step.call(aten.lt.Scalar, index, 0), identity)
    local = walk.step.call(target, source, axes, True)
    if mean:
        local = walk.step.call(aten.mul.Tensor, local, value.count)
    entry, before = walk.carried(walk.name(node, "total"), _initial(target, value, axes, identity, mean=mean))
    total = walk.step.call(_COMBINE[overload(node)], before, local)
    walk.carry(entry, total)
    if mean:
        total = walk.step.call(aten.div.Tensor, total, _elements(walk, value))
    if not args["keepdim"]:
        total = walk.step.call(aten.squeeze.dims, total, axes)
    made = Value(total, sample, Kind.RUNNING)
    return (made, made) if several else made


def _initial(target: OpOverload, value: Value, axes: list[int], identity: float, *, mean: bool) -> Tensor:
    """Return what the reduction is before the first step: that of the prefix, or its identity."""
    axis = value.where.axis
    if value.shift <= 0:
        reduced = target(value.sample.narrow(axis, 0, 1), axes, True)
        return torch.full_like(reduced, identity)
    reduced = target(value.sample.narrow(axis, 0, value.shift), axes, True)
    return cast("Tensor", reduced * value.shift if mean else reduced)


def _elements(walk: Walk, value: Value) -> fx.Node:
    """Return the number of elements so far, float32, for a division of the reduced tensor."""
    seen = walk.step.call(aten.mul.Tensor, walk.count(), value.count)
    seen = walk.step.call(aten.add.Tensor, seen, value.count + value.shift)
    if value.shift < 0:
        seen = walk.step.call(aten.clamp_min.default, seen, 1)
    shape = list(value.sample.shape)
    batch = walk.step.batch_axis(shape)
    return walk.rows_mask(seen, [size if axis == batch else 1 for axis, size in enumerate(shape)])


RULES: Final = dict.fromkeys(_COMBINE, reduction)
