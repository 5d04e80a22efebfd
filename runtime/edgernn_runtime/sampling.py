"""Samplers: one token out of the logits and one uniform number."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError

_COLDEST: Final = 0.001
_HOTTEST: Final = 1000


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a token is chosen from logits.

    The filters apply in the order temperature, top-k, top-p. The choice is by inverse transform: the
    first token whose cumulative probability, in the order of the vocabulary, exceeds the uniform.

    Attributes:
        temperature: Divides the logits, 0.001 to 1000; 0 is greedy, and then filters and uniform have no
            effect.
        top_k: Keep the k most probable tokens; 0 keeps all.
        top_p: Keep the most probable tokens until their probabilities sum to at least this (nucleus
            sampling, Holtzman et al. 2020); 1 keeps all.

    Raises:
        InputError: If a setting is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.temperature != 0 and not _COLDEST <= self.temperature <= _HOTTEST:
            raise InputError(f"temperature must be 0 (greedy) or {_COLDEST} to {_HOTTEST}, got {self.temperature}")
        if not isinstance(self.top_k, int) or self.top_k < 0:
            raise InputError(f"top_k must be 0 (off) or positive, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must lie in (0, 1], got {self.top_p}")

    def sample(self, logits: NDArray[np.float32], uniform: float) -> int:
        """Return the chosen token.

        Args:
            logits: float32 `[vocabulary]`.
            uniform: A number in [0, 1).

        Raises:
            InputError: If the largest logit is NaN or infinite, as a broken model gives; single logits of
                minus infinity only rule their tokens out.
        """
        token = int(logits.argmax())
        if not math.isfinite(logits[token]):
            raise InputError(f"the model's largest logit is {logits[token]}, so nothing can be chosen")
        if self.temperature == 0:
            return token
        cumulative = self.probabilities(logits).cumsum(dtype=np.float64)
        return int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unnormalised probabilities after temperature and filters, float32 `[vocabulary]`.

        Where logits are equal, those of lower tokens are kept first. A greedy sampler has none.
        """
        weights: NDArray[np.float32] = np.exp((logits - logits.max()) / np.float32(self.temperature))
        limited = 0 < self.top_k < weights.size
        if not limited and self.top_p == 1:
            return weights
        order = np.argsort(-logits, kind="stable")
        kept = self.top_k if limited else weights.size
        if self.top_p < 1:
            mass = weights[order[:kept]].cumsum(dtype=np.float64)
            kept = int(mass.searchsorted(self.top_p * mass[-1])) + 1
        weights[order[kept:]] = 0
        return weights


GREEDY: Final = Sampler(temperature=0.0)
