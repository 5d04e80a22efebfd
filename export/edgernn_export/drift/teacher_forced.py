"""Teacher-forced drift: two engines fed the same inputs, so that differences come from arithmetic alone."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_export.drift.curve import Curve
from edgernn_export.likelihood import log_sum_exp
from edgernn_export.parity import max_abs
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.spec import Spec, StateSpec

FLOAT_TOLERANCE: Final = 1e-3
"""Between float32 models: over 10,000 steps the rounding of long-lived cell states adds up to some 1e-4."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StateDrift:
    """How far one state is apart along a stream.

    Attributes:
        name: The state's input name.
        max_abs: The largest absolute difference.
        magnitude: The largest absolute value of the source's state; infinities and NaN do not count.
        diverged: The first step at which the difference exceeded the tolerance; None if it never did.
        growth: The largest absolute difference of each step.
    """

    name: str
    max_abs: float
    magnitude: float
    diverged: int | None
    growth: Curve

    @property
    def relative(self) -> float:
        """The largest difference as a share of the magnitude; infinite if only the difference is not 0."""
        if self.magnitude > 0:
            return self.max_abs / self.magnitude
        return 0.0 if self.max_abs == 0 else math.inf


@dataclass(frozen=True, slots=True)
class TeacherForced:
    """How far two engines are apart when both are fed the same inputs.

    Attributes:
        steps: The number of steps.
        redrawn: The steps of a model that draws in its graph at which an output differed by more than the tolerance,
            each from the state of the source; None for other models, each of which keeps its own.
        max_abs: The largest absolute difference in an output.
        mean_abs: The mean absolute difference in it.
        kl_nats: The mean Kullback-Leibler divergence of the source's token distribution from the
            candidate's, in nats per step; None for models without logits.
        first_divergence: The first step at which `max_abs` exceeded the tolerance; None if it never did.
        states: The drift of each state.
        growth: The largest absolute difference in an output of each step.
        kl_growth: The divergence of each step, in nats; None for models without logits.
    """

    steps: int
    redrawn: int | None
    max_abs: float
    mean_abs: float
    kl_nats: float | None
    first_divergence: int | None
    states: tuple[StateDrift, ...]
    growth: Curve
    kl_growth: Curve | None

    @property
    def worst_state(self) -> str | None:
        """The state that diverged first, or the one relatively farthest apart if none did; None without states.

        Of those that diverged at one step it is the one relatively farthest apart too.
        """
        state = self.worst
        return None if state is None else state.name

    @property
    def worst(self) -> StateDrift | None:
        """The drift of `worst_state`."""
        return min(self.states, key=_guilt, default=None)


def teacher_forced(
    source: Engine, candidate: Engine, recording: Recording, *, tolerance: float = FLOAT_TOLERANCE
) -> TeacherForced:
    """Compare two engines that are both fed `recording`, as one stream whatever starts in between.

    Where they draw in their graphs, a draw that differs in the last bit changes all that follow. So there the candidate
    takes the state of the source before each step.

    Args:
        source: What should be computed.
        candidate: What is compared with it.
        recording: What both are fed.
        tolerance: The largest absolute difference that is no divergence.

    Raises:
        InputError: If the recording does not fit the models.
    """
    recording.check(source.spec)
    first, second = source.executor(1), candidate.executor(1)
    output = source.spec.main_output
    beside = [each.name for each in source.spec.unsampled.outputs if each != output]
    tokens = output.role == "logits" and source.spec.distribution == "categorical"
    distances = np.empty((len(recording), 2))
    divergences = np.zeros(len(recording))
    drift, sizes = np.zeros((2, len(recording), len(source.spec.states)))
    draws = bool(source.spec.noise_inputs)
    for step in range(len(recording)):
        if draws:
            second.write_state(first.read_state())
        for executor in (first, second):
            recording.feed(executor, step)
            executor.run()
        left, right = first.outputs[output.name], second.outputs[output.name]
        distance = _distance(left, right)
        others = [_distance(first.outputs[name], second.outputs[name]).max() for name in beside]
        distances[step] = max([distance.max(), *others], key=_nan_last), distance.mean()
        if tokens:
            divergences[step] = _kl_nats(left[0], right[0])
        before, after = first.read_state(), second.read_state()
        drift[step] = [max_abs(*pair) for pair in zip(before, after, strict=True)]
        sizes[step] = [np.abs(state.astype(np.float64)).max() for state in before]
    return TeacherForced(
        steps=len(recording),
        redrawn=int((~(distances[:, 0] <= tolerance)).sum()) if draws else None,
        max_abs=float(distances[:, 0].max()),
        mean_abs=float(distances[:, 1].mean()),
        kl_nats=float(divergences.mean()) if tokens else None,
        first_divergence=_first_above(distances[:, 0], tolerance),
        states=_state_drifts(source.spec, drift, sizes, tolerance),
        growth=Curve.of(distances[:, 0]),
        kl_growth=Curve.of(divergences) if tokens else None,
    )


def _state_drifts(spec: Spec, drift: Numbers, sizes: Numbers, tolerance: float) -> tuple[StateDrift, ...]:
    """Return the drift of each state, from differences and magnitudes `[steps, states]`."""

    def of(state: StateSpec, differences: Numbers, magnitudes: Numbers) -> StateDrift:
        return StateDrift(
            name=state.input,
            max_abs=float(differences.max()),
            magnitude=float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0)),
            diverged=_first_above(differences, tolerance),
            growth=Curve.of(differences),
        )

    return tuple(of(*each) for each in zip(spec.states, drift.T, sizes.T, strict=True))


def _nan_last(value: float) -> float:
    """Return what sorts NaN behind all numbers."""
    return math.inf if math.isnan(value) else value


def _guilt(state: StateDrift) -> tuple[float, float]:
    """Return what is smallest for the state to look at; NaN counts as infinitely far."""
    relative = math.inf if math.isnan(state.relative) else state.relative
    return math.inf if state.diverged is None else state.diverged, -relative


def _distance(left: Array, right: Array) -> Numbers:
    """Return absolute differences; infinities of one sign are equal."""
    one, two = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(one == two, 0.0, np.abs(one - two))


def _kl_nats(left: Array, right: Array) -> float:
    logits = np.stack([left, right]).astype(np.float64)
    before, after = logits - log_sum_exp(logits)[..., None]
    possible = before > -math.inf
    ratio = np.subtract(before, after, out=np.zeros_like(before), where=possible | np.isnan(before))
    return float(np.sum(np.exp(before) * ratio))


def _first_above(values: Numbers, tolerance: float) -> int | None:
    above = np.flatnonzero(~(values <= tolerance))
    return int(above[0]) if above.size else None
