"""Sums: trees of Add nodes read as one list of terms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgernn_export.passes.edit import constant_of, nodes_of, only_user, operand, replace


@dataclass(frozen=True, slots=True)
class Sum:
    """A tree of Add nodes whose inner results nothing else reads.

    Attributes:
        root: The Add that gives the sum.
        terms: What is added, but for constants.
        constants: The constants that are added.
    """

    root: ir.Node
    terms: tuple[ir.Value, ...]
    constants: tuple[ir.Value, ...]


def find_sums(graph: ir.Graph) -> Iterator[Sum]:
    """Yield the graph's largest sums, each read when its turn comes, after the rewrites before it."""
    for root in [node for node in nodes_of(graph, "Add") if not _is_inner(node)]:
        if root.graph is not None:
            yield _read(root)


def rewrite_sum(graph: ir.Graph, old: Sum, terms: Sequence[ir.Value], new: Sequence[ir.Node]) -> None:
    """Replace a sum by the sum of `terms`, at least one, after the nodes `new` that they need."""
    nodes, total = list(new), terms[0]
    for term in terms[1:]:
        add = ir.node("Add", [total, term])
        nodes.append(add)
        total = add.outputs[0]
    replace(graph, old.root, nodes, [total])


def _is_inner(node: ir.Node) -> bool:
    user = only_user(node.outputs[0])
    return user is not None and user.op_type == "Add"


def _read(root: ir.Node) -> Sum:
    terms: list[ir.Value] = []
    constants: list[ir.Value] = []
    waiting = [operand(root, 1), operand(root, 0)]
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        if constant_of(value) is not None:
            constants.append(value)
        elif producer is not None and producer.op_type == "Add" and only_user(value) is not None:
            waiting += [operand(producer, 1), operand(producer, 0)]
        else:
            terms.append(value)
    return Sum(root, tuple(terms), tuple(constants))
