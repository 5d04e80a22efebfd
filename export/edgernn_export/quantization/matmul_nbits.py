"""Products with constant matrices become ONNX Runtime's MatMulNBits."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from edgernn_export.passes.edit import add_constant, constant_of, nodes_of, only_user, operand, replace
from edgernn_export.quantization.blocks import Bits, dequantize_blocks, quantize_blocks
from edgernn_runtime.errors import QuantizationError

DOMAIN: Final = "com.microsoft"
INT8_ACTIVATIONS: Final = 4
"""The accuracy level at which activations are rounded to int8 as well, per row and block."""

SMALLEST_BLOCK: Final = 16
"""What MatMulNBits takes at least; a block is a power of two, and none is padded to twice its rows."""


@dataclass(frozen=True, slots=True)
class QuantizedNode:
    """One product that was quantized.

    Attributes:
        name: The name of its weights.
        shape: Their shape `[K, N]`.
        max_error: The largest absolute error of a weight.
    """

    name: str
    shape: tuple[int, int]
    max_error: float


def to_matmul_nbits(model: ir.Model, *, bits: Bits, block: int) -> tuple[QuantizedNode, ...]:
    """Replace every `MatMul(x, W)` with a constant matrix, and the bias added to it, by MatMulNBits.

    Args:
        model: The step graph, changed in place.
        bits: Bits of a weight.
        block: Weights along K that share a scale, a power of two; fewer where K is smaller.

    Returns:
        What was quantized; empty if the graph has no such product.

    Raises:
        QuantizationError: If a weight is NaN or infinite.
    """
    done = []
    for node in nodes_of(model.graph, "MatMul"):
        weight = constant_of(node.inputs[1])
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            continue
        if not np.isfinite(weight).all():
            raise QuantizationError(f"{operand(node, 1).name} holds NaN or infinity, so it cannot be quantized")
        done.append(_replace_product(model.graph, node, weight.astype(np.float32), bits=bits, block=block))
    if done:
        model.opset_imports[DOMAIN] = 1
    return tuple(done)


def _replace_product(
    graph: ir.Graph, node: ir.Node, weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, bits: Bits, block: int
) -> QuantizedNode:
    rows, columns = weight.shape
    name = str(operand(node, 1).name)
    block = min(block, max(SMALLEST_BLOCK, 1 << (rows - 1).bit_length()))
    blocks = quantize_blocks(weight, bits=bits, block=block)
    constants = [
        add_constant(graph, f"{name}.{part}", array)
        for part, array in (
            (f"q{bits}", blocks.packed),
            ("scales", blocks.scales.reshape(-1)),
            ("zero_points", blocks.zero_points.reshape(-1)),
        )
    ]
    last, bias = _bias(node, columns)
    inputs = [operand(node, 0), *constants, *([None, bias] if bias is not None else [])]
    attributes = {"K": rows, "N": columns, "bits": bits, "block_size": block, "accuracy_level": INT8_ACTIVATIONS}
    product = ir.node("MatMulNBits", inputs, attributes, domain=DOMAIN)
    replace(graph, last, [product], [product.outputs[0]])
    error = float(np.abs(dequantize_blocks(blocks) - weight).max())
    return QuantizedNode(name, (rows, columns), error)


def _bias(product: ir.Node, columns: int) -> tuple[ir.Node, ir.Value | None]:
    """Return the last node that MatMulNBits stands for, and the bias that it adds."""
    add = only_user(product.outputs[0])
    if add is not None and add.op_type == "Add":
        for value in (operand(add, 0), operand(add, 1)):
            constant = constant_of(value)
            if constant is not None and constant.shape == (columns,):
                return add, value
    return product, None
