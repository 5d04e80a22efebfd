"""Distributions of numbers: how an output parametrises them, and how a value is drawn.

Tokens are drawn by a `Sampler`. The parameters of a value of shape `[...]` lie in the axes behind it:

- `bernoulli` `[...]`: the logit of 1 against 0.
- `gaussian` `[..., 2]`: the mean, and the logarithm of the standard deviation.
- `logistic_mixture` `[..., components, 3]`: a component's logit, its mean, and the logarithm of its scale.
- `none` `[...]`: the value itself.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

PARAMETER_AXES: Final[Mapping[str, int]] = {"none": 0, "bernoulli": 0, "gaussian": 1, "logistic_mixture": 2}
"""Axes that the parameters have behind those of the value, by distribution."""

UNIFORMS: Final[Mapping[str, int]] = {"none": 0, "bernoulli": 1, "gaussian": 2, "logistic_mixture": 2}
"""Uniforms that one number takes, by distribution."""

_TINY: Final = 2.0**-25  # half of the smallest uniform above zero


def draw(distribution: str, parameters: Values, uniforms: Values, *, temperature: float) -> Values:
    """Return a value drawn from a distribution, float32 `[...]`.

    Args:
        distribution: Its name.
        parameters: What the model gave, float32, laid out as above.
        uniforms: Numbers in [0, 1), `[n]`: as many as `UNIFORMS` says for each number of the value, the first ones
            of all numbers before the second ones.
        temperature: Scales the deviation, and divides logits; 0 takes the mean, or the more probable value.
    """
    return np.asarray(_DRAW[distribution](parameters, uniforms, temperature))


def _draw_none(parameters: Values, _: Values, __: float) -> Values:
    return np.array(parameters)


def _draw_bernoulli(logits: Values, uniforms: Values, temperature: float) -> Values:
    if temperature == 0:
        return (logits > 0).astype(np.float32)
    u = uniforms.reshape(logits.shape).astype(np.float64)
    return np.asarray(np.log(u + _TINY) - np.log1p(-u) < logits / temperature, np.float32)


def _draw_gaussian(parameters: Values, uniforms: Values, temperature: float) -> Values:
    mean, log_deviation = parameters[..., 0], parameters[..., 1]
    if temperature == 0:
        return np.array(mean)
    noise = normals(uniforms).reshape(mean.shape)
    value: Values = (mean + temperature * np.exp(log_deviation) * noise).astype(np.float32)
    return value


def _draw_logistic_mixture(parameters: Values, uniforms: Values, temperature: float) -> Values:
    logits, means, log_scales = parameters[..., 0], parameters[..., 1], parameters[..., 2]  # [..., components]
    first, second = uniforms.astype(np.float64).reshape(2, *logits.shape[:-1])
    if temperature == 0:
        chosen = logits.argmax(-1)
    else:
        weights = np.exp((logits - logits.max(-1, keepdims=True)) / temperature).cumsum(-1, dtype=np.float64)
        chosen = np.minimum((weights <= first[..., None] * weights[..., -1:]).sum(-1), logits.shape[-1] - 1)
    mean, log_scale = (np.take_along_axis(each, chosen[..., None], -1)[..., 0] for each in (means, log_scales))
    noise = np.log(second + _TINY) - np.log1p(-second)
    value: Values = (mean + temperature * np.exp(log_scale) * noise).astype(np.float32)
    return value


_DRAW: Final[Mapping[str, Callable[[Values, Values, float], Values]]] = {
    "none": _draw_none,
    "bernoulli": _draw_bernoulli,
    "gaussian": _draw_gaussian,
    "logistic_mixture": _draw_logistic_mixture,
}


def normals(uniforms: Values) -> Values:
    """Return standard normal numbers, float32 `[n]`, from uniforms `[2 n]` by Box and Muller (1958).

    >>> normals(np.array([0.5, 0.0], np.float32)).astype(float).round(4).tolist()
    [1.1774]
    """
    first, second = uniforms.astype(np.float64).reshape(2, -1)
    made: Values = (np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * math.pi * second)).astype(np.float32)
    return made
