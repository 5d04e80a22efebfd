"""Profiling: step latency along an evolving stream, cold start, memory, and the read floor.

The floor is the time to read the bytes of weights that one step reads once, from where they lie after a
step: the fastest of several readers over a buffer of that size, read once untimed just before.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.bundle_spec import read_bundle
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import EngineError, InputError, SpecError
from edgernn_runtime.model import Model, load
from edgernn_runtime.providers import short_name
from edgernn_runtime.spec import Spec, TensorSpec

BLOCK_STEPS: Final = 100
WARMUP_STEPS: Final = 100
COLD_STARTS: Final = 5

_DISTINCT_INPUTS: Final = 1024
_FLOOR_READS: Final = 5
_MOST_EXPANDED: Final = 8
"""Bytes in memory for one in the file, where weights of 4 bits become float32 when the model is loaded."""

_CHILD: Final = """
import sys, time
path, providers, threads = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
from edgernn_runtime import load
loading = time.monotonic()
model = load(path, providers=providers, threads=threads)
loaded = time.monotonic()
model.stream().step(model.spec.main_input.zero())
done = time.monotonic()
from edgernn_runtime.profiling import peak_rss_bytes
print(done, 1e3 * (loaded - loading), 1e3 * (done - loaded), peak_rss_bytes())
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of single steps, in microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float

    @classmethod
    def of(cls, durations_us: NDArray[np.float64]) -> "Latency":
        """Return the percentiles of durations `[steps]`."""
        p50, p90, p99, p999 = (float(value) for value in np.percentile(durations_us, [50, 90, 99, 99.9]))
        return cls(p50, p90, p99, p999, float(durations_us.max()), float(durations_us.mean()))


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From nothing to the first output, in a process of its own.

    Attributes:
        total_ms: From the start of the process to the first output, imports included.
        load_ms: Loading the model alone.
        first_step_ms: Making a stream and taking its first step.
        peak_rss_bytes: The process's peak resident memory.
    """

    total_ms: float
    load_ms: float
    first_step_ms: float
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured of one model.

    Attributes:
        path: The model file.
        provider: The short name of the first execution provider.
        threads: Threads inside one operator.
        steps: Timed steps.
        step_us: Latency of a step.
        cold: The median of several cold starts.
        weight_bytes: Bytes of weights that one step reads.
        floor_us: The time to read them once.
        rtf: Processing time over signal duration; None for models without a rate.
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

    @property
    def jitter_us(self) -> float:
        """p99 - p50 of the step."""
        return self.step_us.p99 - self.step_us.p50

    @property
    def floor_ratio(self) -> float:
        """p50 of the step over the floor."""
        return self.step_us.p50 / self.floor_us


def profile(
    paths: Sequence[Path], *, steps: int = 5000, providers: Sequence[str] = ("cpu",), threads: int = 1
) -> tuple[Profile, ...]:
    """Measure models side by side, their steps interleaved so that ratios hold on a noisy machine.

    Args:
        paths: Model files, or folders of bundles.
        steps: Timed steps of each.
        providers: Names of execution providers, in order of preference.
        threads: Threads inside one operator.

    Raises:
        ModelFileError, SpecError, ProviderError: As `load` raises them.
        InputError: If `steps` is not positive.
        EngineError: If a cold start fails.
    """
    if steps < 1:
        raise InputError(f"steps must be positive, got {steps}")
    if isinstance(providers, str):
        raise InputError(f"providers must be a list of names, got {providers!r}")
    models = [load(path, providers=providers, threads=threads) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if model.spec.weight_bytes > _MOST_EXPANDED * model_bytes(path):
            raise SpecError(f"{path}: weight_bytes is {model.spec.weight_bytes}, more than the file can hold")
    cold = [cold_start(path, providers=providers, threads=threads) for path in paths]
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
            rtf=_rtf(model.spec, latency),
        )
        for path, model, start, floor, taken in zip(paths, models, cold, floors, durations, strict=True)
    )


def model_bytes(path: Path) -> int:
    """Return the size of a model file, or of all model files of a bundle."""
    if not path.is_dir():
        return path.stat().st_size
    return sum((path / stage.file).stat().st_size for stage in read_bundle(path).stages.values())


def interleave(
    steppers: Sequence[Callable[[int], None]], steps: int, *, between: Sequence[Callable[[], None]] = ()
) -> list[NDArray[np.float64]]:
    """Return the durations of `steps` calls of each stepper, in microseconds `[steps]`.

    The steppers take turns in blocks; each is called with the number of the step. The first calls, and
    the first of each block, which finds another's weights in the caches, are not counted.

    Args:
        steppers: What is timed.
        steps: Timed calls of each.
        between: Called after each block of the stepper of the same index, untimed.
    """
    clock = time.perf_counter_ns
    durations = [np.empty(steps) for _ in steppers]
    for call in steppers:
        for number in range(WARMUP_STEPS):
            call(number)
    for start in range(0, steps, BLOCK_STEPS):
        block = range(start, min(start + BLOCK_STEPS, steps))
        for index, call in enumerate(steppers):
            call(start)
            for number in block:
                before = clock()
                call(number)
                durations[index][number] = clock() - before
            if between:
                between[index]()
    return [taken / 1e3 for taken in durations]


def stepper(model: Model) -> Callable[[int], None]:
    """Return a function that takes one step of a new stream, fed another input each time."""
    stream = model.stream()
    inputs = list(_random_inputs(model.spec))
    out = np.empty(model.spec.main_output.sized(1)[1:], model.spec.main_output.dtype)
    count = len(inputs)

    def step(number: int) -> None:
        stream.step_into(inputs[number % count], out)

    return step


class Floor:
    """Reads as many bytes as a step's weights have, and remembers the fastest reader. Mutable."""

    def __init__(self, size: int) -> None:
        """Make a buffer of `size` bytes, at least one page."""
        words = max(size, 4096) // 8
        content = np.random.default_rng(0).integers(0, 2**31, words, dtype=np.uint64)
        floats = np.random.default_rng(0).random(words * 2, np.float32)
        self._readers: Mapping[str, Callable[[], object]] = {
            "uint64 sum": lambda: np.add.reduce(content),
            "uint64 max": lambda: np.max(content),
            "int8 max": lambda: np.max(content.view(np.int8)),
            "float32 sum": lambda: np.add.reduce(floats),
            "float32 max": lambda: np.max(floats),
            "float32 dot": lambda: np.einsum("i,i->", floats, floats),
        }
        self._taken: dict[str, list[int]] = {name: [] for name in self._readers}

    def read(self) -> None:
        """Time every reader, each on a buffer that was read once just before."""
        for name, reader in self._readers.items():
            reader()
            for _ in range(_FLOOR_READS):
                before = time.perf_counter_ns()
                reader()
                self._taken[name].append(time.perf_counter_ns() - before)

    @property
    def microseconds(self) -> float:
        """The median time of the fastest reader."""
        return min(float(np.median(taken)) for taken in self._taken.values()) / 1e3


