"""Values that hold the same elements in the same order and shape become one."""

from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgernn_export.passes.edit import operand

_RESHAPING: Final = ("Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten")

Sizes = tuple[int | str, ...]


def merge_views(model: ir.Model) -> bool:
    """Turn `Squeeze(Unsqueeze(x))` and the like into `x`, and two equal views of one value into one."""
    changed = False
    origins: dict[ir.Value, ir.Value] = {}
    known: dict[tuple[ir.Value, Sizes], ir.Value] = {}
    for node in model.graph:
        if not _is_view(node):
            continue
        view, source = node.outputs[0], operand(node, 0)
        origin = origins[view] = origins.get(source, source)
        sizes, origin_sizes = _sizes(view), _sizes(origin)
        if origin_sizes is not None:
            known.setdefault((origin, origin_sizes), origin)
        if sizes is not None:
            first = known.setdefault((origin, sizes), view)
            changed |= first is not view and _replace(view, first)
    if changed:
        RemoveUnusedNodesPass()(model)
    return changed


def _is_view(node: ir.Node) -> bool:
    """Whether the node gives the elements of its first input in their order."""
    if node.domain:
        return False
    if node.op_type == "Transpose":
        return _keeps_order(node)
    return node.op_type in _RESHAPING or (node.op_type == "Slice" and _takes_all(node))


def _keeps_order(transpose: ir.Node) -> bool:
    sizes = _sizes(operand(transpose, 0))
    if sizes is None:
        return False
    order = transpose.attributes.get_ints("perm", tuple(reversed(range(len(sizes)))))
    moved = [axis for axis in order if sizes[axis] != 1]
    return moved == sorted(moved)


def _takes_all(part: ir.Node) -> bool:
    """Whether a Slice gives all of its input, and not backwards."""
    before, after = _sizes(operand(part, 0)), _sizes(part.outputs[0])
    if before is None or before != after:
        return False
    if len(part.inputs) < 5 or part.inputs[4] is None:
        return True
    steps = part.inputs[4].const_value
    return steps is not None and bool((steps.numpy() == 1).all())


def _sizes(value: ir.Value) -> Sizes | None:
    """Return the axes of `value`, or None if one of them is unknown."""
    if value.shape is None:
        return None
    axes = [axis if isinstance(axis, int) else axis.value for axis in value.shape]
    return None if None in axes else tuple(axes)  # type: ignore[arg-type]


def _replace(view: ir.Value, first: ir.Value) -> bool:
    """Let `first` be read in place of `view`; False if both must stay, for the names that the graph gives them."""
    if view.is_graph_output():
        if first.is_graph_input() or first.is_graph_output() or first.is_initializer():
            return False
        name, view.name = view.name, f"{view.name}.view"
        first.name = name
    elif not view.uses():
        return False
    view.replace_all_uses_with(first, replace_graph_outputs=True)
    return True
