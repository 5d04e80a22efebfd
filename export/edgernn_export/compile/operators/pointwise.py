"""Operators that work element by element: each is one C expression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from edgernn_export.compile.builder import Builder, Node, Operator
from edgernn_export.compile.literals import literal
from edgernn_export.compile.program import C_TYPES, Tensor

_SAME: Final = ""
_UNSIGNED: Final = {"int64": "uint64_t"} | dict.fromkeys(("int32", "int8", "uint8"), "uint32_t")


@dataclass(frozen=True, slots=True)
class _Form:
    """The C expression of an operator.

    Attributes:
        template: The expression, for floating operands.
        whole: The expression for integers, where it is another one; None if it takes no integers. `[unsigned]` is the
            type in which they wrap around: C leaves the overflow of signed integers undefined.
        dtype: The dtype of the result; empty for that of the last operand.
    """

    template: str
    whole: str | None = _SAME
    dtype: str = _SAME


def _both(template: str) -> _Form:
    return _Form(template)


def _wrapping(template: str) -> _Form:
    return _Form(template, f"([unsigned]){template}")


def _real(template: str) -> _Form:
    return _Form(template, whole=None)


def _truth(template: str) -> _Form:
    return _Form(template, dtype="bool")


_FORMS: Final[Mapping[str, _Form]] = {
    "Add": _wrapping("{0} + {1}"),
    "Sub": _wrapping("{0} - {1}"),
    "Mul": _wrapping("{0} * {1}"),
    "Div": _both("{0} / {1}"),
    "Neg": _Form("-{0}", "0 - ([unsigned]){0}"),
    "Abs": _Form("fabsf({0})", "{0} < 0 ? 0 - ([unsigned]){0} : ([unsigned]){0}"),
    "Sign": _Form("{0} > 0 ? 1.0f : {0} < 0 ? -1.0f : {0} == 0 ? 0.0f : {0}", "({0} > 0) - ({0} < 0)"),
    "Relu": _both("{0} < 0 ? 0 : {0}"),
    "Pow": _real("powf({0}, {1})"),
    "PRelu": _real("{0} < 0 ? {0} * {1} : {0}"),
    "Reciprocal": _real("1.0f / {0}"),
    "Sqrt": _real("sqrtf({0})"),
    "Exp": _real("exp_f32({0})"),
    "Log": _real("logf({0})"),
    "Sigmoid": _real("sigmoid_f32({0})"),
    "Tanh": _real("tanh_f32({0})"),
    "Sin": _real("sinf({0})"),
    "Cos": _real("cosf({0})"),
    "Tan": _real("tanf({0})"),
    "Asin": _real("asinf({0})"),
    "Acos": _real("acosf({0})"),
    "Atan": _real("atanf({0})"),
    "Sinh": _real("sinhf({0})"),
    "Cosh": _real("coshf({0})"),
    "Asinh": _real("asinhf({0})"),
    "Acosh": _real("acoshf({0})"),
    "Atanh": _real("atanhf({0})"),
    "Erf": _real("erff({0})"),
    "Floor": _real("floorf({0})"),
    "Ceil": _real("ceilf({0})"),
    "Round": _real("rintf({0})"),
    "Softsign": _real("{0} / (1.0f + fabsf({0}))"),
    "Softplus": _real("fmaxf({0}, 0.0f) + log1pf(exp_f32(-fabsf({0})))"),
    "HardSwish": _real("{0} * fminf(fmaxf({0} / 6.0f + 0.5f, 0.0f), 1.0f)"),
    "Mish": _real("{0} * tanh_f32(fmaxf({0}, 0.0f) + log1pf(exp_f32(-fabsf({0}))))"),
    "IsNaN": _truth("{0} != {0}"),
    "Equal": _truth("{0} == {1}"),
    "Less": _truth("{0} < {1}"),
    "LessOrEqual": _truth("{0} <= {1}"),
    "Greater": _truth("{0} > {1}"),
    "GreaterOrEqual": _truth("{0} >= {1}"),
    "Not": _truth("!{0}"),
    "And": _truth("{0} && {1}"),
    "Or": _truth("{0} || {1}"),
    "Xor": _truth("{0} != {1}"),
    "Where": _both("{0} ? {1} : {2}"),
}


def _pointwise(builder: Builder, node: Node) -> None:
    """Bind the expression of `_FORMS`."""
    form = _FORMS[node.operator]
    what = "bias" if node.operator == "Add" else "values"
    _bind(builder, node, form, [builder.tensor(name, what) for name in node.inputs])


def _bind(builder: Builder, node: Node, form: _Form, operands: list[Tensor]) -> None:
    dtype = operands[-1].dtype
    template = form.template if dtype.startswith("float") else form.whole or form.template
    single = "f32(" in template or "f(" in template
    for operand in operands:
        real = operand.dtype.startswith("float")
        if (form.whole is None and not real) or (single and real and operand.dtype != "float32"):
            node.refuse(f"takes float32, got {operand.dtype}; export it with float32")
    if "[unsigned]" in template or (dtype in ("int8", "uint8") and not form.dtype):
        template = f"({C_TYPES[dtype]})({template})".replace("[unsigned]", _UNSIGNED[dtype])
    result = builder.pointwise(template, *operands, dtype=form.dtype or dtype, name=_variable(node))
    builder.bind(node.outputs[0], result)


def _variable(node: Node) -> str:
    return {"Where": "chosen", "Not": "opposite", "And": "both", "Or": "either", "Xor": "one"}.get(
        node.operator, node.operator.lower()
    )


def _folded(template: str, whole: str = _SAME) -> Operator:
    """Return the operator that takes any number of inputs, two at a time; `whole` as in `_Form`."""

    def operator(builder: Builder, node: Node) -> None:
        first, *others = (builder.tensor(name) for name in node.inputs)
        chosen = template if first.dtype.startswith("float") else whole or template
        for other in others:
            first = builder.pointwise(chosen, first, other, dtype=first.dtype, name=node.operator.lower())
        builder.bind(node.outputs[0], first)

    return operator


def _mean(builder: Builder, node: Node) -> None:
    operands = [builder.tensor(name) for name in node.inputs]
    total = " + ".join(f"{{{i}}}" for i in range(len(operands)))
    mean = builder.pointwise(f"({total}) / {len(operands)}.0f", *operands, dtype="float32", name="mean")
    builder.bind(node.outputs[0], mean)


def _clip(builder: Builder, node: Node) -> None:
    """Keep the input between two bounds, of which either may be left out."""
    value = builder.tensor(node.inputs[0])
    for name, template in zip(node.inputs[1:], ("{0} < {1} ? {1} : {0}", "{0} > {1} ? {1} : {0}"), strict=False):
        if name:
            value = builder.pointwise(template, value, builder.tensor(name), dtype=value.dtype, name="clip")
    builder.bind(node.outputs[0], value)


def _cast(builder: Builder, node: Node) -> None:
    value = builder.tensor(node.inputs[0])
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(node.integer("to")))
    if dtype not in C_TYPES:
        node.refuse(f"makes {dtype}, which compiled models cannot hold; they have {', '.join(C_TYPES)}")
    if dtype == value.dtype:
        builder.bind(node.outputs[0], value)
        return
    template = "{0} != 0" if dtype == "bool" else f"({C_TYPES[dtype]}){{0}}"
    builder.bind(node.outputs[0], builder.pointwise(template, value, dtype=dtype, name="cast"))


def _with(template: str, **defaults: float) -> Operator:
    """Return an operator whose attributes are part of its expression."""

    def operator(builder: Builder, node: Node) -> None:
        text = template
        for name, default in defaults.items():
            text = text.replace(f"[{name}]", literal(np.float32(node.number(name, default))))
        _bind(builder, node, _real(text), [builder.tensor(node.inputs[0])])

    return operator


def _gelu(builder: Builder, node: Node) -> None:
    exact = "0.5f * {0} * (1.0f + erff({0} * 0.707106781f))"
    close = "0.5f * {0} * (1.0f + tanh_f32(0.797884561f * ({0} + 0.044715f * {0} * {0} * {0})))"
    template = close if node.text("approximate", "none") == "tanh" else exact
    _bind(builder, node, _real(template), [builder.tensor(node.inputs[0])])


def _mod(builder: Builder, node: Node) -> None:
    """The remainder, with the divisor's sign for integers unless `fmod` is set."""
    value, divisor = (builder.tensor(name) for name in node.inputs)
    if node.integer("fmod", 0) or value.dtype in ("float32", "uint8"):
        _bind(builder, node, _Form("fmodf({0}, {1})", "{0} % {1}"), [value, divisor])
        return
    rest = builder.pointwise("{0} % {1}", value, divisor, dtype=value.dtype, name="rest")
    known = divisor.constant
    wrong = "{0} && ({0} < 0) != ({1} < 0)" if known is None or np.any(np.sign(known) < 0) else "{0} < 0"
    _bind(builder, node, _both(f"{wrong} ? {{0}} + {{1}} : {{0}}"), [rest, divisor])


