"""Gemm becomes MatMul and Add, the form in which the other passes and the quantizers read products."""

import onnx_ir as ir

from edgernn_export.passes.edit import add_constant, constant_of, nodes_of, operand, replace


def split_gemm(model: ir.Model) -> bool:
    """Turn `Gemm(x, W, b)` with a constant `W` and no scaling into `Add(MatMul(x, W), b)`; products share their `W`."""
    gemms = [node for node in nodes_of(model.graph, "Gemm") if _is_plain(node)]
    transposed: dict[ir.Value, ir.Value] = {}
    for node in gemms:
        weight_value = operand(node, 1)
        weight = constant_of(weight_value)
        assert weight is not None  # noqa: S101, _is_plain says so
        if node.attributes.get_int("transB", 0):
            if weight_value not in transposed:
                transposed[weight_value] = add_constant(model.graph, f"{weight_value.name}.T", weight.T)
            weight_value = transposed[weight_value]
        nodes = [ir.node("MatMul", [operand(node, 0), weight_value])]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            nodes.append(ir.node("Add", [nodes[0].outputs[0], node.inputs[2]]))
        replace(model.graph, node, nodes, [nodes[-1].outputs[0]])
    return bool(gemms)


def _is_plain(node: ir.Node) -> bool:
    scaled = node.attributes.get_float("alpha", 1.0) != 1 or node.attributes.get_float("beta", 1.0) != 1
    transposed = node.attributes.get_int("transA", 0)
    return not scaled and not transposed and constant_of(node.inputs[1]) is not None
