"""Perplexity of a token model, measured the way a device runs it: one stream, step by step."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import InputError

_BLOCK: Final = 256


def perplexity(engine: Engine, tokens: Sequence[int] | NDArray[np.int64]) -> float:
    """Return exp of the mean negative log-likelihood, in nats, of each token after those before it.

    Args:
        engine: A generative token model.
        tokens: One contiguous stream, at least two tokens.

    Raises:
        InputError: If the model is no token model, or there are fewer than two tokens.
    """
    return math.exp(mean_nats(engine, tokens))


def mean_nats(engine: Engine, tokens: Sequence[int] | NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood of `tokens`, in nats; arguments as in `perplexity`."""
    spec = engine.spec
    if not spec.vocabulary or spec.feedback is None:
        raise InputError("perplexity is defined for generative token models only")
    if len(tokens) < 2:
        raise InputError(f"perplexity needs two tokens at least, got {len(tokens)}")
    executor = engine.executor(1)
    token, logits = executor.inputs[spec.feedback.input], executor.outputs[spec.feedback.output]
    inputs, targets = np.asarray(tokens, np.int64)[:-1], np.asarray(tokens, np.int64)[1:]
    total = 0.0
    for start in range(0, len(inputs), _BLOCK):
        block = targets[start : start + _BLOCK]
        rows = np.empty((len(block), spec.vocabulary), np.float64)
        for row, value in zip(rows, inputs[start : start + _BLOCK], strict=True):
            token[0] = value
            executor.run()
            row[:] = logits[0]
        total += float(np.sum(log_sum_exp(rows) - rows[np.arange(len(block)), block]))
    return total / len(inputs)


def log_sum_exp(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the sum of exponentials of each row `[n, vocabulary]`, without overflow."""
    peak = rows.max(axis=-1)
    total: NDArray[np.float64] = peak + np.log(np.exp(rows - peak[..., None]).sum(axis=-1))
    return total
