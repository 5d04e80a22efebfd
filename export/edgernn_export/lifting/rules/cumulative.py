"""Cumulative sums, products, maxima and minima along time: the last one becomes a state."""

import math
from typing import Final, cast

import torch
from torch import Tensor, fx

from edgernn_export.lifting.nodes import arguments, axis_of, overload, used_outputs
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Kind, Known, Value
from edgernn_export.lifting.walk import Walk

_COMBINE: Final = {
    aten.cumsum.default: aten.add.Tensor,
    aten.cumprod.default: aten.mul.Tensor,
    aten.cummax.default: aten.maximum.default,
    aten.cummin.default: aten.minimum.default,
    aten.logcumsumexp.default: aten.logaddexp.default,
}
_IDENTITY: Final = {
    aten.cumsum.default: 0.0,
    aten.cumprod.default: 1.0,
    aten.cummax.default: -math.inf,
    aten.cummin.default: math.inf,
    aten.logcumsumexp.default: -math.inf,
}


def cumulative(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a cumulative operator."""
    args = arguments(node)
    value = walk.stream(args["self"])
    if value is None or axis_of(args["dim"], value.sample.dim()) != value.where.axis:
        return None
    axis = value.where.axis
    samples = walk.samples[node]
    several = isinstance(samples, tuple)
    if several and any(used_outputs(node)):
        raise refusal(node, "returns positions in the sequence, which grow for ever", "use its values alone")
    sample = cast("Tensor", samples[0] if several else samples)
    identity = identity_of(_IDENTITY[overload(node)], sample.dtype)
    source = value.node
    if value.shift < 0:
        source = walk.masked(source, value, lambda index: walk.step.call(aten.lt.Scalar, index, 0), identity)
    initial = (
        sample.narrow(axis, value.shift - 1, 1)
        if value.shift > 0
        else torch.full_like(sample.narrow(axis, 0, 1), identity)
    )
    entry, before = walk.carried(walk.name(node, "total"), initial)
    if sample.dtype != value.sample.dtype:
        source = walk.step.call(aten._to_copy.default, source, dtype=sample.dtype)
    totals = []
    for i in range(value.count):
        element = walk.step.call(aten.slice.Tensor, source, axis, i, i + 1)
        before = walk.step.call(_COMBINE[overload(node)], before, element)
        totals.append(before)
    walk.carry(entry, before)
    total = walk.step.call(aten.cat.default, totals, axis) if len(totals) > 1 else before
    made = Value(total, sample, Kind.STREAM, value.where, value.count, value.shift)
    return (made, made) if several else made


def identity_of(number: float, dtype: torch.dtype) -> float:
    """Return `number` as a dtype can hold it: its least or largest number for an infinity."""
    if not math.isinf(number):
        return number
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return float(limits.max if number > 0 else limits.min)


RULES: Final = dict.fromkeys(_COMBINE, cumulative)
