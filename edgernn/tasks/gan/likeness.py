"""How far generated windows are from real ones, by measures that need no training; they choose the best weights."""

from typing import Final

import torch
from torch import Tensor

from edgernn.models.gan import SeriesGan, Streams
from edgernn.tasks.task import Evaluation
from edgernn_runtime.errors import TrainingError

DRAWN: Final = 256
"""Streams that an evaluation draws; each gives two windows, the first of them and the one that follows."""

SPREADS: Final = (0.05, 20.0)
"""How generated windows may scatter, as shares of how real ones do: less is collapse, and more has run away."""

PATIENCE: Final = 5
"""Validations in a row at which they may scatter otherwise."""

_DIRECTIONS: Final = 256
_QUANTILES: Final = 128


def evaluate(model: SeriesGan, train: Tensor, held: Tensor) -> Evaluation:
    """Return how far windows of the averaged generator are from real ones, from the same noise every time.

    The loss is the distance to windows of the training part: that of the part held out, the metric `held_out`, must
    stay out of the choice of weights for whoever judges them by it. `spread` is how generated windows scatter, as a
    share of how real ones do; `called_real` and `called_made` are the shares of real and of generated windows that
    the discriminator takes for what they are.

    Args:
        model: The model.
        train: Windows of the training part, float32 `[time, windows, columns]`.
        held: Those held out.

    Raises:
        TrainingError: If generated windows have scattered beyond `SPREADS` for `PATIENCE` validations in a row.
    """
    made = drawn_windows(model, time=len(train))
    scales = model.generator.scales
    known, unknown, new = scales.scaled(train), scales.scaled(held), scales.scaled(made)
    spread = float(new.std(1).mean() / known.std(1).mean())
    sound = SPREADS[0] <= spread <= SPREADS[1]
    model.astray.copy_(torch.zeros_like(model.astray) if sound else model.astray + 1)
    if model.astray >= PATIENCE:
        how = "diverged" if spread > SPREADS[1] else "collapsed"
        raise TrainingError(
            f"the generator {how}: for {PATIENCE} validations its windows have scattered {spread:.1%} as far as real "
            "ones, or about that; train anew in another folder, with a lower --learning-rate, another --penalty, or "
            "another --seed"
        )
    return Evaluation(
        distance(new, known),
        {
            "held_out": distance(new, unknown),
            "spread": spread,
            "called_real": float((model.discriminator(known) > 0).float().mean()),
            "called_made": float((model.discriminator(new) < 0).float().mean()),
        },
    )


def drawn_windows(model: SeriesGan, *, time: int) -> Tensor:
    """Return two windows of each of `DRAWN` streams of the averaged generator, float32 `[time, windows, columns]`."""
    chance = torch.Generator().manual_seed(0)
    generator = model.averaged()
    streams = Streams.start(generator, torch.randn(DRAWN, model.config.latent, generator=chance))
    made, _ = streams.make(generator, torch.rand(2 * time, DRAWN, model.config.noise, generator=chance))
    return torch.cat([made[:time], made[time:]], dim=1)


def distance(made: Tensor, real: Tensor) -> float:
    """Return the sum of three distances between scaled windows, float32 `[time, windows, columns]`.

    They are the sliced Wasserstein distances (Bonneel et al. 2015) of the windows and of their changes, each the mean
    over random directions of how far the quantiles of the projections are apart, times the root of the numbers of a
    window; and the mean difference of autocorrelations at all lags up to half a window.
    """
    values = _sliced_distance(made, real)
    changes = _sliced_distance(made.diff(dim=0), real.diff(dim=0))
    lags = float((_autocorrelation(made) - _autocorrelation(real)).abs().mean())
    return values + changes + lags


def _sliced_distance(made: Tensor, real: Tensor) -> float:
    one, two = (each.transpose(0, 1).flatten(1) for each in (made, real))
    directions = torch.randn(one.shape[1], _DIRECTIONS, generator=torch.Generator().manual_seed(1))
    directions = directions / directions.norm(dim=0)
    levels = (torch.arange(_QUANTILES) + 0.5) / _QUANTILES
    lines = [torch.quantile(each @ directions, levels, dim=0) for each in (one, two)]
    return float((lines[0] - lines[1]).abs().mean())


def _autocorrelation(windows: Tensor) -> Tensor:
    """Return autocorrelations at lags 1 to half a window, over all windows, `[lags, columns]`."""
    centred = windows - windows.mean((0, 1))
    power = centred.square().mean((0, 1)).clamp(min=1e-12)
    lags = range(1, len(windows) // 2 + 1)
    return torch.stack([(centred[lag:] * centred[:-lag]).mean((0, 1)) / power for lag in lags])
