"""ONNX operators that move a window: convolutions and pooling."""

import torch
from torch import Tensor
from torch.nn import functional

from edgernn_export.lifting.onnx_graph.values import Attributes, Given, one_tensor, tensor, text
from edgernn_runtime.errors import LiftError


def conv(attributes: Attributes, x: Given, w: Given, b: Given = None) -> Tensor:
    """Compute a convolution over one to three axes."""
    value, weight = tensor(x), tensor(w)
    spatial = weight.dim() - 2
    value, pads = _window_pads(attributes, value, list(weight.shape[2:]), 0.0)
    function = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[spatial]
    bias = None if b is None else tensor(b)
    return one_tensor(
        function(
            value,
            weight,
            bias,
            attributes.get("strides", [1] * spatial),
            pads,
            attributes.get("dilations", [1] * spatial),
            attributes.get("group", 1),
        ),
    )


def conv_transpose(attributes: Attributes, x: Given, w: Given, b: Given = None) -> Tensor:
    """Compute a transposed convolution over one or two axes."""
    value, weight = tensor(x), tensor(w)
    spatial = weight.dim() - 2
    pads = list(attributes.get("pads", [0] * (2 * spatial)))
    if text(attributes.get("auto_pad", "NOTSET")) != "NOTSET" or "output_shape" in attributes:
        raise LiftError("ConvTranspose is read with explicit pads only")
    function = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}[spatial]
    out = one_tensor(
        function(
            value,
            weight,
            None if b is None else tensor(b),
            attributes.get("strides", [1] * spatial),
            [0] * spatial,
            attributes.get("output_padding", [0] * spatial),
            attributes.get("group", 1),
            attributes.get("dilations", [1] * spatial),
        ),
    )
    for i in range(spatial):
        length = out.shape[2 + i] - pads[i] - pads[spatial + i]
        out = out.narrow(2 + i, pads[i], length) if length != out.shape[2 + i] else out
    return out


def _window_pads(attributes: Attributes, value: Tensor, kernel: list[int], fill: float) -> tuple[Tensor, list[int]]:
    """Return the padding on both sides of each spatial axis; where the sides differ, it is applied first."""
    spatial = len(kernel)
    mode = text(attributes.get("auto_pad", "NOTSET"))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        strides, dilations = (attributes.get(each, [1] * spatial) for each in ("strides", "dilations"))
        pads = [0] * (2 * spatial)
        for i, size in enumerate(value.shape[2:]):
            total = max(0, (-(-size // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size)
            small, large = total // 2, total - total // 2
            pads[i], pads[spatial + i] = (small, large) if mode == "SAME_UPPER" else (large, small)
    else:
        pads = list(attributes.get("pads", [0] * (2 * spatial)))
    begins, ends = pads[:spatial], pads[spatial:]
    if begins == ends:
        return value, begins
    flat = [size for i in reversed(range(spatial)) for size in (begins[i], ends[i])]
    return functional.pad(value, flat, value=fill), [0] * spatial


def max_pool(attributes: Attributes, x: Given) -> Tensor:
    """Compute maximum pooling over one or two axes."""
    value, kernel = tensor(x), list(attributes["kernel_shape"])
    value, pads = _window_pads(attributes, value, kernel, float(torch.finfo(value.dtype).min))
    function = {1: functional.max_pool1d, 2: functional.max_pool2d}[len(kernel)]
    ones = [1] * len(kernel)
    return one_tensor(
        function(
            value,
            kernel,
            attributes.get("strides", ones),
            pads,
            attributes.get("dilations", ones),
            ceil_mode=bool(attributes.get("ceil_mode", 0)),
        ),
    )


def average_pool(attributes: Attributes, x: Given) -> Tensor:
    """Compute average pooling over one or two axes."""
    value, kernel = tensor(x), list(attributes["kernel_shape"])
    value, pads = _window_pads(attributes, value, kernel, 0.0)
    function = {1: functional.avg_pool1d, 2: functional.avg_pool2d}[len(kernel)]
    return one_tensor(
        function(
            value,
            kernel,
            attributes.get("strides", [1] * len(kernel)),
            pads,
            ceil_mode=bool(attributes.get("ceil_mode", 0)),
            count_include_pad=bool(attributes.get("count_include_pad", 0)),
        ),
    )
