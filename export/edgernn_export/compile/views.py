"""Views: tensors that read another one's elements in another order. Nothing is copied."""

from collections.abc import Sequence

from edgernn_export.compile.program import Affine, Shape, Tensor


def transposed(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Return a tensor with its axes in another order."""
    shape = tuple(tensor.shape[axis] for axis in axes)
    places = tuple(Affine(place.offset, tuple(place.steps[axis] for axis in axes)) for place in tensor.places)
    return Tensor(tensor.source, shape, places)


def sliced(tensor: Tensor, axis: int, start: int, count: int, *, step: int = 1) -> Tensor:
    """Return `count` elements along an axis, from `start` on, each `step` behind the one before."""
    shape = (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])
    places = []
    for place in tensor.places:
        steps = (*place.steps[:axis], place.steps[axis] * step, *place.steps[axis + 1 :])
        places.append(Affine(place.offset + place.steps[axis] * start, steps))
    return Tensor(tensor.source, shape, tuple(places))


def expanded(tensor: Tensor, shape: Shape) -> Tensor:
    """Return a tensor repeated along axes of size one, and along new ones in front, as broadcasting does."""
    front = len(shape) - len(tensor.shape)
    sizes = (1,) * front + tensor.shape
    places = []
    for place in tensor.places:
        steps = (0,) * front + place.steps
        kept = [0 if size == 1 else step for size, step in zip(sizes, steps, strict=True)]
        places.append(Affine(place.offset, tuple(kept)))
    return Tensor(tensor.source, shape, tuple(places))


def reshaped(tensor: Tensor, shape: Shape) -> Tensor | None:
    """Return a tensor of another shape with the same elements in order; None if no view has them so."""
    columns = [(0,) * len(tensor.places)] * len(shape)
    for axes, parts in _groups(tensor.shape, shape):
        step = _step(tensor, axes)
        if step is None:
            return None
        for part in reversed(parts):
            columns[part] = step
            step = tuple(each * shape[part] for each in step)
    places = tuple(
        Affine(place.offset, tuple(column[source] for column in columns)) for source, place in enumerate(tensor.places)
    )
    return Tensor(tensor.source, shape, places)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Return the axes of both shapes in the smallest groups that hold equally many elements; none of size one."""
    left = [axis for axis, size in enumerate(old) if size > 1]
    right = [axis for axis, size in enumerate(new) if size > 1]
    groups: list[tuple[list[int], list[int]]] = []
    while left:
        here, there = [left.pop(0)], [right.pop(0)]
        before, after = old[here[0]], new[there[0]]
        while before != after:
            if before < after:
                here.append(left.pop(0))
                before *= old[here[-1]]
            else:
                there.append(right.pop(0))
                after *= new[there[-1]]
        groups.append((here, there))
    return groups


def _step(tensor: Tensor, axes: Sequence[int]) -> tuple[int, ...] | None:
    """Return how far each place goes from one element of merged axes to the next; None if not evenly."""
    found = []
    for place in tensor.places:
        step = expected = place.steps[axes[-1]]
        for axis in reversed(axes):
            if place.steps[axis] != expected:
                return None
            expected *= tensor.shape[axis]
        found.append(step)
    return tuple(found)
