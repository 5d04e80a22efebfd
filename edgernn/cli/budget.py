"""Budgets: how much quality may be lost, as it is written on the command line."""

import math
from typing import TYPE_CHECKING

from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export.quality import MetricName


def read_budget(text: str, metric: "MetricName") -> float:
    """Return a loss as a share, from `0.5%`, `0.005`, or `35dB` for the signal-to-noise ratio of signals.

    Raises:
        InputError: If the text reads otherwise, is below 0, or gives decibels for what is no signal.
    """
    number, share = text.strip().lower(), 1.0
    decibels = number.endswith("db")
    if decibels and metric != "snr_db":
        raise InputError(f"--max-loss {text} is for signals, and this model's quality is measured by its {metric}")
    if decibels:
        number = number.removesuffix("db")
    elif number.endswith("%"):
        number, share = number.removesuffix("%"), 0.01
    try:
        value = float(number)
        loss: float = 10 ** (-value / 10) if decibels else value * share
    except (ValueError, OverflowError) as error:
        raise InputError(f"--max-loss must read like 0.5%, 0.005 or 35dB, got {text}") from error
    if not 0 <= loss < math.inf:
        raise InputError(f"--max-loss must be 0 or more, and finite, got {text}")
    return loss
