"""Writer: the step of streams: looking back, padding, masking, counting. What every rule builds on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from edgernn_export.lifting.nodes import operator_name
from edgernn_export.lifting.refusal import module_path, refusal
from edgernn_export.lifting.step_graph import StateEntry, StepGraph, aten
from edgernn_export.lifting.values import Value
from edgernn_runtime.errors import LiftError


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes at which the original was captured.

    Attributes:
        batch: The batch, a prime that is no factor of any other size; None without a batch.
        steps: The number of steps, another such prime.
        frames: Frames that one step takes.
    """

    batch: int | None
    steps: int
    frames: int


class Writer:
    """Writes the step of streams. Mutable: it appends to the step graph, and adds states to it.

    Attributes:
        step: The step graph.
        sizes: The sizes of the capture.
        flush: The input that says that the sequence has ended; None where nothing needs to know.
    """

    def __init__(self, sizes: Sizes) -> None:
        """Begin an empty step."""
        self.step = StepGraph(sizes.batch)
        self.sizes = sizes
        self.flush: fx.Node | None = None
        self._counter: StateEntry | None = None
        self._length: StateEntry | None = None
        self._layouts: dict[str, tuple[int, ...]] = {}

    def name(self, node: fx.Node, suffix: str) -> str:
        """Return a name for a state of an operator: its module's path, or the operator, and a suffix."""
        return f"{module_path(node) or operator_name(node)}.{suffix}"

    def per_step(self, value: Value) -> list[int]:
        """Return the shape of what a step computes of a value, with the sample's batch."""
        shape = list(value.sample.shape)
        if value.time is not None:
            shape[value.time.axis] = shape[value.time.axis] // value.length * value.count
        return shape

    def window(self, value: Value, past: int, node: fx.Node) -> fx.Node:
        """Return the elements of this step behind the `past` ones before them, which become a state."""
        if past == 0:
            return value.node
        if value.where.folded:
            raise refusal(node, "looks back along an axis that holds more than time", "unfold it before")
        axis = value.where.axis
        entry, before = self.carried(self.name(node, "past"), self._past(value, past, node))
        joined = self.step.call(aten.cat.default, [before, value.node], axis)
        kept = self.step.call(aten.slice.Tensor, joined, axis, value.count, value.count + past)
        self.carry(entry, kept)
        return joined

    def carried(self, name: str, initial: Tensor) -> tuple[StateEntry, fx.Node]:
        """Add a state that begins as `initial`, a tensor with the sample's batch; return it, laid out likewise."""
        if not self.same_rows(initial):
            raise LiftError(f"the state {name} begins differently in each row of a batch")
        entry = self.step.state(name, self.step.row_of(initial))
        self._layouts[entry.name] = tuple(initial.shape)
        return entry, self.step.from_batch_first(entry.before, initial.shape)

    def carry(self, entry: StateEntry, after: fx.Node) -> None:
        """Say what a state becomes, laid out as `carried` returned it."""
        entry.after = self.step.batch_first(after, self._layouts[entry.name])

    def delayed(self, value: Value, lag: int, node: fx.Node) -> Value:
        """Return a stream `lag` elements later."""
        if lag == 0:
            return value
        joined = self.window(value, lag, node)
        axis = value.where.axis
        made = self.step.call(aten.slice.Tensor, joined, axis, 0, value.count)
        return replace(value, node=made, shift=value.shift - lag)

    def last(self, value: Value, node: fx.Node, back: int = 0) -> fx.Node:
        """Return a stream's element `back` before the last one of the sequence so far, without the time axis."""
        return self.step.call(aten.squeeze.dim, self.last_kept(value, node, back), value.where.axis)

    def last_kept(self, value: Value, node: fx.Node, back: int = 0) -> fx.Node:
        """Return the same, with a time axis of 1."""
        surplus = value.length - value.count * self.sizes.steps
        lag = value.shift - surplus + back
        if lag < 0:
            raise refusal(
                node,
                f"takes the last element of a tensor that looks {-lag} elements ahead",
                "which is known only after the end; return the whole sequence instead",
            )
        late = self.delayed(value, lag, node)
        return self.step.call(aten.slice.Tensor, late.node, value.where.axis, value.count - 1, value.count)

    def padded(self, value: Value, left: int, right: int, fill: float, node: fx.Node) -> Value:
        """Return a stream with `left` elements of `fill` before it and `right` behind it; negative numbers crop."""
        axis = value.where.axis
        if value.where.folded:
            raise refusal(node, "pads an axis that holds more than time", "unfold it before")
        shape = [*value.sample.shape]
        sample = value.sample
        for before, size in ((True, left), (False, right)):
            if size > 0:
                shape = [*sample.shape]
                shape[axis] = size
                parts = [sample.new_full(shape, fill), sample]
                sample = torch.cat(parts if before else parts[::-1], axis)
            elif size < 0:
                start = -size if before else 0
                sample = sample.narrow(axis, start, sample.shape[axis] + size)
        masked = value.node
        if left > 0 and value.shift < 0:
            masked = self.masked(masked, value, lambda index: self.step.call(aten.lt.Scalar, index, 0), fill)
        if right > 0 and self.flush is not None:
            masked = self._ended(masked, value, fill)
        return replace(value, node=masked, sample=sample, shift=value.shift + left)

    def masked(
        self, node: fx.Node, value: Value, condition: Callable[[fx.Node], fx.Node], fill: "float | fx.Node"
    ) -> fx.Node:
        """Return `node` with `fill` where `condition` holds for the element's index along time."""
        mask = self.aligned(condition(self.index(value.count, value.shift)), value)
        if isinstance(fill, fx.Node):
            return self.step.call(aten.where.self, mask, fill, node)
        full = self.step.constant(torch.tensor(fill, dtype=value.sample.dtype))
        return self.step.call(aten.where.self, mask, full, node)

    def index(self, count: int, shift: int) -> fx.Node:
        """Return the indices along time of what this step computes, int64 `[batch, count]`."""
        first = self.step.call(aten.mul.Tensor, self.count(), count)
        offsets = self.step.constant(torch.arange(count) + shift)
        return self.step.call(aten.add.Tensor, self.step.call(aten.unsqueeze.default, first, 1), offsets)

    def aligned(self, mask: fx.Node, value: Value) -> fx.Node:
        """Return `[batch, count]` so that it broadcasts with what a step computes of `value`."""
        shape = self.per_step(value)
        axis, batch = value.where.axis, self.step.batch_axis(shape)
        sizes: list[int] = [1] * len(shape)
        sizes[axis] = value.count
        if batch is None:
            return self.step.call(aten.view.default, mask, sizes)
        inner = shape[batch] // (self.sizes.batch or 1)
        if inner > 1:
            mask = self.step.call(aten.unsqueeze.default, mask, 1)
            mask = self.step.call(aten.expand.default, mask, [-1, inner, -1])
            mask = self.step.call(aten.reshape.default, mask, [self.step.rows(shape[batch]), value.count])
        sizes[batch] = shape[batch]
        if batch > axis:
            mask = self.step.call(aten.permute.default, mask, [1, 0])
        return self.step.call(aten.view.default, mask, [self.step.rows(size) for size in sizes])

    def rows_mask(self, mask: fx.Node, shape: Sequence[int]) -> fx.Node:
        """Return `[batch]` so that it broadcasts with a tensor whose sample has `shape`."""
        batch = self.step.batch_axis(shape)
        sizes: list[int] = [1] * len(shape)
        if batch is not None:
            inner = shape[batch] // (self.sizes.batch or 1)
            if inner > 1:
                mask = self.step.call(aten.unsqueeze.default, mask, 1)
                mask = self.step.call(aten.expand.default, mask, [-1, inner])
                mask = self.step.call(aten.reshape.default, mask, [self.step.rows(shape[batch])])
            sizes[batch] = shape[batch]
        return self.step.call(aten.view.default, mask, [self.step.rows(size) for size in sizes])

    def count(self) -> fx.Node:
        """Return the number of steps before this one, int64 `[batch]`, a state."""
        if self._counter is None:
            self._counter = self.step.state("count", torch.zeros((), dtype=torch.int64))
            self._counter.after = self.step.call(aten.add.Tensor, self._counter.before, 1)
        return self._counter.before

    def _ended(self, node: fx.Node, value: Value, fill: float) -> fx.Node:
        """Return `node` with `fill` behind the end of the sequence."""
        surplus = value.length - value.count * self.sizes.steps
        end = self.step.call(aten.add.Tensor, self.step.call(aten.mul.Tensor, self.length(), value.count), surplus)
        end = self.step.call(aten.unsqueeze.default, end, 1)
        return self.masked(node, value, lambda index: self.step.call(aten.ge.Tensor, index, end), fill)

    def length(self) -> fx.Node:
        """Return the number of steps that took input, this one included, int64 `[batch]`."""
        if self._length is None:
            self._length = self.step.state("length", torch.zeros((), dtype=torch.int64))
            assert self.flush is not None  # noqa: S101, an input of every walk that knows of ends
            going = self.step.call(aten.rsub.Scalar, self.flush, 1)
            self._length.after = self.step.call(aten.add.Tensor, self._length.before, going)
        assert self._length.after is not None  # noqa: S101
        return self._length.after

    def _past(self, value: Value, past: int, node: fx.Node) -> Tensor:
        """Return the `past` elements before step 0, with the sample's batch: zeros where there are none."""
        axis, shift = value.where.axis, value.shift
        zeros = torch.zeros_like(value.sample.narrow(axis, 0, 1)).repeat_interleave(past, axis)
        there = min(past, max(shift, 0))
        if not there:
            return zeros
        first = value.sample.narrow(axis, shift - there, there)
        if not self.same_rows(first):
            raise refusal(node, "begins with elements that depend on the input")
        return torch.cat([zeros.narrow(axis, 0, past - there), first], axis)

    def same_rows(self, sample: Tensor) -> bool:
        """Return whether a sample is the same for all rows of the batch."""
        axis = self.step.batch_axis(sample.shape)
        if axis is None:
            return True
        split = [*sample.shape[:axis], self.sizes.batch or 1, -1, *sample.shape[axis + 1 :]]
        rows = sample.reshape(split)
        return torch.equal(rows, rows.narrow(axis, 0, 1).expand_as(rows))
