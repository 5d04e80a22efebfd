"""Verify: how far two engines are apart along a long stream.

Teacher-forced, both are fed the same inputs, so that differences come from arithmetic alone. Free-running,
each is fed its own tokens, with shared noise, so that a difference can change the stream.
"""

import math
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_export.likelihood import log_sum_exp
from edgernn_export.parity import max_abs
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.noise import uniforms
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.stream import Stream

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
    """Whether two engines generate the same tokens or frames from the same noise.

    Attributes:
        steps: The number of tokens or frames.
        first_divergence: The first step at which they differ; None if they never did.
        agreement: The share of steps at which they agree.
        margin: How narrow the source's choice was at the first divergence: for greedy decoding the
            distance of its two highest logits, for sampling the distance of the uniform from the
            nearer edge of the chosen token's interval. None without a divergence, and for frames.
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
    source: Engine, candidate: Engine, recording: Recording, *, tolerance: float | None, seed: int = 0
) -> VerifyReport:
    """Compare two engines of one interface along one stream.

    Args:
        source: What should be computed.
        candidate: What is compared with it.
        recording: What both are fed, as one stream whatever starts in between; free running takes as many steps,
            from the source's start, and the inputs beside the main one from here.
        tolerance: The largest absolute difference allowed in the main output, teacher-forced.
        seed: The seed of the shared noise.

    Raises:
        InputError: If the models have different inputs, outputs or states, or the recording does not fit them.
    """
    _check_interfaces(source.spec, candidate.spec)
    recording.check(source.spec)
    limit = FLOAT_TOLERANCE if tolerance is None else tolerance
    forced = teacher_forced(source, candidate, recording, tolerance=limit)
    greedy = sampled = None
    if source.spec.feedback is not None and math.isfinite(forced.max_abs):
        greedy = free_running(source, candidate, recording, sampler=GREEDY, seed=seed, tolerance=limit)
        sampled = free_running(source, candidate, recording, sampler=Sampler(), seed=seed, tolerance=limit)
    return VerifyReport(len(recording), forced, greedy, sampled, tolerance)


def teacher_forced(
    source: Engine, candidate: Engine, recording: Recording, *, tolerance: float = FLOAT_TOLERANCE
) -> TeacherForced:
    """Compare two engines that are both fed `recording`; arguments as in `verify`."""
    recording.check(source.spec)
    first, second = source.executor(1), candidate.executor(1)
    output = source.spec.main_output
    tokens = output.role == "logits" and source.spec.distribution == "categorical"
    distances = np.empty((len(recording), 2))
    divergences = np.zeros(len(recording))
    drift = np.zeros((len(recording), len(source.spec.states)))
    for step in range(len(recording)):
        for executor in (first, second):
            recording.feed(executor, step)
            executor.run()
        left, right = first.outputs[output.name], second.outputs[output.name]
        distance = np.abs(left.astype(np.float64) - right.astype(np.float64))
        distances[step] = distance.max(), distance.mean()
        if tokens:
            divergences[step] = _kl_nats(left[0], right[0])
        pairs = zip(first.read_state(), second.read_state(), strict=True)
        drift[step] = [max_abs(before, after) for before, after in pairs]
    states = (
        StateDrift(state.input, float(column.max()), _first_above(column, tolerance))
        for state, column in zip(source.spec.states, drift.T, strict=True)
    )
    return TeacherForced(
        steps=len(recording),
        max_abs=float(distances[:, 0].max()),
        mean_abs=float(distances[:, 1].mean()),
        kl_nats=float(divergences.mean()) if tokens else None,
        first_divergence=_first_above(distances[:, 0], tolerance),
        states=tuple(states),
    )


def free_running(
    source: Engine,
    candidate: Engine,
    recording: Recording,
    *,
    sampler: Sampler,
    seed: int,
    tolerance: float = FLOAT_TOLERANCE,
) -> FreeRunning:
    """Compare what two engines generate with one sampler and the same noise.

    Tokens agree if they are the same, frames if no number of theirs differs by more than the tolerance. The inputs
    beside the main one are those of `recording`, and as many steps are taken.
    """
    streams = [_FreeStream(engine, recording, sampler, seed) for engine in (source, candidate)]
    noise = uniforms(seed, 0, len(recording))
    same = np.zeros(len(recording), bool)
    margin = None
    for step in range(len(recording)):
        left, right = (stream.next_value(step) for stream in streams)
        same[step] = max_abs(np.asarray(left), np.asarray(right)) <= (0 if isinstance(left, int) else tolerance)
        if margin is None and not same[step] and isinstance(left, int):
            margin = _margin(streams[0].logits(), left, sampler, float(noise[step]))
    different = np.flatnonzero(~same)
    return FreeRunning(
        steps=len(recording),
        first_divergence=int(different[0]) if different.size else None,
        agreement=float(same.mean()),
        margin=margin,
    )


class _FreeStream:
    """A stream that is fed what it generates, and a recording's other inputs."""

    def __init__(self, engine: Engine, recording: Recording, sampler: Sampler, seed: int) -> None:
        feedback = engine.spec.feedback
        assert feedback is not None  # noqa: S101, only generative models come here
        self._stream = Stream(engine.spec, engine.model_id, engine.executor, seed=seed, sampler=sampler)
        self._tokens = bool(engine.spec.vocabulary)
        self._output = feedback.output
        self._others = {
            name: array.astype(engine.spec.input(name).dtype)
            for name, array in recording.inputs.items()
            if name != feedback.input
        }
        if feedback.start is None:
            self._stream.prefill(np.zeros((1, *engine.spec.main_input.sized(1)[1:]), engine.spec.main_input.dtype))

    def next_value(self, step: int) -> int | NDArray[np.float32]:
        for name, array in self._others.items():
            self._stream.set_input(name, array[step])
        if self._tokens:
            return next(self._stream.generate(1))
        return next(self._stream.generate_frames(1))

    def logits(self) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", self._stream.output(self._output))


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
