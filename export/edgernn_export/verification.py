"""Verify: how far two engines are apart along a long stream.

Teacher-forced, both are fed the same inputs, so that differences come from arithmetic alone. Free-running,
each is fed its own tokens, with shared noise, so that a difference can change the stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_export.parity import max_abs
from edgernn_export.perplexity import log_sum_exp
from edgernn_runtime.engine import Array, Engine, Executor
from edgernn_runtime.errors import InputError
from edgernn_runtime.noise import uniforms
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import Spec

FLOAT_TOLERANCE: Final = 1e-3
"""Between float32 models: over 10,000 steps the rounding of long-lived cell states adds up to some 1e-4."""


@dataclass(frozen=True, slots=True)
class StateDrift:
    """How far one state is apart along a stream.

    Attributes:
        name: The state's input name.
        max_abs: The largest absolute difference.
        diverged: The first step at which it exceeded the tolerance; None if it never did.
    """

    name: str
    max_abs: float
    diverged: int | None


@dataclass(frozen=True, slots=True)
class TeacherForced:
    """How far two engines are apart when both are fed the same inputs.

    Attributes:
        steps: The number of steps.
        max_abs: The largest absolute difference in the main output.
        mean_abs: The mean absolute difference in it.
        kl_nats: The mean Kullback-Leibler divergence of the source's token distribution from the
            candidate's, in nats per step; None for models without logits.
        first_divergence: The first step at which `max_abs` exceeded the tolerance; None if it never did.
        states: The drift of each state.
    """

    steps: int
    max_abs: float
    mean_abs: float
    kl_nats: float | None
    first_divergence: int | None
    states: tuple[StateDrift, ...]

    @property
    def worst_state(self) -> str | None:
        """The state that diverged first, or the one farthest apart if none did; None without states."""
        if not self.states:
            return None
        diverged = [state for state in self.states if state.diverged is not None]
        if diverged:
            return min(diverged, key=lambda state: state.diverged or 0).name
        return max(self.states, key=lambda state: state.max_abs).name


@dataclass(frozen=True, slots=True)
class FreeRunning:
    """Whether two engines generate the same tokens from the same noise.

    Attributes:
        steps: The number of tokens.
        first_divergence: The first step at which they chose different tokens; None if they never did.
        agreement: The share of steps with the same token.
        margin: How narrow the source's choice was at the first divergence: for greedy decoding the
            distance of its two highest logits, for sampling the distance of the uniform from the
            nearer edge of the chosen token's interval. None without a divergence.
    """

    steps: int
    first_divergence: int | None
    agreement: float
    margin: float | None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` measured.

    Attributes:
        steps: The number of steps of each run.
        teacher_forced: Both fed the same inputs.
        greedy: Each fed its own most probable tokens; None for a model without feedback, or if an
            output is not finite.
        sampled: Each fed its own tokens, sampled with shared noise; None likewise.
        tolerance: The largest difference allowed teacher-forced; None if none was asked for.
    """

    steps: int
    teacher_forced: TeacherForced
    greedy: FreeRunning | None
    sampled: FreeRunning | None
    tolerance: float | None

    @property
    def passed(self) -> bool:
        """Whether the teacher-forced outputs stayed within the tolerance, NaN never does."""
        return self.tolerance is None or self.teacher_forced.max_abs <= self.tolerance


def verify(
    source: Engine, candidate: Engine, sequence: Sequence[Array], *, tolerance: float | None, seed: int = 0
) -> VerifyReport:
    """Compare two engines of one interface along one stream.

    Args:
        source: What should be computed.
        candidate: What is compared with it.
        sequence: Inputs of one stream, one array without the batch per step; free running takes as
            many steps, from the source's start token.
        tolerance: The largest absolute difference allowed in the main output, teacher-forced.
        seed: The seed of the shared noise.

    Raises:
        InputError: If the models have different inputs, outputs or states, or the sequence is empty.
    """
    _check_interfaces(source.spec, candidate.spec)
    limit = FLOAT_TOLERANCE if tolerance is None else tolerance
    forced = teacher_forced(source, candidate, sequence, tolerance=limit)
    greedy = sampled = None
    if source.spec.vocabulary and math.isfinite(forced.max_abs):
        greedy = free_running(source, candidate, len(sequence), sampler=GREEDY, seed=seed)
        sampled = free_running(source, candidate, len(sequence), sampler=Sampler(), seed=seed)
    return VerifyReport(len(sequence), forced, greedy, sampled, tolerance)


