"""Likeness: whether two generated streams come from one distribution, measured beside a stream of another seed.

A sampled stream that took another way is not a worse one. So the candidate's stream is compared with the source's,
and as the yardstick a second stream of the source itself, from other noise: what is no farther from the source than
the source is from itself is as good.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.drift.statistics import jensen_shannon_nats, kolmogorov_smirnov, lag_one, ngram_counts

FACTOR: Final = 1.25
"""How many times the yardstick a candidate's distance may be, beside the slack."""

_ORDERS: Final = (1, 2, 3)
_TITLES: Final[Mapping[str, str]] = {
    "jsd_1gram_nats": "1-grams, nats",
    "jsd_2gram_nats": "2-grams, nats",
    "jsd_3gram_nats": "3-grams, nats",
    "ks": "Kolmogorov-Smirnov",
    "mean_shift_sd": "mean shift, SD",
}

Tokens = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Distance:
    """One distance between the source's stream and two others.

    Attributes:
        name: `jsd_1gram_nats` and the like for tokens; `ks` and `mean_shift_sd` for frames.
        candidate: The distance of the candidate's stream.
        yardstick: The distance of a stream of the source with another seed; None where that cannot differ.
        slack: What chance adds in streams so short, in the same unit.
    """

    name: str
    candidate: float
    yardstick: float | None
    slack: float

    @property
    def title(self) -> str:
        """What a person reads instead of the name, with the unit."""
        return _TITLES[self.name]

    @property
    def limit(self) -> float | None:
        """What the candidate's distance may be; None without a yardstick."""
        return None if self.yardstick is None else FACTOR * self.yardstick + self.slack

    @property
    def within(self) -> bool | None:
        """Whether the candidate is no farther from the source than the source from itself; None if unknown."""
        return None if self.limit is None else self.candidate <= self.limit


@dataclass(frozen=True, slots=True)
class Moments:
    """What is asked of each feature of generated frames.

    Attributes:
        mean: The mean of each feature, `[features]`.
        deviation: Its standard deviation.
        autocorrelation: Its correlation with itself one step before.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    autocorrelation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike generated streams are.

    Attributes:
        distances: The candidate's distances from the source, beside the source's from itself.
        moments: For frames, those of the source, of the candidate, and of the source with another seed, if there is
            one; empty for tokens.
    """

    distances: tuple[Distance, ...]
    moments: tuple[Moments, ...] = ()

    @property
    def same(self) -> bool | None:
        """Whether every distance is within its limit; None without a yardstick."""
        found = [distance.within for distance in self.distances]
        return None if None in found else all(found)


def token_likeness(source: Tokens, candidate: Tokens, other: Tokens) -> Likeness:
    """Return the Jensen-Shannon divergences of 1-, 2- and 3-gram counts, in nats.

    With k different tokens in the two streams of the source, d = k - 1, the slack is `(d + 3 sqrt(2 d)) / steps`.
    For independent tokens `4 steps` times the divergence is the statistic of a G-test, chi-squared with d degrees of
    freedom, so that a quarter of this slack is three standard deviations above what chance makes of one
    distribution. The tokens of a language model depend on each other, which makes chance larger: four times as much
    keeps false alarms between streams of one model at about one in a hundred.

    Args:
        source: Tokens that the source generated, `[steps]`.
        candidate: Those of the candidate.
        other: Those of the source with another seed.
    """

    def nats(tokens: Tokens, order: int) -> float:
        return jensen_shannon_nats(*ngram_counts(source, tokens, order))

    freedom = np.union1d(source, other).size - 1
    slack = (freedom + 3 * math.sqrt(2 * freedom)) / len(source)
    orders = [order for order in _ORDERS if order <= len(source)]
    return Likeness(
        tuple(Distance(f"jsd_{order}gram_nats", nats(candidate, order), nats(other, order), slack) for order in orders)
    )


def frame_likeness(source: Numbers, candidate: Numbers, other: Numbers | None) -> Likeness:
    """Return the mean Kolmogorov-Smirnov statistic over features, and the largest difference of their means.

    The difference of means is in units of the source's standard deviation, or of both streams' where the source is
    constant. With n the steps that independent frames would need to say as much, `steps (1 - r) / (1 + r)` for an
    autocorrelation r (Bartlett, 1946), the slacks are `1 / sqrt(n)` and `3 / sqrt(n)`: two standard deviations of what
    chance makes of the difference of two such statistics.

    Args:
        source: Frames that the source generated, `[steps, features]`.
        candidate: Those of the candidate.
        other: Those of the source with another seed; None for a model that samples nothing.
    """
    repeats = lag_one(source)
    typical = _independent_steps(len(source), float(repeats.mean()))
    fewest = _independent_steps(len(source), float(repeats.max()))

    def distance(name: str, slack: float) -> Distance:
        measure = {"ks": _mean_ks, "mean_shift_sd": _mean_shift}[name]
        return Distance(name, measure(source, candidate), None if other is None else measure(source, other), slack)

    return Likeness(
        (distance("ks", 1 / math.sqrt(typical)), distance("mean_shift_sd", 3 / math.sqrt(fewest))),
        tuple(_moments(frames) for frames in (source, candidate, other) if frames is not None),
    )


def _independent_steps(steps: int, autocorrelation: float) -> float:
    repeats = max(autocorrelation, 0.0)
    return max(1.0, steps * (1 - repeats) / (1 + repeats))


def _mean_ks(left: Numbers, right: Numbers) -> float:
    return float(np.mean([kolmogorov_smirnov(*columns) for columns in zip(left.T, right.T, strict=True)]))


def _mean_shift(left: Numbers, right: Numbers) -> float:
    deviation = left.std(axis=0)
    scale = np.where(deviation > 0, deviation, np.concatenate([left, right]).std(axis=0))
    shift = np.abs(left.mean(axis=0) - right.mean(axis=0))
    return float(np.divide(shift, scale, out=np.zeros_like(shift), where=scale > 0).max())


def _moments(frames: Numbers) -> Moments:
    parts: Sequence[Numbers] = (frames.mean(axis=0), frames.std(axis=0), lag_one(frames))
    mean, deviation, autocorrelation = (tuple(map(float, part)) for part in parts)
    return Moments(mean, deviation, autocorrelation)
