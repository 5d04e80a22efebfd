"""Simplifying a traced graph: no assertions, no aliases, nothing computed twice, indexed writing as stacks."""

from collections.abc import Hashable
from typing import Final, cast

import torch
from torch import fx
from torch.utils import _pytree as pytree

from edgernn_export.lifting.nodes import operand, shape_of, tagged
from edgernn_export.lifting.step_graph import aten

_ALIASES: Final = {
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
}
_VIEWS: Final = {aten.view.default, aten._unsafe_view.default}
_WRITES: Final = {aten.select_scatter.default: aten.stack.default, aten.slice_scatter.default: aten.cat.default}


def simplify(graph: fx.Graph) -> None:
    """Simplify a graph in place; what it computes stays the same in evaluation mode."""
    seen: dict[Hashable, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if str(node.target).startswith("aten._assert"):
            graph.erase_node(node)
        elif (same := _same(node)) is not None:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
        else:
            if node.target in _VIEWS:
                node.target = aten.reshape.default
            earlier = seen.setdefault(_key(node), node)
            if earlier is not node:
                node.replace_all_uses_with(earlier)
                graph.erase_node(node)
    graph.eliminate_dead_code()
    _stack_writes(graph)
    graph.eliminate_dead_code()


def _same(node: fx.Node) -> fx.Node | None:
    """Return the node whose value this one has as well; None if it computes something."""
    if node.target in _ALIASES:
        return operand(node.args[0])
    if node.target is aten.copy.default:
        old, new = operand(node.args[0]), operand(node.args[1])
        same = shape_of(old) == shape_of(new) and old.meta["val"].dtype == new.meta["val"].dtype
        return new if same else None
    return None


def _key(node: fx.Node) -> Hashable:
    """Return what makes two operators compute the same; random ones never do."""
    if tagged(node, torch.Tag.nondeterministic_seeded):
        return node
    leaves, tree = pytree.tree_flatten((node.args, node.kwargs))
    return (node.target, tuple((type(leaf), leaf) for leaf in leaves), repr(tree))


def _stack_writes(graph: fx.Graph) -> None:
    """Turn a tensor that is written index by index, `out[:, t] = y`, into a stack."""
    for node in reversed(list(graph.nodes)):
        if node.target not in _WRITES or not node.users:
            continue
        axis = _write_axis(node)
        written = _written(node, axis)
        if sorted(written) != list(range(shape_of(node)[axis])):
            continue
        with graph.inserting_before(node):
            parts = [written[i] for i in sorted(written)]
            stack = graph.call_function(_WRITES[node.target], (parts, axis))
        stack.meta = dict(node.meta)
        node.replace_all_uses_with(stack)


def _written(node: fx.Node, axis: int) -> dict[int, fx.Node]:
    """Return what a chain of writes along one axis leaves at each index."""
    written: dict[int, fx.Node] = {}
    base: object = node
    while isinstance(base, fx.Node) and base.target is node.target and _write_axis(base) == axis:
        value = operand(base.args[1])
        if base.target is aten.slice_scatter.default and shape_of(value)[axis] != 1:
            break
        start = base.args[3] if len(base.args) > 3 else 0
        written.setdefault(cast("int", start or 0) % shape_of(base)[axis], value)
        base = base.args[0]
    return written


def _write_axis(node: fx.Node) -> int:
    return cast("int", node.args[2] if len(node.args) > 2 else 0) % len(shape_of(node))
