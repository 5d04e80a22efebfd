"""The series task's loss, the negative log-likelihood, and scores of its predictions one step ahead."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgernn.models.series import SeriesModel
from edgernn.tasks.series.frames import Frames
from edgernn.tasks.series.scores import pinball_loss
from edgernn.tasks.series.windows import Window, known_steps
from edgernn.tasks.task import Evaluation

LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the quantiles that forecasts are given as."""

_HALVINGS: Final = 50


def nats(params: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each value, in nats; 0 where the target is NaN.

    Args:
        params: `[..., 2]` of a Gaussian or `[..., components, 3]` of a logistic mixture.
        targets: `[...]`.
    """
    known = ~targets.isnan()
    values = torch.where(known, targets, 0.0)
    if params.ndim == targets.ndim + 1:
        mean, log_deviation = params[..., 0], params[..., 1]
        scaled = (torch.where(known, values, mean.detach()) - mean) * torch.exp(-log_deviation)
        found = 0.5 * scaled.square() + log_deviation + 0.5 * math.log(2 * math.pi)
    else:
        logits, means, log_scales = params.unbind(-1)
        scaled = (values.unsqueeze(-1) - means) * torch.exp(-log_scales)
        densities = -scaled - log_scales - 2 * functional.softplus(-scaled)
        found = -torch.logsumexp(torch.log_softmax(logits, -1) + densities, -1)
    return torch.where(known, found, 0.0)


def window_loss(model: SeriesModel, window: Window) -> Tensor:
    """Return the mean negative log-likelihood of a window's known targets, in nats per step."""
    params, _ = model.scan(window.inputs, model.init(window.inputs.shape[1]))
    return nats(params, window.targets).sum() / window.known_steps


def evaluate(model: SeriesModel, frames: Frames, naive_errors: NDArray[np.float64]) -> Evaluation:
    """Return how well the next values of a series are predicted, each from all before it.

    Args:
        model: The model.
        frames: What it is fed, and the targets.
        naive_errors: What absolute errors are scaled by, `[columns]`.
    """
    targets = torch.from_numpy(frames.targets)
    params, _ = model.scan(torch.from_numpy(frames.inputs).unsqueeze(1), model.init(1))
    params = params.squeeze(1)
    known = ~targets.isnan().all(-1)
    quantiles = predicted_quantiles(params[known], LEVELS)
    truth = frames.targets[known.numpy()]
    errors = np.abs(truth - quantiles[..., LEVELS.index(0.5)]) / naive_errors
    return Evaluation(
        float(nats(params, targets).sum() / known_steps(targets)),
        {"mase": float(np.nanmean(errors)), "pinball": pinball_loss(quantiles, truth, LEVELS)},
    )


def predicted_quantiles(params: Tensor, levels: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the quantiles of predictions, float32 `[steps, columns, levels]`.

    Args:
        params: As in `nats`, for targets `[steps, columns]`.
        levels: The probability of each quantile.
    """
    if params.ndim == 3:
        normal = torch.tensor([NormalDist().inv_cdf(level) for level in levels])
        return (params[..., :1] + torch.exp(params[..., 1:]) * normal).numpy()
    logits, means, log_scales = (each.unsqueeze(-2).double() for each in params.unbind(-1))  # [..., 1, components]
    widest = 20 * torch.exp(log_scales).amax(-1)
    low, high = means.amin(-1) - widest, means.amax(-1) + widest
    low, high = (each.expand(*each.shape[:-1], len(levels)) for each in (low, high))
    wanted = torch.tensor(levels, dtype=torch.float64)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shares = torch.sigmoid((middle.unsqueeze(-1) - means) * torch.exp(-log_scales))
        above = (torch.softmax(logits, -1) * shares).sum(-1) > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low + high) / 2).float().numpy()
