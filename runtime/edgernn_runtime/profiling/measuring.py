"""Measuring models side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import NATIVE
from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.model import Model, load
from edgernn_runtime.profiling.deadline import Deadline, check_deadline, frame_period_us
from edgernn_runtime.profiling.floor import Floor
from edgernn_runtime.profiling.interleaving import interleave
from edgernn_runtime.profiling.latency import Latency
from edgernn_runtime.profiling.size import model_bytes
from edgernn_runtime.profiling.start import ColdStart, cold_start
from edgernn_runtime.profiling.stepping import stepper
from edgernn_runtime.providers import short_name
from edgernn_runtime.spec import Spec

_MOST_EXPANDED: Final = 8
"""Bytes in memory for one in the file, where weights of 4 bits become float32 when the model is loaded."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured of one model.

    Attributes:
        path: The model file.
        provider: The short name of the first execution provider; `native` for compiled code.
        threads: Threads inside one operator.
        steps: Timed steps.
        step_us: Latency of a step.
        cold: The median of several cold starts.
        weight_bytes: Bytes of weights that one step reads.
        floor_us: The time to read them once.
        rtf: Processing time over signal duration; None for models without a rate.
        deadline: Which steps took too long; None if nothing says how long they may take.
        nodes: How many nodes of the optimised graph run on which provider, by short name.
        durations_us: The duration of each timed step, float64 `[steps]`.
    """

    path: Path
    provider: str
    threads: int
    steps: int
    step_us: Latency
    cold: ColdStart
    weight_bytes: int
    floor_us: float
    rtf: float | None
    deadline: Deadline | None = None
    nodes: Mapping[str, int] = field(default_factory=dict, compare=False)
    durations_us: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def engine(self) -> EngineName:
        """What computed the step."""
        return "native" if self.provider == NATIVE else "onnxruntime"

    @property
    def jitter_us(self) -> float:
        """p99 - p50 of the step."""
        return self.step_us.p99 - self.step_us.p50

    @property
    def floor_ratio(self) -> float:
        """p50 of the step over the floor."""
        return self.step_us.p50 / self.floor_us


def profile(
    paths: Sequence[Path],
    *,
    steps: int = 5000,
    engine: EngineName | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: int = 1,
    deadline_us: float | None = None,
) -> tuple[Profile, ...]:
    """Measure models side by side, their steps interleaved so that ratios hold on a noisy machine.

    Args:
        paths: Model files, or folders of bundles.
        steps: Timed steps of each.
        engine: What computes them, as in `load`.
        providers: Names of execution providers, in order of preference.
        threads: Threads inside one operator.
        deadline_us: The longest that a step may take; None for the time in which a model's frames arrive.

    Raises:
        ModelFileError, SpecError, ProviderError: As `load` raises them.
        InputError: If `steps` or the deadline is not positive.
        EngineError: If a cold start fails, or as `load` raises it.
    """
    if steps < 1:
        raise InputError(f"steps must be positive, got {steps}")
    if isinstance(providers, str):
        raise InputError(f"providers must be a list of names, got {providers!r}")
    check_deadline(deadline_us)
    models = [load(path, engine=engine, providers=providers, threads=threads) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if model.spec.weight_bytes > _MOST_EXPANDED * model_bytes(path):
            raise SpecError(f"{path}: weight_bytes is {model.spec.weight_bytes}, more than the file can hold")
    cold = [cold_start(path, engine=engine, providers=providers, threads=threads) for path in paths]
    floors = [Floor(model.spec.weight_bytes) for model in models]
    durations = interleave([stepper(model) for model in models], steps, between=[floor.read for floor in floors])
    return tuple(
        Profile(
            path=path,
            provider=short_name(model.providers[0]),
            threads=threads,
            steps=steps,
            step_us=(latency := Latency.of(taken)),
            cold=start,
            weight_bytes=model.spec.weight_bytes,
            floor_us=floor.microseconds,
            rtf=real_time_factor(model.spec, latency),
            deadline=_deadline(model.spec, taken, deadline_us),
            nodes=_nodes(model),
            durations_us=taken,
        )
        for path, model, start, floor, taken in zip(paths, models, cold, floors, durations, strict=True)
    )


def real_time_factor(spec: Spec, latency: Latency) -> float | None:
    """Return processing time over signal duration; None for models without a rate."""
    period = frame_period_us(spec)
    return None if period is None else latency.mean / period


def _deadline(spec: Spec, durations_us: NDArray[np.float64], us: float | None) -> Deadline | None:
    limit = frame_period_us(spec) if us is None else us
    return None if limit is None else Deadline.of(durations_us, limit)


def _nodes(model: Model) -> dict[str, int]:
    return dict(Counter(short_name(node.provider) for node in model.placement()))
