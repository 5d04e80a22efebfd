"""StepGraph: the graph of one step while it is being built, with its inputs and states."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, fx
from torch.fx.node import Argument

aten: Final = torch.ops.aten


@dataclass(slots=True)
class StateEntry:
    """A state of the step graph. Mutable: `after` is known later than `before`.

    Attributes:
        name: Its path, without `state.`.
        before: The placeholder that takes it, `[batch, ...]`.
        initial: Its value at reset for one row, without the batch.
        after: The node that computes the next one, `[batch, ...]`.
    """

    name: str
    before: fx.Node
    initial: Tensor
    after: fx.Node | None = None


class StepGraph:
    """An `fx.Graph` of one step. Mutable: the walk appends to it.

    Every input and state has the batch as axis 0. Inside, tensors keep the axes of the original.
    """

    def __init__(self, batch: int | None) -> None:
        """Begin an empty graph; `batch` is the size that marks the batch in samples, None if there is none."""
        self.graph = fx.Graph()
        self.tensors: dict[str, Tensor] = {}
        self.inputs: dict[str, fx.Node] = {}
        self.states: list[StateEntry] = []
        self._batch = batch
        self._anchor = self.graph.call_function(torch.ops.aten.zeros.default, ([0],))
        self._rows: fx.Node | None = None
        self._multiples: dict[int, fx.Node] = {}
        self._constants: dict[int, fx.Node] = {}

    def input(self, name: str) -> fx.Node:
        """Add an input `[batch, ...]`."""
        self.inputs[name] = node = self._placeholder(f"input_{len(self.inputs)}")
        return node

    def state(self, name: str, initial: Tensor) -> StateEntry:
        """Add a state of the shape of `initial`, which is one row without the batch."""
        taken = {entry.name for entry in self.states}
        unique = next(each for each in (name, *(f"{name}.{i}" for i in range(1, len(taken) + 2))) if each not in taken)
        entry = StateEntry(unique, self._placeholder(f"state_{len(self.states)}"), initial.detach().clone())
        self.states.append(entry)
        return entry

    def constant(self, tensor: Tensor) -> fx.Node:
        """Return the node of a fixed tensor."""
        if id(tensor) not in self._constants:
            name = f"constant_{len(self.tensors)}"
            self.tensors[name] = tensor
            with self.graph.inserting_before(self._anchor):
                self._constants[id(tensor)] = self.graph.get_attr(name)
            self._constants[id(tensor)].meta["shape"] = tuple(tensor.shape)
        return self._constants[id(tensor)]

    def call(self, target: Callable[..., object], *args: object, **kwargs: object) -> fx.Node:
        """Append an operator."""
        return self.graph.call_function(target, cast("tuple[Argument, ...]", args), cast("dict[str, Argument]", kwargs))

    def rows(self, size: int) -> int | fx.Node:
        """Return `size` as the step graph has it: a multiple of the sample's batch becomes one of the real batch."""
        if not self._batch or size % self._batch:
            return size
        factor = size // self._batch
        if factor not in self._multiples:
            if self._rows is None:
                with self.graph.inserting_before(self._anchor):
                    self._rows = self.call(aten.sym_size.int, next(iter(self.inputs.values())), 0)
            with self.graph.inserting_before(self._anchor):
                self._multiples[factor] = (
                    self._rows if factor == 1 else self.graph.call_function(operator.mul, (self._rows, factor))
                )
        return self._multiples[factor]

    def batch_axis(self, shape: Sequence[int]) -> int | None:
        """Return the axis of a sample's shape that holds the batch; None if none does."""
        if not self._batch:
            return None
        return next((axis for axis, size in enumerate(shape) if size and size % self._batch == 0), None)

    def batch_first(self, node: fx.Node, shape: Sequence[int], single: int | None = None) -> fx.Node:
        """Return `node`, whose sample has `shape`, as `[batch, ...]`, with an axis that holds more split.

        Args:
            node: The node.
            shape: The shape of its sample.
            single: The axis of the batch where the step takes one row only.
        """
        axis = self.batch_axis(shape) if self._batch else single
        if axis is None:
            return self.call(aten.unsqueeze.default, node, 0)
        split = self._split(shape, axis)
        if len(split) > len(shape):
            node = self.call(aten.view.default, node, [self.rows(size) for size in split])
        return self._permuted(node, (axis, *(i for i in range(len(split)) if i != axis)))

    def from_batch_first(self, node: fx.Node, shape: Sequence[int], single: int | None = None) -> fx.Node:
        """Undo `batch_first`."""
        axis = self.batch_axis(shape) if self._batch else single
        if axis is None:
            return self.call(aten.squeeze.dim, node, 0)
        split = self._split(shape, axis)
        order = [axis, *(i for i in range(len(split)) if i != axis)]
        node = self._permuted(node, tuple(order.index(i) for i in range(len(split))))
        if len(split) > len(shape):
            node = self.call(aten.view.default, node, [self.rows(size) for size in shape])
        return node

    def row_of(self, sample: Tensor) -> Tensor:
        """Return row 0 of a sample, as `batch_first` lays it out, without the batch."""
        axis = self.batch_axis(sample.shape)
        if axis is None:
            return sample
        split = sample.reshape(self._split(sample.shape, axis))
        return split.movedim(axis, 0)[0]

    def expanded(self, sample: Tensor) -> fx.Node:
        """Return the node of a constant that is the same in all rows, for the real batch."""
        axis = self.batch_axis(sample.shape)
        if axis is None:
            return self.constant(sample)
        split = self._split(sample.shape, axis)
        row = sample.reshape(split).narrow(axis, 0, 1).clone()
        node = self.call(aten.expand.default, self.constant(row), [self.rows(size) for size in split])
        if len(split) > sample.dim():
            node = self.call(aten.reshape.default, node, [self.rows(size) for size in sample.shape])
        return node

    def finish(self, outputs: Sequence[fx.Node]) -> fx.GraphModule:
        """Return the module of the step: `(*inputs, *states) -> (*outputs, *states)`, states all of them used."""
        after = [entry.after for entry in self.states]
        self.graph.output((*outputs, *after))
        self.graph.erase_node(self._anchor)
        self.graph.eliminate_dead_code()
        root = torch.nn.Module()
        for name, tensor in self.tensors.items():
            root.register_buffer(name, tensor)
        self.graph.lint()
        return fx.GraphModule(root, self.graph)

    def _placeholder(self, name: str) -> fx.Node:
        first = next((node for node in self.graph.nodes if node.op != "placeholder"), self._anchor)
        with self.graph.inserting_before(first):
            return self.graph.placeholder(name)

    def _split(self, shape: Sequence[int], axis: int) -> list[int]:
        batch = self._batch or 1
        inner = shape[axis] // batch
        return [*shape[:axis], batch, *([inner] if inner > 1 else []), *shape[axis + 1 :]]

    def _permuted(self, node: fx.Node, order: tuple[int, ...]) -> fx.Node:
        return node if order == tuple(sorted(order)) else self.call(aten.permute.default, node, list(order))
