"""TrainingConfig: every setting of a training run."""

from dataclasses import dataclass
from typing import Final

from edgernn_runtime.errors import InputError

_LARGEST: Final = 1e18


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Every setting of a training run. At least one budget is needed; the first one reached ends it.

    Attributes:
        max_steps: The budget in optimiser steps.
        max_seconds: The budget in seconds; validations and checkpoints count, but for the last ones.
        batch: Contiguous lanes of the training text that are read at the same time.
        segment: Steps that gradients flow back through.
        learning_rate: The peak, reached after the warmup.
        warmup: The share of the budget in which the rate rises linearly; a cosine to zero follows.
        weight_decay: AdamW's decoupled decay of weight matrices.
        l1: Added to the loss, times the sum of the absolute values of all weight matrices.
        l2: Added to the loss, times the sum of their squares.
        clip_norm: Gradients with a larger norm are scaled down to it.
        valid_every: Steps between two validations.
        patience: Validations without a better loss before training stops early; 0 for never.
        seed: The seed of initialisation, dropout and segment offsets.

    Raises:
        InputError: If a setting is out of range.
    """

    max_steps: int | None = None
    max_seconds: float | None = None
    batch: int = 32
    segment: int = 64
    learning_rate: float = 4e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    l1: float = 0.0
    l2: float = 0.0
    clip_norm: float = 1.0
    valid_every: int = 200
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_steps is None and self.max_seconds is None:
            raise InputError("training needs a budget: a number of steps, or of seconds")
        for name in ("max_steps", "batch", "segment", "valid_every", "patience", "seed"):
            if not isinstance(getattr(self, name), int | None):
                raise InputError(f"{name} must be an integer, got {getattr(self, name)!r}")
        for name in ("max_steps", "max_seconds", "batch", "segment", "learning_rate", "clip_norm", "valid_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _LARGEST:
                raise InputError(f"{name} must be positive and at most {_LARGEST:g}, got {value}")
        for name in ("weight_decay", "l1", "l2", "patience", "seed"):
            if not 0 <= getattr(self, name) <= _LARGEST:
                raise InputError(f"{name} must lie in 0..{_LARGEST:g}, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup must lie in [0, 1), got {self.warmup}")