def teacher_forced(
    source: Engine, candidate: Engine, sequence: Sequence[Array], *, tolerance: float = FLOAT_TOLERANCE
) -> TeacherForced:
    """Compare two engines that are both fed `sequence`; arguments as in `verify`."""
    if len(sequence) == 0:
        raise InputError("there are no inputs to compare the models on")
    first, second = source.executor(1), candidate.executor(1)
    output = source.spec.main_output
    distances = np.empty((len(sequence), 2))
    divergences = np.zeros(len(sequence))
    drift = np.zeros((len(sequence), len(source.spec.states)))
    for step, value in enumerate(sequence):
        for executor in (first, second):
            executor.inputs[source.spec.main_input.name][0] = value
            executor.run()
        left, right = first.outputs[output.name], second.outputs[output.name]
        distance = np.abs(left.astype(np.float64) - right.astype(np.float64))
        distances[step] = distance.max(), distance.mean()
        if output.role == "logits":
            divergences[step] = _kl_nats(left[0], right[0])
        pairs = zip(first.read_state(), second.read_state(), strict=True)
        drift[step] = [max_abs(before, after) for before, after in pairs]
    states = (
        StateDrift(state.input, float(column.max()), _first_above(column, tolerance))
        for state, column in zip(source.spec.states, drift.T, strict=True)
    )
    return TeacherForced(
        steps=len(sequence),
        max_abs=float(distances[:, 0].max()),
        mean_abs=float(distances[:, 1].mean()),
        kl_nats=float(divergences.mean()) if output.role == "logits" else None,
        first_divergence=_first_above(distances[:, 0], tolerance),
        states=tuple(states),
    )


def free_running(source: Engine, candidate: Engine, steps: int, *, sampler: Sampler, seed: int) -> FreeRunning:
    """Compare the tokens that two engines generate with one sampler and the same noise."""
    noise = uniforms(seed, 0, steps)
    engines = [_FreeStream(engine, sampler) for engine in (source, candidate)]
    same = np.zeros(steps, bool)
    margin = None
    for step, uniform in enumerate(noise):
        tokens = [engine.next_token(float(uniform)) for engine in engines]
        same[step] = tokens[0] == tokens[1]
        if margin is None and not same[step]:
            margin = _margin(engines[0].logits, tokens[0], sampler, float(uniform))
    different = np.flatnonzero(~same)
    return FreeRunning(
        steps=steps,
        first_divergence=int(different[0]) if different.size else None,
        agreement=float(same.mean()),
        margin=margin,
    )


class _FreeStream:
    """An executor that is fed its own tokens."""

    def __init__(self, engine: Engine, sampler: Sampler) -> None:
        feedback = engine.spec.feedback
        assert feedback is not None  # noqa: S101, only generative models come here
        self._executor: Executor = engine.executor(1)
        self._input = self._executor.inputs[feedback.input]
        self._sampler = sampler
        self._token = feedback.start or 0
        self.logits = cast("NDArray[np.float32]", self._executor.outputs[feedback.output][0])

    def next_token(self, uniform: float) -> int:
        self._input[0] = self._token
        self._executor.run()
        self._token = self._sampler.sample(self.logits, uniform)
        return self._token


def _kl_nats(left: Array, right: Array) -> float:
    logits = np.stack([left, right]).astype(np.float64)
    before, after = logits - log_sum_exp(logits)[:, None]
    return float(np.sum(np.exp(before) * (before - after)))


def _margin(logits: NDArray[np.float32], token: int, sampler: Sampler, uniform: float) -> float:
    if sampler.temperature == 0:
        second, first = np.partition(logits, -2)[-2:]
        return float(first - second)
    cumulative = sampler.probabilities(logits).cumsum(dtype=np.float64)
    edges = np.concatenate([[0.0], cumulative / cumulative[-1]])[token : token + 2]
    return float(np.abs(edges - uniform).min())


def _first_above(values: NDArray[np.float64], tolerance: float) -> int | None:
    above = np.flatnonzero(~(values <= tolerance))
    return int(above[0]) if above.size else None


def _check_interfaces(source: Spec, candidate: Spec) -> None:
    for part in ("inputs", "outputs", "states", "distribution", "feedback", "codec"):
        if getattr(source, part) != getattr(candidate, part):
            raise InputError(f"the models differ in their {part}, so they cannot be compared; see edgernn inspect")
