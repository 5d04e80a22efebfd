"""Recurrent operators of one step give their last state, and not a sequence of one."""

from typing import Final

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import add_constant, nodes_of, operand
from edgernn_export.passes.merge_views import merge_views

RECURRENT: Final = ("LSTM", "GRU", "RNN")

_SEQUENCE_LENGTHS: Final = 4


def drop_sequence_axis(model: ir.Model) -> bool:
    """Read the last state where the outputs of a sequence of length 1 were read, and merge the views around it."""
    nodes = nodes_of(model.graph, *RECURRENT)
    steps = [node for node in nodes if _is_one_step(node)]
    for node in steps:
        _read_last(model.graph, node)
    return (bool(nodes) and merge_views(model)) or bool(steps)


def _read_last(graph: ir.Graph, node: ir.Node) -> None:
    axis = add_constant(graph, "time_axis", np.array([0], np.int64))
    sequence, last = node.outputs[:2]
    view = ir.node("Unsqueeze", [last, axis])
    view.outputs[0].shape, view.outputs[0].type = sequence.shape, sequence.type
    graph.insert_after(node, view)
    sequence.replace_all_uses_with(view.outputs[0])


def _is_one_step(node: ir.Node) -> bool:
    """Whether the node's first two outputs hold the same elements, and the first one is read."""
    x, lengths = operand(node, 0), node.inputs[_SEQUENCE_LENGTHS : _SEQUENCE_LENGTHS + 1]
    if x.shape is None or x.shape[0] != 1 or any(lengths):
        return False
    if node.attributes.get_int("layout", 0) != 0:
        return False
    if len(node.outputs) < 2 or not node.outputs[1].name:
        return False
    return bool(node.outputs[0].uses()) and not node.outputs[0].is_graph_output()
