"""Samplers: one token out of the logits and one uniform number."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from operator import index
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError

REMEMBERED: Final = 64
"""How many of a stream's last tokens the repetition penalty looks at."""

GRAIN: Final = 2.0**-24
"""The distance between two uniforms; added to one, it makes a number in (0, 1]."""

_QUICKLY_SORTED: Final = 256
"""Up to how many tokens are sorted whole: as quickly as the largest of them are found."""

_COLDEST: Final = 0.001
_HOTTEST: Final = 1000
_MOST_PENALTY: Final = 100


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a token is chosen from logits.

    What rules tokens out or makes them less probable applies in the order repetition penalty, allowed tokens,
    temperature, top-k, top-p. The choice is by inverse transform: tokens lie in the order of the vocabulary, or
    where top-k or top-p rules some out, from the most probable one down; the first one whose cumulative
    probability exceeds the uniform is taken.

    Attributes:
        temperature: Divides the logits, 0.001 to 1000; 0 is greedy, and then top-k, top-p and the uniform have no
            effect.
        top_k: Keep the k most probable tokens; 0 keeps all.
        top_p: Keep the most probable tokens until their probabilities sum to at least this (nucleus
            sampling, Holtzman et al. 2020); 1 keeps all.
        repetition_penalty: Divides the positive logits of the last 64 tokens, and multiplies negative ones (Keskar
            et al. 2019), 0.01 to 100; 1 leaves them.
        allowed: The only tokens that may be chosen; None allows all. It may be another one before each token, as a
            grammar asks for.

    Raises:
        InputError: If a setting is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    allowed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.temperature != 0 and not _COLDEST <= self.temperature <= _HOTTEST:
            raise InputError(f"temperature must be 0 (greedy) or {_COLDEST} to {_HOTTEST}, got {self.temperature}")
        given = self.top_k
        object.__setattr__(self, "top_k", _integer(given))
        if self.top_k < 0:
            raise InputError(f"top_k must be 0 (off) or positive, got {given}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must lie in (0, 1], got {self.top_p}")
        if not 1 / _MOST_PENALTY <= self.repetition_penalty <= _MOST_PENALTY:
            raise InputError(
                f"repetition_penalty must lie in {1 / _MOST_PENALTY:g} to {_MOST_PENALTY}, "
                f"got {self.repetition_penalty}"
            )
        if self.allowed is not None:
            object.__setattr__(self, "allowed", _checked_tokens(self.allowed))

    @property
    def filters(self) -> bool:
        """Whether top-k or top-p may rule tokens out."""
        return self.top_k > 0 or self.top_p < 1

    @property
    def plain(self) -> bool:
        """Whether the choice needs the temperature alone."""
        return not self.filters and not self.adjusts

    @property
    def adjusts(self) -> bool:
        """Whether the logits change before they are sampled: tokens are penalised, or only some are allowed."""
        return self.repetition_penalty != 1 or self.allowed is not None

    def sample(
        self,
        logits: NDArray[np.float32],
        uniform: float,
        *,
        recent: Collection[int] = (),
        ranked: bool = False,
    ) -> int:
        """Return the chosen token.

        Args:
            logits: float32 `[vocabulary]`.
            uniform: A number in [0, 1), a multiple of 2**-24.
            recent: The stream's last tokens, for the repetition penalty.
            ranked: Take the tokens from the most probable one down, although nothing may rule them out; as a graph
                that samples with filters does.

        Raises:
            InputError: If the largest logit is NaN or infinite, as a broken model gives (single logits of minus
                infinity only rule their tokens out), or an allowed token is not in the vocabulary.
        """
        if self.adjusts:
            logits = self._adjusted(logits, recent)
        token = int(logits.argmax())
        if not math.isfinite(logits[token]):
            raise InputError(f"the model's largest logit is {logits[token]}, so nothing can be chosen")
        if self.temperature == 0:
            return token
        weights: NDArray[np.float32] = np.exp((logits - logits[token]) / np.float32(self.temperature))
        if not (self.filters or ranked):
            return _first_reaching(weights, uniform)
        kept = self._kept(logits, weights)
        return int(kept[_first_reaching(weights[kept], uniform)])

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unnormalised probabilities after temperature, top-k and top-p, float32 `[vocabulary]`.

        Where logits are equal, those of lower tokens are kept first. A greedy sampler has none.
        """
        weights: NDArray[np.float32] = np.exp((logits - logits.max()) / np.float32(self.temperature))
        if not self.filters:
            return weights
        kept = self._kept(logits, weights)
        filtered = np.zeros_like(weights)
        filtered[kept] = weights[kept]
        return filtered

    def _kept(self, logits: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the tokens that top-k and top-p keep, from the most probable one down; equal ones by number."""
        limit = min(self.top_k or logits.size, logits.size)
        if self.top_p == 1:
            return indices_of_largest(logits, limit)
        if limit < logits.size:
            kept = indices_of_largest(logits, limit)
            mass = weights[kept].cumsum(dtype=np.float64)
            total = mass[-1]
        else:
            total = weights.sum(dtype=np.float64)
            light = (1 - self.top_p) * total / logits.size  # the mass of all that are lighter is below 1 - top_p
            kept = np.flatnonzero(weights >= light)
            kept = kept[indices_of_largest(logits[kept], kept.size)]
            mass = weights[kept].cumsum(dtype=np.float64)
        return kept[: int(mass.searchsorted(self.top_p * total)) + 1]

    def _adjusted(self, logits: NDArray[np.float32], recent: Collection[int]) -> NDArray[np.float32]:
        """Return a copy of the logits after the repetition penalty, with those of other tokens ruled out."""
        adjusted = np.array(logits)
        if self.repetition_penalty != 1 and recent:
            seen = np.array(sorted(set(recent)))
            penalty = np.float32(self.repetition_penalty)
            adjusted[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
        if self.allowed is None:
            return adjusted
        if self.allowed[-1] >= logits.size:
            raise InputError(f"allowed has token {self.allowed[-1]}; the vocabulary ends at {logits.size - 1}")
        only = np.full_like(adjusted, -np.inf)
        only[list(self.allowed)] = adjusted[list(self.allowed)]
        return only


def sample_rows(
    logits: NDArray[np.float32], uniforms: NDArray[np.float32], temperatures: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return one token for each row, as a plain sampler of the row's temperature chooses it.

    Args:
        logits: float32 `[rows, vocabulary]`.
        uniforms: float32 `[rows]`, multiples of 2**-24 in [0, 1).
        temperatures: float32 `[rows]`, 0 for greedy rows.

    Returns:
        int64 `[rows]`; -1 where the largest logit is NaN or infinite.
    """
    best = logits.argmax(axis=1)
    largest = np.take_along_axis(logits, best[:, None], axis=1)
    with np.errstate(invalid="ignore"):
        weights = np.exp((logits - largest) / np.where(temperatures == 0, np.float32(1), temperatures)[:, None])
    cumulative = weights.cumsum(axis=1, dtype=np.float64)
    wanted = (uniforms.astype(np.float64) + GRAIN) * cumulative[:, -1]
    sampled = (cumulative < wanted[:, None]).sum(axis=1)
    tokens = np.where(temperatures == 0, best, sampled)
    return np.where(np.isfinite(largest[:, 0]), tokens, -1)


def indices_of_largest(values: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the indices of the largest values of an array `[size]`, the largest first; of equal ones the lower first.

    Args:
        values: No NaN among them.
        count: How many, 1 to size.
    """
    if count == values.size or values.size <= _QUICKLY_SORTED:
        return np.argsort(-values, kind="stable")[:count]
    candidates = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return candidates[np.argsort(-values[candidates], kind="stable")[:count]]


def _first_reaching(weights: NDArray[np.float32], uniform: float) -> int:
    """Return the first index at which the cumulative sum exceeds the uniform's share of the total."""
    cumulative = weights.cumsum(dtype=np.float64)
    return int(cumulative.searchsorted((uniform + GRAIN) * cumulative[-1]))


def _checked_tokens(tokens: Collection[int]) -> tuple[int, ...]:
    """Return the tokens sorted, each once."""
    found = {_integer(token) for token in tokens}
    if not found or min(found) < 0:
        raise InputError(f"allowed must hold at least one token, integers from 0 on, got {tokens!r}")
    return tuple(sorted(found))


def _integer(value: object) -> int:
    """Return an integer of any type as an int; -1 for what is none."""
    try:
        return index(value)  # type: ignore[arg-type]  # what is no integer is caught
    except TypeError:
        return -1


GREEDY: Final = Sampler(temperature=0.0)
