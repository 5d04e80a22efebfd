"""The GAN task's game: what the discriminator and the generator lose, each to its own weights.

Both descend at once, on the non-saturating losses of Goodfellow et al. (2014). With `r1` the discriminator pays for
its squared gradient at real windows; simultaneous descent then converges locally (Mescheder, Geiger and Nowozin 2018).
With `spectral` no matrix of the discriminator may stretch a vector: it is projected to spectral norm 1 before each
step (Gouk et al. 2021).
"""

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.gan import Discriminator, SeriesGan, Streams, frozen
from edgernn.tasks.share import WHOLE, Share


def game_loss(model: SeriesGan, real: Tensor, made: Tensor, *, penalty: float) -> Tensor:
    """Return the sum of what both networks lose; the gradient of each network is that of its own loss.

    Args:
        model: Both networks.
        real: Real windows, float32 `[time, batch, columns]`.
        made: Windows of the generator, with their gradient.
        penalty: Weighs the squared gradient of the discriminator at real windows; 0 for none.
    """
    scales = model.generator.scales
    with frozen(model.discriminator):
        generator = functional.softplus(-model.discriminator(scales.scaled(made))).mean()
    return generator + discriminator_loss(
        model.discriminator, scales.scaled(real), scales.scaled(made.detach()), penalty=penalty
    )


def discriminator_loss(discriminator: Discriminator, real: Tensor, made: Tensor, *, penalty: float) -> Tensor:
    """Return what the discriminator loses on scaled windows, float32 `[time, batch, columns]`."""
    if penalty:
        real = real.detach().requires_grad_()
    logits = discriminator(real)
    loss = functional.softplus(-logits).mean() + functional.softplus(discriminator(made)).mean()
    if penalty:
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        loss = loss + 0.5 * penalty * slope.square().sum((0, 2)).mean()
    return loss


@torch.no_grad()
def bound_weights(discriminator: Discriminator, hidden: int) -> None:
    """Divide each matrix of a discriminator, of cells each gate's, by its spectral norm if that exceeds 1.

    Args:
        discriminator: The discriminator.
        hidden: Rows of each gate.
    """
    for parameter in discriminator.parameters():
        if parameter.ndim == 2:
            rows = min(hidden, len(parameter))
            gates = parameter.view(-1, rows, parameter.shape[1])
            gates /= torch.linalg.matrix_norm(gates, 2).clamp(min=1).view(-1, 1, 1)


def draw_noise(model: SeriesGan, *, time: int, batch: int, share: Share = WHOLE) -> Tensor:
    """Return uniform numbers for the rows of a process, float32 `[time, batch, noise]`."""
    return share.draw(torch.rand, time, batch, model.config.noise, axis=1)


def new_streams(model: SeriesGan, batch: int, share: Share = WHOLE) -> Streams:
    """Return streams of the model's generator that begin with latents drawn, those of the rows of a process."""
    return Streams.start(model.generator, share.draw(torch.randn, batch, model.config.latent, axis=0))
