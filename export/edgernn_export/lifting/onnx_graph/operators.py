"""ONNX operators in torch: what a sequence graph is made of, one function each.

A function takes the attributes of the node and its inputs, and returns its output or a tuple of them. Inputs that
are sizes, axes or scalars come as numpy arrays; tensors may be either and are converted where they are used.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

from edgernn_export.lifting.onnx_graph.values import Attributes, Given, Operator, numbers, one_tensor, tensor, text
from edgernn_export.lifting.onnx_graph.windows import average_pool, conv, conv_transpose, max_pool
from edgernn_runtime.errors import LiftError


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda _, x: function(tensor(x))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda _, x, y: function(tensor(x), tensor(y))


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def apply(_: Attributes, *values: Given) -> Tensor:
        result = tensor(values[0])
        for value in values[1:]:
            result = function(result, tensor(value))
        return result

    return apply


def _divide(left: Tensor, right: Tensor) -> Tensor:
    return left / right if left.dtype.is_floating_point else torch.div(left, right, rounding_mode="trunc")


def _cast(attributes: Attributes, x: Given, *_: Given) -> Tensor:
    name = np.dtype(helper.tensor_dtype_to_np_dtype(attributes["to"])).name
    return tensor(x).to(getattr(torch, name))


def _clip(attributes: Attributes, x: Given, low: Given = None, high: Given = None) -> Tensor:
    least = attributes.get("min") if low is None else tensor(low).item()
    most = attributes.get("max") if high is None else tensor(high).item()
    return torch.clamp(tensor(x), least, most)


def _reshape(attributes: Attributes, x: Given, shape: Given = None) -> Tensor:
    value = tensor(x)
    sizes = list(attributes["shape"]) if shape is None else numbers(shape, "the shape of a Reshape")
    if not attributes.get("allowzero"):
        sizes = [value.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return value.reshape(sizes)


def _transpose(attributes: Attributes, x: Given) -> Tensor:
    value = tensor(x)
    return value.permute(attributes.get("perm") or list(range(value.dim()))[::-1])


def _axes(attributes: Attributes, axes: Given) -> list[int] | None:
    if axes is not None:
        return numbers(axes, "an axis")
    return attributes.get("axes")


def _squeeze(attributes: Attributes, x: Given, axes: Given = None) -> Tensor:
    value, found = tensor(x), _axes(attributes, axes)
    return value.squeeze() if found is None else value.squeeze(tuple(found))


def _unsqueeze(attributes: Attributes, x: Given, axes: Given = None) -> Tensor:
    value, found = tensor(x), _axes(attributes, axes) or []
    rank = value.dim() + len(found)
    for axis in sorted(each % rank for each in found):
        value = value.unsqueeze(axis)
    return value


def _flatten(attributes: Attributes, x: Given) -> Tensor:
    value, axis = tensor(x), attributes.get("axis", 1)
    axis = axis % value.dim() if axis < 0 else axis
    sizes = value.shape
    return value.reshape(int(np.prod(sizes[:axis])), int(np.prod(sizes[axis:])))


def _concat(attributes: Attributes, *values: Given) -> Tensor:
    return torch.cat([tensor(value) for value in values], attributes["axis"])


def _split(attributes: Attributes, x: Given, sizes: Given = None) -> tuple[Tensor, ...]:
    value, axis = tensor(x), attributes.get("axis", 0)
    parts = attributes.get("split") if sizes is None else numbers(sizes, "the sizes of a Split")
    count = attributes["outputs"]
    return tuple(torch.split(value, list(parts), axis) if parts else value.chunk(count, axis))


def _slice(attributes: Attributes, x: Given, *ranges: Given) -> Tensor:
    starts, ends, axes, steps = [*ranges, None, None, None, None][:4]
    value = tensor(x)
    begin = attributes["starts"] if starts is None else numbers(starts, "the start of a Slice")
    stop = attributes["ends"] if ends is None else numbers(ends, "the end of a Slice")
    along = _axes(attributes, axes) or list(range(len(begin)))
    stride = [1] * len(begin) if steps is None else numbers(steps, "the step of a Slice")
    for start, end, axis, step in zip(begin, stop, along, stride, strict=True):
        length = value.shape[axis]
        first, last, _ = slice(start, end, step).indices(length)
        if step > 0:
            value = torch.ops.aten.slice.Tensor(value, axis, first, max(first, last), step)
        else:
            count = len(range(first, last, step))
            flipped = value.flip(axis)
            value = torch.ops.aten.slice.Tensor(
                flipped, axis, length - 1 - first, length - 1 - first - (count - 1) * step + 1, -step
            )
    return value


def _gather(attributes: Attributes, x: Given, indices: Given) -> Tensor:
    value, axis = tensor(x), attributes.get("axis", 0)
    if not isinstance(indices, Tensor):
        array = np.asarray(indices)
        if array.ndim == 0:
            return value.select(axis, int(array))
        if array.size == 1:
            start = int(array.reshape(-1)[0]) % value.shape[axis]
            return value.narrow(axis, start, 1).reshape(*value.shape[:axis], *array.shape, *value.shape[axis + 1 :])
    index = tensor(indices)
    if axis == 0 and value.dim() == 2:
        return functional.embedding(index, value)
    picked = value.index_select(axis, index.reshape(-1))
    axis %= value.dim()
    return picked.reshape(*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])


def _expand(_: Attributes, x: Given, shape: Given) -> Tensor:
    value, sizes = tensor(x), numbers(shape, "the shape of an Expand")
    return value.expand(np.broadcast_shapes(tuple(value.shape), tuple(sizes)))


def _tile(_: Attributes, x: Given, repeats: Given) -> Tensor:
    return tensor(x).repeat(numbers(repeats, "the repeats of a Tile"))


def _pad(attributes: Attributes, x: Given, pads: Given = None, fill: Given = None, axes: Given = None) -> Tensor:
    value = tensor(x)
    sizes = attributes["pads"] if pads is None else numbers(pads, "the sizes of a Pad")
    along = list(range(value.dim())) if axes is None else [axis % value.dim() for axis in numbers(axes, "an axis")]
    sides = dict.fromkeys(range(value.dim()), (0, 0))
    sides.update({axis: (sizes[i], sizes[i + len(along)]) for i, axis in enumerate(along)})
    flat = [size for axis in reversed(range(value.dim())) for size in sides[axis]]
    named = text(attributes.get("mode", "constant"))
    mode = {"edge": "replicate", "wrap": "circular"}.get(named, named)
    if mode == "constant":
        return functional.pad(value, flat, value=0.0 if fill is None else tensor(fill).item())
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    wide = value.unsqueeze(0) if value.dim() == 2 and len(flat) == 2 else value
    return functional.pad(wide, flat, mode=mode).reshape(
        [size + sum(sides[axis]) for axis, size in enumerate(value.shape)]
    )


def _cumsum(attributes: Attributes, x: Given, axis: Given) -> Tensor:
    if attributes.get("exclusive") or attributes.get("reverse"):
        raise LiftError("CumSum with exclusive or reverse set is not read; use a plain one")
    return tensor(x).cumsum(numbers(axis, "the axis of a CumSum")[0])


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def apply(attributes: Attributes, x: Given, axes: Given = None) -> Tensor:
        value, found = tensor(x), _axes(attributes, axes)
        if found is None and attributes.get("noop_with_empty_axes"):
            return value
        return function(value, found or list(range(value.dim())), bool(attributes.get("keepdims", 1)))

    return apply


def _argmax(attributes: Attributes, x: Given) -> Tensor:
    return tensor(x).argmax(attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    def apply(attributes: Attributes, x: Given) -> Tensor:
        value = tensor(x)
        if attributes["opset"] >= 13:
            return function(value, attributes.get("axis", -1))
        axis = attributes.get("axis", 1) % value.dim()
        flat = function(value.flatten(axis), -1) if axis < value.dim() - 1 else function(value, -1)
        return flat.reshape(value.shape)

    return apply


def _matmul(_: Attributes, x: Given, y: Given) -> Tensor:
    return tensor(x) @ tensor(y)


def _gemm(attributes: Attributes, x: Given, y: Given, z: Given = None) -> Tensor:
    left, right = tensor(x), tensor(y)
    left = left.t() if attributes.get("transA") else left
    weight = right if attributes.get("transB") else right.t()
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    if alpha == beta == 1.0 and z is not None and tensor(z).dim() == 1:
        return functional.linear(left, weight, tensor(z))
    product = functional.linear(left, weight) * alpha
    return product if z is None else product + tensor(z) * beta


def _batch_norm(attributes: Attributes, x: Given, *statistics: Given) -> Tensor:
    scale, bias, mean, var = (tensor(each) for each in statistics[:4])
    parts = (mean, var, scale, bias)
    return functional.batch_norm(tensor(x), *parts, eps=attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Attributes, x: Given, scale: Given, bias: Given = None) -> Tensor:
    value = tensor(x)
    axis = attributes.get("axis", -1) % value.dim()
    shape, eps = list(value.shape[axis:]), attributes.get("epsilon", 1e-5)
    return functional.layer_norm(value, shape, tensor(scale), None if bias is None else tensor(bias), eps)


def _instance_norm(attributes: Attributes, x: Given, scale: Given, bias: Given) -> Tensor:
    eps = attributes.get("epsilon", 1e-5)
    return functional.instance_norm(tensor(x), weight=tensor(scale), bias=tensor(bias), eps=eps)


def _where(_: Attributes, condition: Given, x: Given, y: Given) -> Tensor:
    return torch.where(tensor(condition), tensor(x), tensor(y))


def _prelu(_: Attributes, x: Given, slope: Given) -> Tensor:
    value = tensor(x)
    return torch.where(value >= 0, value, value * tensor(slope))


def _einsum(attributes: Attributes, *values: Given) -> Tensor:
    return one_tensor(torch.einsum(text(attributes["equation"]), *[tensor(value) for value in values]))


def _constant_of_shape(attributes: Attributes, shape: Given) -> Tensor:
    value = attributes.get("value")
    fill = torch.zeros(1) if value is None else torch.tensor(np.array(value))
    sizes = numbers(shape, "the shape of a ConstantOfShape")
    return torch.full(sizes, fill.reshape(-1)[0].item(), dtype=fill.dtype)


def _square_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001, as all reductions
    return (x * x).sum(axes, keepdim=keep)


def _scalar(attributes: Attributes, name: str, default: float) -> float:
    return float(attributes.get(name, default))


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "ArgMax": _argmax,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _unary(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Cos": _unary(torch.cos),
    "CumSum": _cumsum,
    "Div": _binary(_divide),
    "Dropout": lambda _, x, *__: tensor(x),
    "Einsum": _einsum,
    "Elu": lambda a, x: functional.elu(tensor(x), _scalar(a, "alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "Gelu": lambda a, x: functional.gelu(tensor(x), approximate=text(a.get("approximate", "none"))),
    "Gemm": _gemm,
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "HardSigmoid": lambda a, x: torch.clamp(_scalar(a, "alpha", 0.2) * tensor(x) + _scalar(a, "beta", 0.5), 0.0, 1.0),
    "HardSwish": _unary(functional.hardswish),
    "Identity": lambda _, x: tensor(x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(tensor(x), _scalar(a, "alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _matmul,
    "Max": _many(torch.maximum),
    "MaxPool": max_pool,
    "Min": _many(torch.minimum),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary(torch.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, axes, keep: _square_sum(x, axes, keep).sqrt()),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduce(_square_sum),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Round": _unary(torch.round),
    "Selu": _unary(functional.selu),
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(functional.softplus),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _many(torch.add),
    "Tanh": _unary(torch.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(torch.logical_xor),
}
