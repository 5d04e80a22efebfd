"""Whether an operator works on each time step alone: proved by trying, without a table of operators.

NaN is put into time step j of what an operator takes; it must come out in time step j of what it returns,
and nowhere else. That shows where time lies in the result as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, fx

from edgernn_export.lifting.capture import Sample
from edgernn_export.lifting.nodes import mapped, overload, tagged
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.values import Place, Value

_TRIES: Final = 4


def time_of(node: fx.Node, streams: Mapping[fx.Node, Value], samples: Mapping[fx.Node, Sample]) -> list[Place | None]:
    """Return where time lies in each output of an operator on streams.

    Args:
        node: The operator.
        streams: Its operands that have time as an axis.
        samples: What the original computes at each node.

    Raises:
        LiftError: If an output at one time step depends on another.
    """
    lengths = {value.length for value in streams.values()}
    if len(lengths) > 1:
        raise refusal(node, f"joins tensors of lengths {' and '.join(map(str, sorted(lengths)))}")
    (length,) = lengths
    sample = samples[node]
    outputs = sample if isinstance(sample, tuple) else (sample,)
    if tagged(node, torch.Tag.pointwise):
        return [_broadcast(node, streams.values(), outputs[0])]
    steps = (length // 2, length - 1)
    changed = [_changed(node, streams, samples, step) for step in steps]
    return [_place(node, [each[i] for each in changed], steps, length, output) for i, output in enumerate(outputs)]


def _broadcast(node: fx.Node, streams: Iterable[Value], output: Tensor) -> Place:
    """Return where time lies in the result of an elementwise operator."""
    places = {
        Place(value.where.axis + output.dim() - value.sample.dim(), value.where.outer, value.where.inner)
        for value in streams
    }
    if len(places) > 1:
        raise refusal(node, "sets each time step against every other, as attention over all time does")
    return places.pop()


def _changed(
    node: fx.Node, streams: Mapping[fx.Node, Value], samples: Mapping[fx.Node, Sample], step: int
) -> list[Tensor]:
    """Return for each output which of its elements depend on time step `step` of the inputs."""
    sample = samples[node]
    outputs = sample if isinstance(sample, tuple) else (sample,)
    changed = [torch.zeros(output.shape, dtype=torch.bool) for output in outputs]
    for attempt in range(_TRIES):
        disturbed = {source: _disturbed(value, step, attempt) for source, value in streams.items()}
        args, kwargs = mapped(node, {**samples, **disturbed}.__getitem__)
        with torch.no_grad():
            results = overload(node)(*args, **kwargs)
        leaves = results if isinstance(results, tuple | list) else (results,)
        for i, (before, after) in enumerate(zip(outputs, leaves, strict=True)):
            changed[i] |= (before != after) & ~(before.isnan() & after.isnan())
    return changed


def _disturbed(value: Value, step: int, attempt: int) -> Tensor:
    """Return a stream's sample with other values at one time step: NaN first, and then those of other steps."""
    sample = value.sample.clone()
    place, length = value.where, value.length
    split = sample.view(*sample.shape[: place.axis], place.outer, length, place.inner, *sample.shape[place.axis + 1 :])
    at = split.select(place.axis + 1, step)
    if attempt == 0 and sample.dtype.is_floating_point:
        at.fill_(torch.nan)
    else:
        at.copy_(split.select(place.axis + 1, (step + attempt + 1) % length).clone().flip(0))
    return sample


def _place(node: fx.Node, changed: Sequence[Tensor], steps: Sequence[int], length: int, output: Tensor) -> Place | None:
    """Return the place at which exactly the time steps that were disturbed changed."""
    if not any(bool(each.any()) for each in changed):
        return None
    for place in _candidates(output, length):
        if all(_only(each, place, length, step) for each, step in zip(changed, steps, strict=True)):
            return place
    raise refusal(node, *_why(node))


def _candidates(output: Tensor, length: int) -> Iterator[Place]:
    for axis, size in enumerate(output.shape):
        if size and size % length == 0:
            rest = size // length
            for outer in range(1, rest + 1):
                if rest % outer == 0:
                    yield Place(axis, outer, rest // outer)


def _only(changed: Tensor, place: Place, length: int, step: int) -> bool:
    shape = changed.shape
    split = changed.view(*shape[: place.axis], place.outer, length, place.inner, *shape[place.axis + 1 :])
    along = split.movedim(place.axis + 1, 0).flatten(1).any(1)
    return bool(along[step]) and int(along.sum()) == 1


def _why(node: fx.Node) -> tuple[str, str]:
    name = str(node.target)
    for part, reason, remedy in _REASONS:
        if part in name:
            return reason, remedy
    return ("mixes time steps in a way that has no step form", "")


_REASONS: Final = (
    ("flip", "reverses time: its first output needs the last input", "drop the reversed direction and retrain"),
    ("roll", "wraps around: its first output needs the last input", "shift with padding instead of rolling"),
    ("scaled_dot_product", "attends over all time", "use a recurrent layer, or attention over a fixed past window"),
    ("softmax", "normalises over all time", "normalise over features, or attend over a fixed past window"),
    ("bmm", "multiplies across time, as attention over all time does", "use a recurrent layer instead"),
    ("matmul", "multiplies across time, as attention over all time does", "use a recurrent layer instead"),
    ("norm", "normalises over all time", "normalise over features (LayerNorm), or use BatchNorm in evaluation mode"),
    ("sort", "orders time steps", "which needs all of them"),
    ("fft", "transforms all time at once", "transform frames of a fixed length before the module"),
)
