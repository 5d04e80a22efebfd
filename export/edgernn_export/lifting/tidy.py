"""Tidying a step: where a step has one element along time, its axis is moved past what does not need it, and dropped.

Inside a step tensors keep the axes of the original, so a step of one frame begins with an `unsqueeze` and ends with
a `squeeze`, and each layer between takes its frame out and puts the axis back. Every node costs time.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import torch
from torch import Tensor, fx

from edgernn_export.lifting.cells import lower_cells
from edgernn_export.lifting.nodes import mapped, overload, tagged
from edgernn_export.lifting.step_graph import aten

Shape = tuple[int, ...]


def tidy(step: fx.GraphModule, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Return the step without axes that come and go, its cells lowered; `inputs` are arguments of a batch of 2."""
    graph = step.graph
    lower_cells(graph)
    _Shapes(step).run(*inputs)
    for node in list(graph.nodes):
        if node.target is aten.stack.default and len(node.args[0]) == 1:
            with graph.inserting_before(node):
                (only,) = cast("list[fx.Node]", node.args[0])
                axis = cast("int", node.args[1]) if len(node.args) > 1 else 0
                _replace(node, _unsqueezed(graph, only, axis % len(node.meta["shape"])))
    for node in list(graph.nodes):
        if node.op == "call_function" and (rule := _RULES.get(node.target) or _elementwise(node)):
            with graph.inserting_before(node):
                made = rule(graph, node)
            if made is not None:
                _replace(node, made)
    graph.eliminate_dead_code()
    step.recompile()
    return step


class _Shapes(fx.Interpreter):
    """Runs a step once, and notes the shape of every tensor."""

    def run_node(self, node: fx.Node) -> object:
        """Run a node and note its shape."""
        result = super().run_node(node)
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        return result


def _replace(node: fx.Node, made: fx.Node) -> None:
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)


def _unsqueezed(graph: fx.Graph, inner: fx.Node, axis: int) -> fx.Node:
    made = graph.call_function(aten.unsqueeze.default, (inner, axis))
    shape = inner.meta["shape"]
    made.meta["shape"] = (*shape[:axis], 1, *shape[axis:])
    return made


def _inner(node: object) -> tuple[fx.Node, int] | None:
    """Return the tensor below an added axis, and that axis."""
    if isinstance(node, fx.Node) and node.target is aten.unsqueeze.default:
        return cast("fx.Node", node.args[0]), cast("int", node.args[1]) % len(node.meta["shape"])
    return None


