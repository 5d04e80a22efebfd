"""Cold starts: from nothing to the first output, in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.errors import EngineError

COLD_STARTS: Final = 5

_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
"""Left out of a cold start, which compiles nothing where a package is installed and was imported before."""

_CHILD: Final = """
import sys, time
path, engine, providers, threads = sys.argv[1], sys.argv[2] or None, sys.argv[3].split(","), int(sys.argv[4])
from importlib import import_module
from pathlib import Path
from edgernn_runtime import load
from edgernn_runtime.engines.opening import is_native
import_module("edgernn_runtime.engines." + ("native" if is_native(Path(path), engine) else "ort"))
loading = time.monotonic()
model = load(path, engine=engine, providers=providers, threads=threads)
loaded = time.monotonic()
model.stream().step(model.spec.main_input.zero())
done = time.monotonic()
from edgernn_runtime.profiling import peak_rss_bytes
print(done, 1e3 * (loaded - loading), 1e3 * (done - loaded), peak_rss_bytes())
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From nothing to the first output, in a process of its own.

    Attributes:
        total_ms: From the start of the process to the first output, imports included.
        load_ms: Loading the model alone, its engine imported before.
        first_step_ms: Making a stream and taking its first step.
        peak_rss_bytes: The process's peak resident memory.
    """

    total_ms: float
    load_ms: float
    first_step_ms: float
    peak_rss_bytes: int


def cold_start(
    path: Path, *, engine: EngineName | None = None, providers: Sequence[str] = ("cpu",), threads: int = 1
) -> ColdStart:
    """Return the median of several starts, each in a new process, from nothing to the first output.

    Raises:
        EngineError: If the process fails.
    """
    starts = [_start_once(path, engine, providers, threads) for _ in range(COLD_STARTS)]
    total, loading, first, memory = np.median(np.array(starts), axis=0)
    return ColdStart(float(total), float(loading), float(first), int(memory))


def _start_once(path: Path, engine: EngineName | None, providers: Sequence[str], threads: int) -> list[float]:
    command = [sys.executable, "-c", _CHILD, str(path), engine or "", ",".join(providers), str(threads)]
    environment = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    before = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603, our own
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(f"{path} failed in a process of its own: {reason}")
    finished, loading, first, memory = map(float, done.stdout.splitlines()[-1].split())
    return [1e3 * (finished - before), loading, first, memory]
