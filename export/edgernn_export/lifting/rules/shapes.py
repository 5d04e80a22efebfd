"""Operators whose arguments are sizes: those that follow batch or time are taken from the step."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Final, cast

from torch import fx

from edgernn_export.lifting.nodes import overload
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import Clock, Kind, Known, Moment, Place, Value
from edgernn_export.lifting.walk import Walk


def view(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a change of shape."""
    source = cast("fx.Node", node.args[0])
    if isinstance(walk.known(source), Moment | Clock):
        return None
    value = walk.value(source)
    sample = walk.sample(node)
    if value.kind is Kind.CONSTANT:
        return walk.constant(node)
    if value.kind is not Kind.STREAM:
        made = walk.step.call(aten.reshape.default, value.node, [walk.step.rows(size) for size in sample.shape])
        return Value(made, sample, value.kind)
    place, factor = _moved(node, value, sample.shape, walk.sizes.batch)
    if value.count % factor or value.shift % factor:
        raise refusal(
            node,
            f"takes {factor} elements of time at once, but a step has {value.count}",
            f"use --frames-per-step {factor * walk.sizes.frames // value.count or factor} or a multiple of it, "
            "or a form of the module that goes step by step",
        )
    multiple = (place.outer, place.inner)
    result = replace(value, sample=sample, time=place)
    length = result.length
    count = value.count * length // value.length if length > value.length else value.count // factor
    shift = value.shift * length // value.length if length > value.length else value.shift // factor
    sizes = [walk.step.rows(size) for size in sample.shape]
    sizes[place.axis] = walk.step.rows(multiple[0] * multiple[1] * count)
    made = walk.step.call(aten.reshape.default, value.node, sizes)
    return walk.derived(node, made, place, count, shift)


def _moved(node: fx.Node, value: Value, shape: Sequence[int], batch: int | None) -> tuple[Place, int]:
    """Return where time lies after a change of shape, and by what it was divided."""
    old, at = value.sample.shape, value.where
    before = prod(old[: at.axis]) * at.outer
    behind = prod(old[at.axis + 1 :]) * at.inner
    for factor in (1, *(f for f in range(2, value.length + 1) if value.length % f == 0)):
        length = value.length // factor
        for axis, size in enumerate(shape):
            lead, rest = prod(shape[:axis]), prod(shape[axis + 1 :])
            if before % lead or (behind * factor) % rest:
                continue
            outer, inner = before // lead, behind * factor // rest
            if outer * length * inner == size:
                whole = batch is None or inner % batch
                merged = outer == 1 and whole
                return (Place(axis) if merged else Place(axis, outer, inner)), factor
    raise refusal(node, "mixes time with other axes", "permute the axes before changing the shape")


def expand(walk: Walk, node: fx.Node) -> Known | None:
    """Write one step of a broadcast to given sizes."""
    source = cast("fx.Node", node.args[0])
    if isinstance(walk.known(source), Moment | Clock):
        return None
    value = walk.value(source)
    sample = walk.sample(node)
    if value.kind is Kind.CONSTANT:
        return walk.constant(node)
    offset = sample.dim() - value.sample.dim()
    sizes: list[int | fx.Node] = [walk.step.rows(size) for size in sample.shape]
    if value.kind is Kind.STREAM:
        axis = value.where.axis + offset
        sizes[axis] = walk.step.rows(sample.shape[axis] // value.length * value.count)
        made = walk.step.call(aten.expand.default, value.node, sizes)
        return walk.derived(node, made, replace(value.where, axis=axis), value.count, value.shift)
    grown = [
        axis
        for axis, size in enumerate(sample.shape)
        if size % walk.sizes.steps == 0 and (axis < offset or value.sample.shape[axis - offset] == 1)
    ]
    if grown and walk.sizes.steps > 1:
        if value.kind is Kind.RUNNING:
            raise refusal(
                node,
                "gives every time step what is known only at the end of the sequence",
                "use the value so far instead, or make it an argument of the module",
            )
        (axis,) = grown
        count = sample.shape[axis] // walk.sizes.steps
        sizes[axis] = count
        return walk.derived(node, walk.step.call(aten.expand.default, value.node, sizes), Place(axis), count, 0)
    made = walk.step.call(aten.expand.default, value.node, sizes)
    return Value(made, sample, value.kind)


def creation(walk: Walk, node: fx.Node) -> Known | None:
    """Write a constant whose shape alone comes from a tensor."""
    value = walk.stream(node.args[0])
    if value is None or node.target not in _LIKE:
        return walk.constant(node)
    made = walk.step.call(overload(node), value.node, *node.args[1:], **node.kwargs)
    return walk.derived(node, made, value.where, value.count, value.shift)


_LIKE: Final = (
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.empty_like.default,
)

RULES: Final = {
    aten.reshape.default: view,
    aten.expand.default: expand,
    **dict.fromkeys(
        (
            *_LIKE,
            aten.new_zeros.default,
            aten.new_ones.default,
            aten.new_full.default,
            aten.new_empty.default,
        ),
        creation,
    ),
}
