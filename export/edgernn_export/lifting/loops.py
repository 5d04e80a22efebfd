"""Loops: Python loops over time, unrolled by the tracer, become one iteration with carried states again.

What was computed from single frames is a *moment*. A *track* is the list of the moments that play one part in
all iterations: entry t is the node of iteration t, None where that iteration has none. One iteration in the
middle stands for all: its operators are copied into the step, and where an operand comes from an older
iteration, a state carries it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from edgernn_export.lifting.nodes import mapped, overload, sources
from edgernn_export.lifting.refusal import module_path, refusal
from edgernn_export.lifting.step_graph import StateEntry, aten
from edgernn_export.lifting.step_sizes import batch_sizes
from edgernn_export.lifting.values import NEVER, Kind, Moment, Place, Value

if TYPE_CHECKING:
    from edgernn_export.lifting.walk import Walk

Track = tuple[fx.Node | None, ...]

_DEPTH: Final = 12
"""How far two iterations are compared; the proof finds what lies deeper."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A single frame taken out of a stream: which, and whether the time axis is kept."""

    value: Value
    index: int
    kept: bool


class Loops:
    """The loops of one walk. Mutable: it remembers what was written, so that two uses share their states."""

    def __init__(self, walk: "Walk") -> None:
        """Begin without loops."""
        self._walk = walk
        self._frames: dict[fx.Node, Frame] = {}
        self._written: dict[tuple[Track, int], fx.Node] = {}
        self._open: list[tuple[StateEntry, fx.Node, Track]] = []
        self._base: Value | None = None

    def frame(self, node: fx.Node, value: Value, index: int, *, kept: bool) -> Moment:
        """Say that a node of the original is one frame of a stream."""
        self._frames[node] = Frame(value, index, kept)
        return self.taken(value, node, index, kept=kept)

    def taken(self, value: Value, node: fx.Node, index: int, *, kept: bool) -> Moment:
        """Return the moment of one frame of a stream."""
        axis = value.where.axis
        if value.where.folded:
            raise refusal(node, "takes a frame out of an axis that holds more than time", "unfold it before")
        sample = value.sample.narrow(axis, index, 1)
        return Moment(sample if kept else sample.squeeze(axis), index)

    def joined(self, node: fx.Node, parts: Sequence[fx.Node], axis: int, *, kept: bool) -> Value | Moment:
        """Return the stream that a stack or concatenation of moments is."""
        latest = [self._latest(part) for part in parts]
        steps = self._walk.sizes.steps
        if len(parts) < max(2, steps // 2) or len(set(latest)) < len(parts) // 2:
            return Moment(self._walk.sample(node), max(latest))
        base = self._base_of(parts)
        middle = len(parts) // 2
        offset = max(0, latest[middle] - middle)
        track: Track = (*[None] * offset, *parts)
        count = base.count
        elements = [self._write(track, i, node) for i in range(count)]
        self._settle(node)
        made = self._walk.step.call(aten.cat.default if kept else aten.stack.default, elements, axis)
        return self._walk.derived(node, made, Place(axis), count, base.shift - offset)

    def last(self, node: fx.Node) -> fx.Node:
        """Return the node of the step that computes a moment for the end of the sequence so far."""
        known = self._walk.known(node)
        if not isinstance(known, Moment):
            return self._walk.value(node).node
        track = self._traced(node)
        if track is not None:
            base = self._base_of([node])
            if base.length - base.count * self._walk.sizes.steps != base.shift:
                raise refusal(node, "is the last of a loop that looks ahead", "return the whole sequence instead")
            made = self._write(track, base.count - 1, node)
            self._settle(node)
            return made
        if node in self._frames:
            frame = self._frames[node]
            back = frame.value.length - 1 - frame.index
            if back > frame.value.length // 2:
                raise refusal(node, f"takes frame {frame.index} of the sequence alone", "use the latest one")
            key = ((node,), -1)
            if key not in self._written:
                take = self._walk.last_kept if frame.kept else self._walk.last
                self._written[key] = take(frame.value, node, back)
            return self._written[key]
        key = ((node,), -1)
        if key not in self._written:
            self._written[key] = self._copied(node, self.last)
        return self._written[key]

    # Tracks

    def _write(self, track: Track, element: int, user: fx.Node) -> fx.Node:
        """Return the node of the step that computes a track for one of its elements."""
        middle = self._middle
        key = (track[: middle + 1], element)
        if key in self._written:
            return self._written[key]
        node = track[middle] if len(track) > middle else None
        if node is None:
            raise refusal(user, f"looks back more than {middle - 1} frames in a loop", "use a convolution or a window")
        present = [each for each in track if each is not None]
        if self._latest(node) == NEVER:
            if any(each is not node for each in present):
                raise refusal(node, "is another constant in each iteration of a loop", "use the same in all")
            return self._walk.value(node).node
        lag = middle - self._latest(node)
        begin = self._begin(track)
        if lag < 0 or any(t - self._latest(cast("fx.Node", track[t])) != lag for t in range(begin, len(track))):
            raise refusal(node, "uses frames in a loop that are not a fixed number of steps back", "")
        if lag > 0:
            if not self._repeatable(track):
                return self._carried(track, element, user)
            begin = 0
        made = self._frame_of(node, element) if node in self._frames else self._iterated(track, begin, element)
        self._written[key] = made
        return made

    def _repeatable(self, track: Track) -> bool:
        """Return whether what older iterations computed can be computed from their operands again.

        That is so where all iterations, the first included, do the same: `linear(h)` of a carried `h`. What is
        carried is then `h`, and nothing that follows from it.
        """
        if track[self._middle] in self._frames:
            return False
        forms = [None if each is None else _plain(each) for each in track]
        return forms[0] is not None and all(form == forms[0] for form in forms)

    def _iterated(self, track: Track, begin: int, element: int) -> fx.Node:
        """Copy the operator of one iteration; before `begin`, iterations are special cases."""
        node = cast("fx.Node", track[self._middle])
        operands = [
            pytree.tree_leaves((cast("fx.Node", each).args, cast("fx.Node", each).kwargs)) for each in track[begin:]
        ]
        tracks: dict[fx.Node, list[Track]] = {}
        for position, operand in enumerate(operands[self._middle - begin]):
            if isinstance(operand, fx.Node):
                others = tuple(leaves[position] for leaves in operands)
                tracks.setdefault(operand, []).append((*[None] * begin, *others))
        queue = {operand: iter(each) for operand, each in tracks.items()}
        made = self._copied(node, lambda operand: self._write(next(queue[operand]), element, node))
        if begin == 0 or all(each is None for each in track[:begin]):
            return made
        if begin > 1:
            raise refusal(node, f"treats the first {begin} iterations of a loop differently", "treat at most one so")
        first = self._first(cast("fx.Node", track[0]), element)
        base = cast("Value", self._base)
        index = self._walk.step.call(aten.select.int, self._walk.index(base.count, base.shift), 1, element)
        start = self._walk.step.call(aten.eq.Scalar, index, 0)
        mask = self._walk.rows_mask(start, self._walk.sample(node).shape)
        return self._walk.step.call(aten.where.self, mask, first, made)

    def _first(self, node: fx.Node, element: int) -> fx.Node:
        """Return the node of the step that computes what the first iteration computes."""
        if self._latest(node) == NEVER:
            return self._walk.value(node).node
        if node in self._frames:
            return self._frame_of(node, element)
        return self._copied(node, lambda operand: self._first(operand, element))

    def _carried(self, track: Track, element: int, user: fx.Node) -> fx.Node:
        """Return what an older iteration computed: a state, or the element before in this step."""
        successor = track[1:]
        if element > 0:
            return self._write(successor, element - 1, user)
        node = cast("fx.Node", track[self._middle])
        base = cast("Value", self._base)
        start = track[max(base.shift, 0)]
        value = None if start is None or self._latest(start) != NEVER else self._walk.value(start)
        if value is not None and value.kind is Kind.STATIC:
            made = value.node
        elif value is not None and value.kind is Kind.RUNNING:
            raise refusal(node, "starts from what is known only at the end of a sequence", "")
        else:
            initial = torch.zeros_like(self._walk.sample(node)) if start is None else self._walk.sample(start)
            if (
                value is None
                and start is not None
                and not torch.equal(initial, cast("Tensor", self._walk.others[start]))
            ):
                initial = torch.zeros_like(initial)
            initial = initial.expand_as(self._walk.sample(node)).to(self._walk.sample(node).dtype)
            entry, made = self._walk.carried(f"{module_path(node) or 'loop'}.carry", initial)
            self._open.append((entry, made, successor))
        self._written[(track[: self._middle + 1], 0)] = made
        return made

    def _settle(self, user: fx.Node) -> None:
        """Write what the carried states become."""
        base = cast("Value", self._base)
        while self._open:
            entry, before, successor = self._open.pop()
            after = self._write(successor, base.count - 1, user)
            if base.shift < 0:
                index = self._walk.step.call(
                    aten.select.int, self._walk.index(base.count, base.shift), 1, base.count - 1
                )
                early = self._walk.step.call(aten.lt.Scalar, index, 0)
                node = cast("fx.Node", successor[self._middle])
                mask = self._walk.rows_mask(early, self._walk.sample(node).shape)
                after = self._walk.step.call(aten.where.self, mask, before, after)
            self._walk.carry(entry, after)

    def _begin(self, track: Track) -> int:
        """Return the first iteration from which all have the same operator and plain arguments."""
        reference = self._form(cast("fx.Node", track[self._middle]))
        for t in range(len(track) - 1, -1, -1):
            node = track[t]
            if node is None or self._form(node) != reference:
                if t >= self._middle:
                    raise refusal(
                        cast("fx.Node", track[self._middle]),
                        "changes from iteration to iteration of a loop",
                        "do not use the number of the iteration in its arguments",
                    )
                return t + 1
        return 0

    def _form(self, node: fx.Node) -> object:
        """Return what two iterations of one operator share: the operator and its arguments but for tensors."""
        if node in self._frames:
            frame = self._frames[node]
            return ("frame", frame.value.node, frame.kept)
        if self._latest(node) == NEVER:
            return ("before",)
        return _plain(node)

    def _traced(self, node: fx.Node) -> Track | None:
        """Return the track that ends in `node`; None if no earlier iteration computes the like."""
        if node in self._frames:
            return None
        members = [node]
        while (earlier := self._earlier(members[0])) is not None:
            members.insert(0, earlier)
        latest = self._latest(node)
        missing = latest + 1 - len(members)
        if len(members) < 3 or missing > self._middle:
            return None
        return (*[None] * missing, *members)

    def _earlier(self, node: fx.Node) -> fx.Node | None:
        """Return the moment that is computed like `node`, one iteration earlier."""
        wanted, form = self._latest(node) - 1, self._form(node)
        for candidate in node.graph.nodes:
            if candidate is node:
                break
            like = self._is_moment(candidate) and self._latest(candidate) == wanted and self._form(candidate) == form
            if like and self._alike(node, candidate, _DEPTH):
                return cast("fx.Node", candidate)
        return None

    def _alike(self, later: fx.Node, earlier: fx.Node, depth: int) -> bool:
        """Return whether two moments are computed alike, one iteration apart."""
        if later is earlier or depth == 0:
            return True
        if self._latest(earlier) == NEVER:
            return self._latest(later) == 0 or depth < _DEPTH
        if self._form(later) != self._form(earlier) or self._latest(later) - self._latest(earlier) != 1:
            return False
        if later in self._frames:
            return self._frames[later].index - self._frames[earlier].index == 1
        return all(self._alike(*pair, depth - 1) for pair in _operand_pairs(later, earlier))

    @property
    def _middle(self) -> int:
        return self._walk.sizes.steps // 2

    def _latest(self, node: fx.Node) -> int:
        known = self._walk.known(node)
        known = known[0] if isinstance(known, tuple) else known
        return known.latest if isinstance(known, Moment) else NEVER

    def _is_moment(self, node: fx.Node) -> bool:
        return self._latest(node) != NEVER if self._walk.reached(node) else False

    def _base_of(self, nodes: Sequence[fx.Node]) -> Value:
        """Return the stream whose frames the nodes were computed from."""
        found: dict[tuple[int, int, int], Value] = {}
        seen: set[fx.Node] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node in seen or not self._is_moment(node):
                continue
            seen.add(node)
            if node in self._frames:
                value = self._frames[node].value
                found[value.length, value.count, value.shift] = value
            else:
                stack.extend(sources(node))
        if len(found) != 1:
            raise refusal(
                nodes[-1], "loops over tensors of different lengths or delays", "loop over one of them at a time"
            )
        (self._base,) = found.values()
        return self._base

    def _frame_of(self, node: fx.Node, element: int) -> fx.Node:
        """Return one element of what this step computes of a stream."""
        frame = self._frames[node]
        axis = frame.value.where.axis
        if frame.kept:
            return self._walk.step.call(aten.slice.Tensor, frame.value.node, axis, element, element + 1)
        return self._walk.step.call(aten.select.int, frame.value.node, axis, element)

    def _copied(self, node: fx.Node, operand: Callable[[fx.Node], fx.Node]) -> fx.Node:
        """Copy an operator of the original into the step."""
        sample = self._walk.samples[node]
        args, kwargs = mapped(node, operand)
        if isinstance(sample, Tensor):
            args = batch_sizes(self._walk.step, node, args, sample)
        return self._walk.step.call(overload(node), *args, **kwargs)


def _plain(node: fx.Node) -> object:
    """Return an operator and its arguments but for tensors."""
    leaves, tree = pytree.tree_flatten((node.args, node.kwargs))
    plain = tuple(None if isinstance(leaf, fx.Node) else leaf for leaf in leaves)
    return (node.target, plain, repr(tree))


def _operand_pairs(left: fx.Node, right: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    yield from zip(sources(left), sources(right), strict=True)