def cold_start(path: Path, *, providers: Sequence[str] = ("cpu",), threads: int = 1) -> ColdStart:
    """Return the median of several starts, each in a new process, from nothing to the first output.

    Raises:
        EngineError: If the process fails.
    """
    starts = [_start_once(path, providers, threads) for _ in range(COLD_STARTS)]
    total, loading, first, memory = np.median(np.array(starts), axis=0)
    return ColdStart(float(total), float(loading), float(first), int(memory))


def peak_rss_bytes() -> int:
    """Return this process's peak resident memory in bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    try:
        import resource  # noqa: PLC0415, not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _start_once(path: Path, providers: Sequence[str], threads: int) -> list[float]:
    command = [sys.executable, "-c", _CHILD, str(path), ",".join(providers), str(threads)]
    before = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603, our own code
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(f"{path} failed in a process of its own: {reason}")
    finished, loading, first, memory = map(float, done.stdout.splitlines()[-1].split())
    return [1e3 * (finished - before), loading, first, memory]


def random_values(spec: Spec, tensor: TensorSpec, batch: int, rng: np.random.Generator) -> Array:
    """Return values for an input, `[batch, ...]`: integers below its size, noise in [0, 1), else normal numbers."""
    shape = tensor.sized(batch)
    if np.dtype(tensor.dtype).kind != "f":
        below = tensor.size or (spec.vocabulary if tensor == spec.main_input else 0) or 2
        return rng.integers(0, below, shape).astype(tensor.dtype)
    if tensor.role == "noise":
        return rng.random(shape).astype(tensor.dtype)
    return rng.standard_normal(shape).astype(tensor.dtype)


def _random_inputs(spec: Spec) -> Iterator[int | Array]:
    rng = np.random.default_rng(0)
    for _ in range(_DISTINCT_INPUTS):
        value = random_values(spec, spec.main_input, 1, rng)[0]
        yield int(value) if spec.vocabulary else np.asarray(value)


def _rtf(spec: Spec, latency: Latency) -> float | None:
    if spec.rate_hz is None:
        return None
    return latency.mean * 1e-6 * spec.rate_hz / spec.frames_per_step


def to_json(measured: Profile) -> dict[str, object]:
    """Return a profile under the keys of the command line's `--json`."""
    latency = measured.step_us
    return {
        "path": str(measured.path),
        "provider": measured.provider,
        "threads": measured.threads,
        "steps": measured.steps,
        "step_us": {name: getattr(latency, name) for name in ("p50", "p90", "p99", "p999", "max", "mean")},
        "jitter_us": measured.jitter_us,
        "steps_per_s": 1e6 / latency.mean,
        "cold_start_ms": measured.cold.total_ms,
        "load_ms": measured.cold.load_ms,
        "first_step_ms": measured.cold.first_step_ms,
        "peak_rss_bytes": measured.cold.peak_rss_bytes,
        "weight_bytes": measured.weight_bytes,
        "floor_us": measured.floor_us,
        "floor_ratio": measured.floor_ratio,
        "rtf": measured.rtf,
    }
