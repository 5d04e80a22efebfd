"""Checking: whether a step computes what torch computes in float32, before it is timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from edgernn.bench.case import Case, Logits, Precision, Tokens, make_tokens
from edgernn.bench.peer import Step
from edgernn.models import RecurrentLM

STEPS: Final = 64

BOUNDS: Final[Mapping[Precision, float]] = {"float32": 1e-3, "int8": 0.05, "int4": 0.2}
"""The largest error of a logit that is allowed, as a share of the largest logit."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a step must compute, from zeros.

    Attributes:
        tokens: int64 `[steps, batch]`.
        logits: Those of torch in float32, `[steps, batch, vocabulary]`.
    """

    tokens: Tokens
    logits: Logits

    @classmethod
    def of(cls, model: RecurrentLM, case: Case) -> "Reference":
        """Return 64 steps of a model at a case's batch."""
        tokens = make_tokens(STEPS, case.batch)
        with torch.inference_mode():
            logits, _ = model.scan(torch.from_numpy(tokens), model.init(case.batch))
        return cls(tokens, logits.numpy())

    def error(self, step: Step) -> float:
        """Return the largest error of a logit along 64 steps, as a share of the largest logit; NaN counts as infinite.

        Raises:
            ValueError: If the logits have another shape.
        """
        worst = 0.0
        for tokens, expected in zip(self.tokens, self.logits, strict=True):
            found = step(tokens)
            if found.shape != expected.shape:
                raise ValueError(f"logits must be float32{list(expected.shape)}, got {found.dtype}{list(found.shape)}")
            worst = max(worst, float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max()))
        return worst / float(np.abs(self.logits).max())
