"""Free-running drift: each engine is fed what it generates, with shared noise, so that a difference can grow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgernn_export.drift.curve import Curve
from edgernn_export.drift.likeness import Likeness, frame_likeness, token_likeness
from edgernn_export.drift.teacher_forced import FLOAT_TOLERANCE
from edgernn_export.parity import max_abs
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Engine
from edgernn_runtime.noise import SEED_LIMIT, uniforms
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.stream import Stream

Value = int | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FreeRunning:
    """Whether two engines generate the same tokens or frames from the same noise, and if not, alike ones.

    Attributes:
        steps: The number of tokens or frames.
        first_divergence: The first step at which they differ; None if they never did.
        agreement: The share of steps at which they agree.
        margin: How narrow the source's choice was at the first divergence: for greedy decoding the
            distance of its two highest logits, for sampling the distance of the uniform from the
            nearer edge of the chosen token's interval. None without a divergence, and for frames.
        tokens: What the source and the candidate chose there; None likewise.
        agreements: Where they agree: 1 for a step at which they do, else 0; its means are shares.
        likeness: Whether streams that parted are still of one distribution; None if they did not part, and for
            greedy decoding.
    """

    steps: int
    first_divergence: int | None
    agreement: float
    margin: float | None
    tokens: tuple[int, int] | None
    agreements: Curve
    likeness: Likeness | None

    @property
    def same_distribution(self) -> bool | None:
        """Whether the candidate is no farther from the source than the source from itself, or never parted from it.

        None where that is not measured: greedy decoding, and models that sample nothing.
        """
        if self.first_divergence is None:
            return True
        return None if self.likeness is None else self.likeness.same


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
    beside the main one are those of `recording`, and as many steps are taken. Where sampled streams part, the source
    generates another one, with the next seed, as the yardstick of their likeness.

    Args:
        source: What should be computed.
        candidate: What is compared with it.
        recording: Whose steps and other inputs are taken.
        sampler: How both choose.
        seed: The seed of the shared noise.
        tolerance: The largest absolute difference of frames that agree.
    """
    left, right = (_FreeStream(engine, recording, sampler, seed) for engine in (source, candidate))
    noise = uniforms(seed, 0, len(recording))
    same = np.zeros(len(recording), bool)
    margin = tokens = None
    for step in range(len(recording)):
        one, two = left.next_value(step), right.next_value(step)
        same[step] = max_abs(np.asarray(one), np.asarray(two)) <= (0 if isinstance(one, int) else tolerance)
        if tokens is None and not same[step] and isinstance(one, int) and isinstance(two, int):
            tokens = (one, two)
            margin = _margin(left.logits(), one, sampler, float(noise[step]))
    different = np.flatnonzero(~same)
    likeness = None
    if different.size and sampler.temperature:
        sampled = source.spec.distribution != "none"
        other = _other_stream(source, recording, sampler, seed) if sampled else None
        likeness = _likeness(left, right, other)
    return FreeRunning(
        steps=len(recording),
        first_divergence=int(different[0]) if different.size else None,
        agreement=float(same.mean()),
        margin=margin,
        tokens=tokens,
        agreements=Curve.of(same.astype(np.float64)),
        likeness=likeness,
    )


class _FreeStream:
    """A stream that is fed what it generates, and a recording's other inputs."""

    def __init__(self, engine: Engine, recording: Recording, sampler: Sampler, seed: int) -> None:
        feedback = engine.spec.feedback
        assert feedback is not None  # noqa: S101, only generative models come here
        self._stream = Stream(engine.spec, engine.model_id, engine.executor, seed=seed, sampler=sampler)
        self.of_tokens = bool(engine.spec.vocabulary)
        self._output = feedback.output
        self._others = {
            name: array.astype(engine.spec.input(name).dtype)
            for name, array in recording.inputs.items()
            if name != feedback.input and engine.spec.input(name).role != "noise"
        }
        self._made: list[Value] = []
        if feedback.start is None:
            self._stream.prefill(np.zeros((1, *engine.spec.main_input.sized(1)[1:]), engine.spec.main_input.dtype))

    def next_value(self, step: int) -> Value:
        for name, array in self._others.items():
            self._stream.set_input(name, array[step])
        made: Iterator[Value] = self._stream.generate(1, stop=()) if self.of_tokens else self._stream.generate_frames(1)
        self._made.append(next(made))
        return self._made[-1]

    def tokens(self) -> NDArray[np.int64]:
        """Return the tokens made so far, `[steps]`."""
        return np.array(self._made, np.int64)

    def frames(self) -> NDArray[np.float64]:
        """Return the frames made so far, flattened, `[steps, features]`."""
        return np.stack([np.ravel(frame) for frame in self._made]).astype(np.float64)

    def logits(self) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", self._stream.output(self._output))


def _likeness(source: _FreeStream, candidate: _FreeStream, other: _FreeStream | None) -> Likeness:
    """Return how alike two streams are, beside another one of the source, None if it would be the same."""
    if source.of_tokens:
        assert other is not None  # noqa: S101, tokens are always drawn
        return token_likeness(source.tokens(), candidate.tokens(), other.tokens())
    return frame_likeness(source.frames(), candidate.frames(), None if other is None else other.frames())


def _other_stream(source: Engine, recording: Recording, sampler: Sampler, seed: int) -> _FreeStream:
    """Return a stream of the source that has generated as many steps from the noise of the next seed."""
    other = _FreeStream(source, recording, sampler, (seed + 1) % SEED_LIMIT)
    for step in range(len(recording)):
        other.next_value(step)
    return other


def _margin(logits: NDArray[np.float32], token: int, sampler: Sampler, uniform: float) -> float:
    if sampler.temperature == 0:
        second, first = np.partition(logits, -2)[-2:]
        return float(first - second)
    cumulative = sampler.probabilities(logits).cumsum(dtype=np.float64)
    edges = np.concatenate([[0.0], cumulative / cumulative[-1]])[token : token + 2]
    return float(np.abs(edges - uniform).min())
