"""Likelihood: how probable a model held what came, measured the way a device runs it, step by step."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.recording import Recording
from edgernn_runtime.distributions import PARAMETER_AXES
from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec

_BLOCK: Final = 256

Numbers = NDArray[np.float64]


def perplexity(engine: Engine, recording: Recording) -> float:
    """Return exp of `mean_nats`; for text, per token."""
    return math.exp(mean_nats(engine, recording))


def mean_nats(engine: Engine, recording: Recording) -> float:
    """Return the mean negative log-likelihood of the scored targets, in nats per step.

    The state is the initial one where a sequence starts, and is kept from step to step elsewhere.

    Args:
        engine: A model whose output parametrises a distribution.
        recording: What it is fed, and the targets.

    Raises:
        InputError: If the model has no distribution, or the recording no targets or other inputs.
    """
    spec = engine.spec
    recording.check(spec)
    if spec.distribution not in _NATS:
        raise InputError(f"the likelihood of a model with the distribution {spec.distribution} is not defined")
    if recording.targets is None or not recording.scored.any():
        raise InputError("the recording has no targets, so no likelihood can be measured")
    _check_targets(spec, recording.targets[recording.scored].astype(np.float64))
    executor, nats = engine.executor(1), _NATS[spec.distribution]
    output = executor.outputs[spec.main_output.name]
    total = 0.0
    for start in range(0, len(recording), _BLOCK):
        rows = np.empty((min(_BLOCK, len(recording) - start), *output.shape[1:]), np.float64)
        for row, step in zip(rows, range(start, start + len(rows)), strict=True):
            if recording.starts[step]:
                executor.reset_row(0)
            recording.feed(executor, step)
            executor.run()
            row[...] = output[0]
        scored = recording.scored[start : start + len(rows)]
        targets = recording.targets[start : start + len(rows)][scored].astype(np.float64)
        total += float(nats(rows[scored], targets).sum())
    return total / float(recording.scored.sum())


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
