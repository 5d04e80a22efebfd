"""Likelihood: how probable a model held what came, measured the way a device runs it, step by step."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.outputs import outputs_along
from edgernn_export.recording import Recording
from edgernn_runtime.distributions import PARAMETER_AXES
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec

_BLOCK: Final = 256

Numbers = NDArray[np.float64]


def perplexity(engine: Engine, recording: Recording) -> float:
    """Return exp of `mean_nats`; for text, per token."""
    return math.exp(mean_nats(engine, recording))


def mean_nats(engine: Engine, recording: Recording) -> float:
    """Return the mean negative log-likelihood of the scored targets, in nats per step.

    Args:
        engine: A model whose output parametrises a distribution.
        recording: What it is fed, and the targets.

    Raises:
        InputError: As `step_nats` does, or if the recording does not fit the model.
    """
    return float(step_nats(engine.spec, outputs_along(engine, recording), recording).mean())


def step_nats(spec: Spec, outputs: Array, recording: Recording) -> Numbers:
    """Return the negative log-likelihood of each scored target, in nats, summed over its values, `[scored]`.

    Args:
        spec: The Spec of a model whose output parametrises a distribution.
        outputs: Its main outputs along the recording, `[steps, ...]`.
        recording: The targets.

    Raises:
        InputError: If the model has no distribution, or the recording no targets, or other ones.
    """
    if spec.distribution not in _NATS:
        raise InputError(f"the likelihood of a model with the distribution {spec.distribution} is not defined")
    if recording.targets is None or not recording.scored.any():
        raise InputError("the recording has no targets, so no likelihood can be measured")
    _check_targets(spec, recording.targets[recording.scored].astype(np.float64))
    nats = _NATS[spec.distribution]
    parts = []
    for start in range(0, len(recording), _BLOCK):
        scored = recording.scored[start : start + _BLOCK]
        rows = outputs[start : start + _BLOCK][scored].astype(np.float64)
        targets = recording.targets[start : start + _BLOCK][scored].astype(np.float64)
        parts.append(nats(rows, targets).reshape(len(rows), -1).sum(axis=1))
    return np.concatenate(parts)


def kl_nats(before: Array, after: Array) -> float:
    """Return the mean Kullback-Leibler divergence of one model's token distributions from another's, in nats per step.

    Args:
        before: Logits, floating `[steps, vocabulary]`.
        after: The other's.
    """
    total = 0.0
    for start in range(0, len(before), _BLOCK):
        logits = np.stack([before[start : start + _BLOCK], after[start : start + _BLOCK]]).astype(np.float64)
        left, right = logits - log_sum_exp(logits)[..., None]
        total += float(np.sum(np.exp(left) * (left - right)))
    return total / len(before)


def _check_targets(spec: Spec, targets: Numbers) -> None:
    """Raise an InputError if targets are not what the output's distribution is of."""
    axes = 1 if spec.distribution == "categorical" else PARAMETER_AXES[spec.distribution]
    shape = spec.main_output.sized(1)[1:]
    wanted = shape[: len(shape) - axes]
    if targets.shape[1:] != wanted:
        raise InputError(f"targets must be {['steps', *wanted]}, got {list(targets.shape)}")
    if spec.distribution == "categorical" and not (targets.min(initial=0) >= 0 and targets.max(initial=0) < shape[-1]):
        raise InputError(f"targets must lie in 0..{shape[-1] - 1}")


def _categorical(logits: Numbers, targets: Numbers) -> Numbers:
    chosen = np.take_along_axis(logits, targets.astype(np.int64)[..., None], -1)[..., 0]
    found: Numbers = log_sum_exp(logits) - chosen
    return found


def _bernoulli(logits: Numbers, targets: Numbers) -> Numbers:
    found: Numbers = np.logaddexp(0, logits) - logits * targets
    return found


def _gaussian(parameters: Numbers, targets: Numbers) -> Numbers:
    """Return nats; a target that is NaN, where nothing was observed, costs nothing."""
    mean, log_deviation = parameters[..., 0], parameters[..., 1]
    scaled = (targets - mean) * np.exp(-log_deviation)
    nats = 0.5 * scaled**2 + log_deviation + 0.5 * math.log(2 * math.pi)
    found: Numbers = np.where(np.isnan(targets), 0.0, nats)
    return found


def _logistic_mixture(parameters: Numbers, targets: Numbers) -> Numbers:
    """Return nats; a target that is NaN costs nothing."""
    logits, means, log_scales = parameters[..., 0], parameters[..., 1], parameters[..., 2]
    scaled = (targets[..., None] - means) * np.exp(-log_scales)
    with np.errstate(invalid="ignore"):  # numpy warns of NaN here
        densities = -scaled - log_scales - 2 * np.logaddexp(0, -scaled)
    found: Numbers = np.where(np.isnan(targets), 0.0, log_sum_exp(logits) - log_sum_exp(logits + densities))
    return found


_NATS: Final[Mapping[str, Callable[[Numbers, Numbers], Numbers]]] = {
    "categorical": _categorical,
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "logistic_mixture": _logistic_mixture,
}


def log_sum_exp(rows: Numbers) -> Numbers:
    """Return the logarithm of the sum of exponentials over the last axis, without overflow."""
    peak = rows.max(axis=-1)
    total: Numbers = peak + np.log(np.exp(rows - peak[..., None]).sum(axis=-1))
    return total
