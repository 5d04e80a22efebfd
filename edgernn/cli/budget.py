"""Budgets: how much quality may be lost, as it is written on the command line."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export.quality import MetricName


@dataclass(frozen=True, slots=True)
class Budget:
    """The largest loss that is allowed.

    Attributes:
        text: How it was written.
        loss: The loss as a share; for decibels the power of the noise as a share of the signal's.
        decibels: Whether it was written in decibels.
    """

    text: str
    loss: float
    decibels: bool

    def loss_for(self, metric: "MetricName") -> float:
        """Return the loss for a model that a metric measures; an InputError for decibels of what is no signal."""
        if self.decibels and metric != "snr_db":
            raise InputError(
                f"--max-loss {self.text} is for signals, and this model's quality is measured by its {metric}"
            )
        return self.loss


def read_budget(text: str) -> Budget:
    """Return the budget in `0.5%`, `0.005`, or `35dB` for the signal-to-noise ratio of signals.

    Raises:
        InputError: If the text reads otherwise, or is below 0.
    """
    number, share = text.strip().lower(), 1.0
    decibels = number.endswith("db")
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
    return Budget(text, loss, decibels)
