"""Blocked weights in ONNX Runtime's own operators: MatMulNBits for products, GatherBlockQuantized for tables."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgernn_export.passes.edit import add_constants, constant_of, only_user, operand, replace
from edgernn_export.quantization.blocks import Blocks
from edgernn_export.quantization.weights import Weight, users_of

DOMAIN: Final = "com.microsoft"
INT8_ACTIVATIONS: Final = 4
"""The accuracy level at which activations are rounded to int8 as well, per row and block."""


def multiply_blocks(model: ir.Model, weight: Weight, blocks: Blocks) -> None:
    """Turn every `MatMul(x, W)`, and the bias added to it, into MatMulNBits."""
    scales, zero_points = blocks.scales.reshape(-1), blocks.zero_points.reshape(-1)
    parts: Mapping[str, NDArray[np.generic]] = {
        f"q{blocks.bits}": blocks.packed,
        "scales": scales,
        "zero_points": zero_points,
    }
    constants = add_constants(model.graph, weight.name, parts)
    rows, columns = weight.array.shape
    attributes = {
        "K": rows,
        "N": columns,
        "bits": blocks.bits,
        "block_size": blocks.block,
        "accuracy_level": INT8_ACTIVATIONS,
    }
    for node in users_of(model, weight):
        last, bias = _bias(node, columns)
        inputs = [operand(node, 0), *constants, *([None, bias] if bias is not None else [])]
        product = ir.node("MatMulNBits", inputs, attributes, domain=DOMAIN)
        replace(model.graph, last, [product], [product.outputs[0]])
    model.opset_imports[DOMAIN] = 1


def look_up_blocks(model: ir.Model, weight: Weight, blocks: Blocks) -> None:
    """Turn every `Gather(T, index)` into GatherBlockQuantized; `blocks` are those of the transposed table."""
    rows, columns = weight.array.shape
    codes = blocks.packed.reshape(rows, -1)[:, : columns * blocks.bits // 8]
    parts: Mapping[str, NDArray[np.generic]] = {
        f"q{blocks.bits}": codes,
        "scales": blocks.scales,
        "zero_points": blocks.zero_points,
    }
    constants = add_constants(model.graph, weight.name, parts)
    attributes = {"bits": blocks.bits, "block_size": blocks.block, "gather_axis": 0, "quantize_axis": 1}
    for node in users_of(model, weight):
        inputs = [constants[0], operand(node, 1), *constants[1:]]
        lookup = ir.node("GatherBlockQuantized", inputs, attributes, domain=DOMAIN)
        replace(model.graph, node, [lookup], [lookup.outputs[0]])
    model.opset_imports[DOMAIN] = 1


def _bias(product: ir.Node, columns: int) -> tuple[ir.Node, ir.Value | None]:
    """Return the last node that MatMulNBits stands for, and the bias that it adds."""
    add = only_user(product.outputs[0])
    if add is not None and add.op_type == "Add":
        for value in (operand(add, 0), operand(add, 1)):
            constant = constant_of(value)
            if constant is not None and constant.shape == (columns,):
                return add, value
    return product, None
