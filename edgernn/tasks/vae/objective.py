"""The VAE task's loss: the evidence lower bound (Kingma and Welling 2014), and what of the latent is in use."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.vae import RowVAE
from edgernn.tasks.share import WHOLE, Share
from edgernn.tasks.task import Evaluation

ACTIVE_VARIANCE: Final = 0.01
"""A number of the latent is active if its mean varies by more over pictures (Burda, Grosse, Salakhutdinov 2016)."""

_MAX_LOG_VARIANCE: Final = 10.0
_CHUNK: Final = 256


def elbo_loss(
    model: RowVAE, rows: Tensor, *, levels: int, kl_weight: float, free_bits: float, share: Share = WHOLE
) -> Tensor:
    """Return the negative evidence lower bound of pictures, in nats per picture.

    Args:
        model: The model.
        rows: Greys 0 to 1, float32 `[height, batch, width]`.
        levels: Draws of black or white that a grey stands for.
        kl_weight: Weighs the divergence from the prior; rises from 0 to 1 in the warmup (Bowman et al. 2016).
        free_bits: Nats that each number of the latent may cost for nothing (Kingma et al. 2016), in the mean over
            the whole batch.
        share: Which rows of the batch these are.
    """
    mean, log_variance = moments(model, rows)
    latent = mean + torch.exp(0.5 * log_variance) * share.draw(torch.randn, *mean.shape, axis=0)
    divergence = share.mean(kl_nats(mean, log_variance).mean(0)).clamp(min=free_bits).sum()
    return reconstruction_nats(model, latent, rows, levels=levels).mean() + kl_weight * divergence


def evaluate(model: RowVAE, rows: Tensor, *, levels: int) -> Evaluation:
    """Return the negative bound in nats per picture, its two parts, and how many numbers of the latent are active.

    The bound takes one draw of the latent for each picture, the same ones every time.
    """
    generator = torch.Generator().manual_seed(0)
    means, sums = [], torch.zeros(3)
    for part in torch.split(rows, _CHUNK, dim=1):
        mean, log_variance = moments(model, part)
        noise = torch.randn(mean.shape, generator=generator)
        latent = mean + torch.exp(0.5 * log_variance) * noise
        sums[0] += reconstruction_nats(model, latent, part, levels=levels).sum()
        sums[1] += kl_nats(mean, log_variance).sum()
        sums[2] += (torch.sigmoid(model.decode(mean)) - part).square().mean((0, 2)).sum()
        means.append(mean)
    mean = torch.cat(means)
    reconstruction, divergence, error = (sums / len(mean)).tolist()
    return Evaluation(
        reconstruction + divergence,
        {
            "reconstruction": reconstruction,
            "kl": divergence,
            "active_units": float((mean.var(0) > ACTIVE_VARIANCE).sum()),
            "latent_units": float(mean.shape[1]),
            "rms_error": error**0.5,
        },
    )


def moments(model: RowVAE, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the latent `[batch, latent]`, the latter within bounds."""
    mean, log_variance = model.encode(rows)
    return mean, log_variance.clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE)


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence from a standard normal, in nats, `[batch, latent]`."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def reconstruction_nats(model: RowVAE, latent: Tensor, rows: Tensor, *, levels: int) -> Tensor:
    """Return the negative log-likelihood of pictures in nats `[batch]`, but for a constant.

    A grey is the share of white in `levels` independent draws of black or white: a binomial likelihood.
    """
    logits = model.decode(latent)
    return levels * functional.binary_cross_entropy_with_logits(logits, rows, reduction="none").sum((0, 2))
