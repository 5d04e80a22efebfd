"""Sweeping threads and spinning: every variant of every model in turns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgernn_runtime.errors import InputError
from edgernn_runtime.model import load
from edgernn_runtime.profiling.interleaving import interleave
from edgernn_runtime.profiling.latency import Latency
from edgernn_runtime.profiling.stepping import stepper
from edgernn_runtime.providers import ProviderRequest


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a model.

    Attributes:
        threads: Threads inside one operator.
        spinning: Whether idle threads keep a core busy while they wait.
        p50_us: The median latency of a step.
        p99_us: Its 99th percentile.
        best: Whether no other variant of the model has a lower p50.
    """

    threads: int
    spinning: bool
    p50_us: float
    p99_us: float
    best: bool = False


def sweep(
    paths: Sequence[Path],
    *,
    steps: int,
    providers: tuple[ProviderRequest, ...] = ("cpu",),
    cores: int | None = None,
) -> tuple[tuple[Variant, ...], ...]:
    """Return the variants of each model, all of them stepped in turns.

    Args:
        paths: Model files, or folders of bundles.
        steps: Timed steps of each variant.
        providers: Names of execution providers, in order of preference.
        cores: Threads at most; None for the cores that this process may use.

    Raises:
        InputError: If `steps` is not positive.
        ModelFileError, SpecError, ProviderError: As `load` raises them.
    """
    if steps < 1:
        raise InputError(f"steps must be positive, got {steps}")
    settings = [
        (threads, spinning)
        for threads in thread_counts(usable_cores() if cores is None else cores)
        for spinning in ((False, True) if threads > 1 else (False,))
    ]
    models = [
        load(path, providers=providers, threads=threads, spinning=spinning)
        for path in paths
        for threads, spinning in settings
    ]
    latencies = [Latency.of(taken) for taken in interleave([stepper(model) for model in models], steps)]
    count = len(settings)
    return tuple(_variants(settings, latencies[i : i + count]) for i in range(0, len(models), count))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only some systems have it
        return os.cpu_count() or 1


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return 1, 2, 4 and so on, and the number of cores itself.

    >>> thread_counts(6)
    (1, 2, 4, 6)
    """
    return tuple(sorted({*(2**i for i in range(cores.bit_length())), cores}))


def _variants(settings: Sequence[tuple[int, bool]], latencies: Sequence[Latency]) -> tuple[Variant, ...]:
    found = [
        Variant(threads, spinning, latency.p50, latency.p99)
        for (threads, spinning), latency in zip(settings, latencies, strict=True)
    ]
    best = min(found, key=lambda variant: variant.p50_us)
    return tuple(replace(variant, best=variant is best) for variant in found)
