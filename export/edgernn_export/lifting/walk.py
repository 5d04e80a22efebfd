"""Walk: through the original, operator by operator, while the graph of one step is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from edgernn_export.lifting.capture import Program, Sample
from edgernn_export.lifting.loops import Loops
from edgernn_export.lifting.nodes import GETITEM, draws, overload, sources
from edgernn_export.lifting.pointwise import time_of
from edgernn_export.lifting.refusal import refusal
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.values import NEVER, Clock, Kind, Known, Moment, Place, Value
from edgernn_export.lifting.writer import Sizes, Writer
from edgernn_runtime.errors import LiftError, first_line


class Walk(Writer):
    """One pass over a program. Mutable: it collects what is known of each node, and writes the step graph.

    Attributes:
        samples: What the original computes at each node, for the example.
        others: The same for another example: what differs depends on the input.
    """

    def __init__(
        self,
        program: Program,
        sizes: Sizes,
        samples: Mapping[fx.Node, Sample],
        others: Mapping[fx.Node, Sample],
    ) -> None:
        """Begin before the first node."""
        super().__init__(sizes)
        self.samples = samples
        self.others = others
        self._program = program
        self._known: dict[fx.Node, Known] = {}
        self.loops = Loops(self)

    def define(self, node: fx.Node, known: Known) -> None:
        """Say what is known of a node of the original."""
        self._known[node] = known

    def run(self, rules: "Mapping[OpOverload, Rule]") -> None:
        """Walk through the operators; arguments must be defined.

        Args:
            rules: What to do with the operators that have a meaning along time.

        Raises:
            LiftError: If an operator has no step form.
        """
        for node, tensor in self._program.constants.items():
            self.define(node, Value(self.step.constant(tensor), tensor, Kind.CONSTANT))
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                rule = rules.get(overload(node))
                try:
                    found = rule(self, node) if rule else None
                    self.define(node, self.generic(node) if found is None else found)
                except LiftError:
                    raise
                except (RuntimeError, IndexError, TypeError) as error:
                    raise refusal(node, f"could not be lifted: {first_line(error)}") from error

    def everything(self) -> Mapping[fx.Node, Known]:
        """Return what is known of all nodes, in their order."""
        return self._known

    def reached(self, node: fx.Node) -> bool:
        """Return whether anything is known of a node yet."""
        return node in self._known

    def known(self, node: fx.Node) -> Known:
        """Return what is known of a node."""
        return self._known[node]

    def value(self, node: fx.Node) -> Value:
        """Return the value of a node that has one output; of a moment, its value at the end of the sequence."""
        known = self._known[node]
        if isinstance(known, Moment):
            return Value(self.loops.last(node), known.sample, Kind.RUNNING)
        if isinstance(known, Clock):
            raise refusal(node, *_POSITION)
        assert isinstance(known, Value)  # noqa: S101, operators on several outputs go through getitem
        return known

    def stream(self, node: object) -> Value | None:
        """Return the value of a node if it is a stream, else None."""
        known = self._known.get(node) if isinstance(node, fx.Node) else None
        return known if isinstance(known, Value) and known.kind is Kind.STREAM else None

    def sample(self, node: fx.Node) -> Tensor:
        """Return what the original computes at a node that has one output."""
        return cast("Tensor", self.samples[node])

    # Operators that no rule knows

    def generic(self, node: fx.Node) -> Known:
        """Copy an operator into the step, if each time step of its result depends on that step alone."""
        if node.target is GETITEM:
            source = self._known[cast("fx.Node", node.args[0])]
            assert isinstance(source, tuple)  # noqa: S101
            found = source[cast("int", node.args[1])]
            return self._placed(node, found) if isinstance(found, Value) else found
        if draws(node):
            raise refusal(node, "draws random numbers", "take them as an argument of the module")
        known = [self._known[each] for each in sources(node)]
        streams = [each for each in known if isinstance(each, Value) and each.kind is Kind.STREAM]
        if any(isinstance(each, Moment) for each in known) and not any(
            isinstance(each, Value) and each.kind in (Kind.RUNNING, Kind.STREAM) for each in known
        ):
            return self._moment(node, cast("list[Value | Moment]", known))
        clocks = [each for each in known if isinstance(each, Clock)]
        kinds = {self.value(each).kind for each in sources(node) if not isinstance(self._known[each], Clock)}
        if streams:
            if Kind.RUNNING in kinds:
                raise refusal(
                    node,
                    "gives every time step what is known only at the end of the sequence",
                    "use the value so far instead, or make it an argument of the module",
                )
            return self._pointwise(node, streams)
        if not kinds - {Kind.CONSTANT}:
            return self.constant(node)
        if clocks:
            raise refusal(node, *_POSITION)
        kind = Kind.RUNNING if Kind.RUNNING in kinds else Kind.STATIC
        return self._copied(node, lambda each: self.value(each).node, kind)

    def constant(self, node: fx.Node) -> Known:
        """Return the value of a node that no argument reaches."""
        samples = self.samples[node]
        if isinstance(samples, tuple):
            return tuple(self._constant(node, sample) for sample in samples)
        return self._constant(node, samples)

    def _constant(self, node: fx.Node, sample: Tensor) -> Value | Clock:
        sample = sample.clone()
        batch = self.step.batch_axis(sample.shape)
        steps = self.sizes.steps
        axis = next((i for i, size in enumerate(sample.shape) if steps > 1 and size and size % steps == 0), None)
        if batch is not None and not self.same_rows(sample):
            raise refusal(node, "makes a constant that differs between the rows of a batch")
        if axis is None:
            return Value(self.step.expanded(sample), sample, Kind.CONSTANT)
        if not torch.equal(sample, sample.narrow(axis, 0, 1).expand_as(sample)):
            return _clock(node, sample, axis)
        if axis == batch:
            size = sample.shape[axis] // (self.sizes.batch or 1)
            count, place = size // self.sizes.steps, Place(axis, outer=self.sizes.batch or 1)
            short = sample.narrow(axis, 0, count * (self.sizes.batch or 1)).clone()
        else:
            count, place = sample.shape[axis] // self.sizes.steps, Place(axis)
            short = sample.narrow(axis, 0, count).clone()
        return Value(self.step.expanded(short), sample, Kind.STREAM, place, count)

    def _moment(self, node: fx.Node, known: Sequence["Value | Moment"]) -> Known:
        latest = max(each.latest if isinstance(each, Moment) else NEVER for each in known)
        samples = self.samples[node]
        if isinstance(samples, tuple):
            return tuple(Moment(sample, latest) for sample in samples)
        return Moment(samples, latest)

    def _pointwise(self, node: fx.Node, streams: Sequence[Value]) -> Known:
        counts = {each.count for each in streams}
        if len(counts) > 1:
            raise refusal(node, f"joins tensors of {' and '.join(map(str, sorted(counts)))} elements a step")
        shift = min(each.shift for each in streams)
        operands = {each: value for each in sources(node) if (value := self.stream(each)) is not None}
        places = time_of(node, operands, self.samples)

        def step_node(source: fx.Node) -> fx.Node:
            known = self._known[source]
            if isinstance(known, Clock):
                return self._timed(node, known, cast("Place", places[0]), streams[0].count, shift)
            value = self.value(source)
            return self.delayed(value, value.shift - shift, node).node if value.kind is Kind.STREAM else value.node

        copied = self._copied(node, step_node, Kind.STREAM)
        if isinstance(copied, tuple):
            pairs = zip(cast("tuple[Value, ...]", copied), places, strict=True)
            return tuple(replace(each, time=at, count=streams[0].count, shift=shift) for each, at in pairs)
        made = replace(cast("Value", copied), time=places[0], count=streams[0].count, shift=shift)
        return self._placed(node, made)

    @staticmethod
    def _placed(node: fx.Node, value: Value) -> Value:
        """Return a value, if it is known where time lies in it."""
        if value.kind is Kind.STREAM and value.time is None:
            raise refusal(node, "has a result in which time cannot be found")
        return value

    def _timed(self, node: fx.Node, clock: Clock, place: Place, count: int, shift: int) -> fx.Node:
        """Return a clock's part of this step, so that it broadcasts with what an operator returns."""
        sample = self.sample(node)
        batch, offset = self.step.batch_axis(sample.shape), sample.dim() - clock.sample.dim()
        if clock.axis + offset != place.axis or place.folded or (batch is None and self.sizes.batch):
            raise refusal(node, *_POSITION)
        numbers = self.step.call(aten.mul.Scalar, self.index(count, shift), clock.slope)
        numbers = self.step.call(aten.add.Scalar, numbers, clock.start)
        numbers = self.step.call(aten._to_copy.default, numbers, dtype=clock.sample.dtype)
        if batch is not None and batch > place.axis:
            numbers = self.step.call(aten.permute.default, numbers, [1, 0])
        sizes = [sample.shape[axis] if axis == batch else 1 for axis in range(sample.dim())]
        sizes[place.axis] = count
        return self.step.call(aten.reshape.default, numbers, [self.step.rows(size) for size in sizes])

    def _copied(self, node: fx.Node, step_node: Callable[[fx.Node], fx.Node], kind: Kind) -> Known:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), step_node)
        made = self.step.call(overload(node), *args, **kwargs)
        samples = self.samples[node]
        if isinstance(samples, tuple):
            return tuple(Value(self.step.call(GETITEM, made, i), sample, kind) for i, sample in enumerate(samples))
        return Value(made, samples, kind)

    def derived(self, node: fx.Node, made: fx.Node, time: Place, count: int, shift: int) -> Value:
        """Return the stream that `made` computes for a node of the original."""
        return Value(made, self.sample(node), Kind.STREAM, time, count, shift)


_POSITION: Final = (
    "depends on the position in the sequence",
    "let the module find it out from its state, or take it as an argument",
)


def _clock(node: fx.Node, sample: Tensor, axis: int) -> Clock:
    """Return a constant that differs from step to step as a clock."""
    along = sample.movedim(axis, 0)
    slopes = along[1:] - along[:-1]
    single = along.numel() == along.shape[0] and sample.dtype is not torch.bool
    if not single or not torch.equal(slopes, slopes[:1].expand_as(slopes)):
        raise refusal(node, *_POSITION)
    return Clock(sample, axis, along.flatten()[0].item(), slopes.flatten()[0].item())


Rule = Callable[[Walk, fx.Node], Known | None]
