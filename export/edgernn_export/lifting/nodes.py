"""Reading the nodes of an ATen graph."""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

GETITEM: Final = operator.getitem

_DROPPING: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention")


def overload(node: fx.Node) -> OpOverload:
    """Return the ATen operator that a node calls."""
    return cast("OpOverload", node.target)


def operand(value: object) -> fx.Node:
    """Return an argument that is a node."""
    assert isinstance(value, fx.Node)  # noqa: S101, the schema says so
    return value


def operands(value: object) -> list[fx.Node]:
    """Return an argument that is a list of nodes."""
    return [operand(each) for each in cast("list[object]", value)]


def sources(node: fx.Node) -> list[fx.Node]:
    """Return the nodes among a node's arguments, in order, each as often as it occurs."""
    return [leaf for leaf in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(leaf, fx.Node)]


def mapped(node: fx.Node, replace: Callable[[fx.Node], object]) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return a node's arguments with nodes replaced."""
    change = cast("Callable[[fx.Node], fx.node.Argument]", replace)
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), change)
    return cast("tuple[object, ...]", args), cast("dict[str, object]", kwargs)


def arguments(node: fx.Node) -> Mapping[str, object]:
    """Return the arguments of an ATen operator by the names in its schema, defaults filled in."""
    schema = overload(node)._schema
    named = dict(zip((each.name for each in schema.arguments), node.args, strict=False))
    return {
        each.name: named.get(each.name, node.kwargs.get(each.name, each.default_value)) for each in schema.arguments
    }


def axis_of(value: object, rank: int) -> int:
    """Return an axis argument, counted from the front."""
    return cast("int", value) % rank


def integers(value: object, count: int) -> list[int]:
    """Return an integer argument that may be one number for all axes as a list of `count`."""
    numbers = list(cast("list[int]", value)) if isinstance(value, (list, tuple)) else [cast("int", value)]
    return numbers * count if len(numbers) == 1 else numbers


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape that the tracer noted."""
    return tuple(cast("Tensor", node.meta["val"]).shape)


def tagged(node: fx.Node, tag: torch.Tag) -> bool:
    """Return whether an operator has one of torch's tags."""
    return isinstance(node.target, OpOverload) and tag in node.target.tags


def draws(node: fx.Node) -> bool:
    """Return whether an operator draws random numbers; layers are tagged so for their dropout, which is off."""
    return tagged(node, torch.Tag.nondeterministic_seeded) and operator_name(node) not in _DROPPING


def operator_name(node: fx.Node) -> str:
    """Return the operator's name: `softmax` for `aten._softmax.default`."""
    return str(node.target).removeprefix("aten.").split(".")[0].lstrip("_")


def used_outputs(node: fx.Node) -> Iterator[int]:
    """Yield the positions of the outputs that are used, of an operator with several."""
    yield from (cast("int", user.args[1]) for user in node.users)