def _take(_: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Drop `squeeze` and `select` of an axis that was added."""
    found = _inner(node.args[0])
    if found is None:
        return None
    rank = len(cast("fx.Node", node.args[0]).meta["shape"])
    return found[0] if cast("int", node.args[1]) % rank == found[1] else None


def _whole(_: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Drop a slice that takes everything."""
    source = cast("fx.Node", node.args[0])
    return source if node.meta["shape"] == source.meta["shape"] and len(node.args) < 5 else None


def _below(
    graph: fx.Graph, node: fx.Node, compute: Callable[[fx.Node, int, int], fx.Node | None], position: int = 0
) -> fx.Node | None:
    """Compute a node below the axis that was added to its operand, and add the axis after it."""
    operand = cast("fx.Node", node.args[position])
    found = _inner(operand)
    if found is None:
        return None
    inner, axis = found
    made = compute(inner, axis, len(operand.meta["shape"]))
    if made is None:
        return None
    shape = list(node.meta["shape"])
    del shape[axis]
    made.meta["shape"] = tuple(shape)
    return _unsqueezed(graph, made, axis)


def _linear(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    def compute(inner: fx.Node, axis: int, rank: int) -> fx.Node | None:
        return graph.call_function(overload(node), (inner, *node.args[1:])) if axis < rank - 1 else None

    return _below(graph, node, compute)


def _embedding(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    return _below(
        graph,
        node,
        lambda inner, *_: graph.call_function(overload(node), (node.args[0], inner, *node.args[2:])),
        1,
    )


def _layer_norm(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    def compute(inner: fx.Node, axis: int, rank: int) -> fx.Node | None:
        if axis >= rank - len(cast("list[int]", node.args[1])):
            return None
        return graph.call_function(overload(node), (inner, *node.args[1:]))

    return _below(graph, node, compute)


def _softmax(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    def compute(inner: fx.Node, axis: int, rank: int) -> fx.Node | None:
        dim = cast("int", node.args[1]) % rank
        if dim == axis:
            return None
        return graph.call_function(overload(node), (inner, dim - (dim > axis), *node.args[2:]))

    return _below(graph, node, compute)


def _permute(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Permute below the axis; what is left is often no permutation at all."""
    found = _inner(node.args[0])
    if found is None:
        return None
    inner, axis = found
    rank = len(node.meta["shape"])
    order = list(range(rank))
    if node.target is aten.transpose.int:
        a, b = (cast("int", each) % rank for each in node.args[1:3])
        order[a], order[b] = order[b], order[a]
    else:
        order = [each % rank for each in cast("list[int]", node.args[1])]
    rest = [each - (each > axis) for each in order if each != axis]
    made = inner
    if rest != sorted(rest):
        made = graph.call_function(aten.permute.default, (inner, rest))
        made.meta["shape"] = tuple(inner.meta["shape"][each] for each in rest)
    return _unsqueezed(graph, made, order.index(axis))


def _reshape(_: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Drop a change of shape that takes an added axis away, or changes nothing."""
    source = cast("fx.Node", node.args[0])
    found = _inner(source)
    shapes_of = [source] if found is None else [source, found[0]]
    return next((each for each in shapes_of if each.meta["shape"] == node.meta["shape"]), None)


def _concatenate(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    parts = [_inner(part) for part in cast("list[fx.Node]", node.args[0])]
    if any(part is None for part in parts):
        return None
    found = cast("list[tuple[fx.Node, int]]", parts)
    rank = len(node.meta["shape"])
    dim = (cast("int", node.args[1]) if len(node.args) > 1 else 0) % rank
    axis = found[0][1]
    if dim == axis or any(each[1] != axis for each in found):
        return None
    made = graph.call_function(aten.cat.default, ([each[0] for each in found], dim - (dim > axis)))
    shape = list(node.meta["shape"])
    del shape[axis]
    made.meta["shape"] = tuple(shape)
    return _unsqueezed(graph, made, axis)


def _elementwise(node: fx.Node) -> Callable[[fx.Graph, fx.Node], fx.Node | None] | None:
    return _pointwise if tagged(node, torch.Tag.pointwise) else None


def _pointwise(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Compute an elementwise operator below the axis that all of its full-rank operands were given."""
    rank = len(node.meta["shape"])
    axes = set()
    inner: dict[fx.Node, fx.Node] = {}
    for operand in node.all_input_nodes:
        shape = operand.meta.get("shape", ())
        found = _inner(operand)
        if found is not None and len(shape) == rank:
            axes.add(found[1])
            inner[operand] = found[0]
        else:
            inner[operand] = operand
    if len(axes) != 1:
        return None
    (axis,) = axes
    for operand, below in inner.items():
        if below is operand and len(operand.meta.get("shape", ())) > rank - 1 - axis:
            return None
    args, kwargs = mapped(node, inner.__getitem__)
    made = graph.call_function(
        overload(node), cast("tuple[fx.node.Argument, ...]", args), cast("dict[str, fx.node.Argument]", kwargs)
    )
    shape = list(node.meta["shape"])
    del shape[axis]
    made.meta["shape"] = tuple(shape)
    return _unsqueezed(graph, made, axis)


_RULES: Final[dict[object, Callable[[fx.Graph, fx.Node], fx.Node | None]]] = {
    aten.squeeze.dim: _take,
    aten.select.int: _take,
    aten.slice.Tensor: _whole,
    aten.linear.default: _linear,
    aten.embedding.default: _embedding,
    aten.layer_norm.default: _layer_norm,
    aten.softmax.int: _softmax,
    aten.log_softmax.int: _softmax,
    aten.permute.default: _permute,
    aten.transpose.int: _permute,
    aten.reshape.default: _reshape,
    aten.view.default: _reshape,
    aten.cat.default: _concatenate,
}