def _infinite(builder: Builder, node: Node) -> None:
    """Whether an element is infinite, of the signs that the node detects."""
    signs = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    template = _INFINITE.get(signs) or node.refuse("must detect infinity of one sign at least")
    _bind(builder, node, _Form(template, whole=None, dtype="bool"), [builder.tensor(node.inputs[0])])


_INFINITE: Final = {
    (1, 1): "fabsf({0}) == INFINITY",
    (0, 1): "{0} == INFINITY",
    (1, 0): "{0} == -INFINITY",
}
"""By whether negative and positive infinity are meant."""


OPERATORS: Final[Mapping[str, Operator]] = {
    **dict.fromkeys(_FORMS, _pointwise),
    "Max": _folded("{0} > {1} || {0} != {0} ? {0} : {1}", "{0} > {1} ? {0} : {1}"),
    "Min": _folded("{0} < {1} || {0} != {0} ? {0} : {1}", "{0} < {1} ? {0} : {1}"),
    "Sum": _folded("{0} + {1}"),
    "Mean": _mean,
    "Clip": _clip,
    "Cast": _cast,
    "Gelu": _gelu,
    "Mod": _mod,
    "IsInf": _infinite,
    "LeakyRelu": _with("{0} < 0 ? [alpha] * {0} : {0}", alpha=0.01),
    "Elu": _with("{0} < 0 ? [alpha] * (exp_f32({0}) - 1.0f) : {0}", alpha=1.0),
    "Celu": _with("{0} < 0 ? [alpha] * (exp_f32({0} / [alpha]) - 1.0f) : {0}", alpha=1.0),
    "Selu": _with("[gamma] * ({0} < 0 ? [alpha] * (exp_f32({0}) - 1.0f) : {0})", alpha=1.6732632, gamma=1.0507010),
    "ThresholdedRelu": _with("{0} > [alpha] ? {0} : 0.0f", alpha=1.0),
    "HardSigmoid": _with("{0} != {0} ? {0} : fminf(fmaxf([alpha] * {0} + [beta], 0.0f), 1.0f)", alpha=0.2, beta=0.5),
}
