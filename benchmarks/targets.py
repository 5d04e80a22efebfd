"""What a compiled text model takes on every target: flash, RAM, stack, and the time of a token where it can be run.

python benchmarks/targets.py MODEL.onnx

Needs compilers for all targets (`pip install edgernn[compile]`), node for WebAssembly, and for microcontrollers
arm-none-eabi-gcc, make and qemu-system-arm, which counts instructions.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from edgernn_export.compile import TARGETS, Built, Compiled, Target, build_library, build_object, compile_model
from edgernn_runtime import Sampler, load
from edgernn_runtime.errors import CompileError, EngineError

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
SAMPLER: Final = Sampler(temperature=0.8)

_TOKENS: Final = 2000
_ROUNDS: Final = 9
_NODE: Final = r"([\d.]+) us each"
_BOARD: Final = r"(\d+) cycles a token"
_CORES: Final[Mapping[str, str]] = {"thumbv7em": "m4", "thumbv7em-m7": "m7"}


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage:\n{__doc__}")
    with tempfile.TemporaryDirectory() as name:
        compiled = compile_model(sys.argv[1], name, name="model")
        weights = f"{compiled.spec.precision}, {compiled.macs_per_step:,} multiplications a step"
        print(f"{Path(sys.argv[1]).name}: {weights}\n")
        print("| target | compiler | flash, bytes | RAM | stack | a token |")
        print("|---|---|---|---|---|---|")
        for target in TARGETS.values():
            print(_row(compiled, target), flush=True)


def _row(compiled: Compiled, target: Target) -> str:
    try:
        built = _built(compiled, target)
    except CompileError as error:
        return f"| `{target.name}` | {error} | | | | |"
    stack = "?" if built.stack_bytes is None else f"{built.stack_bytes:,}"
    sizes = f"{built.flash_bytes:,} | {built.ram_bytes:,} | {stack}"
    return f"| `{target.name}` | {built.compiler} | {sizes} | {_token(compiled, built)} |"


def _built(compiled: Compiled, target: Target) -> Built:
    output = compiled.source.with_name(f"{target.name}{target.library_suffix if target.library else '.o'}")
    if target.library is None:
        return build_object(compiled.source, target, output)
    return build_library(compiled.source, target, output, model_id=compiled.model_id, spec=compiled.spec)


def _token(compiled: Compiled, built: Built) -> str:
    """Return what a token takes, sampled, or why that is not known here."""
    if built.target.name in _CORES:
        return _instructions(compiled, _CORES[built.target.name])
    if built.target.library == "wasm module":
        return _milliseconds(built.path)
    try:
        stream = load(built.path).stream(sampler=SAMPLER)
    except EngineError:
        return "does not run on this machine"
    return f"{_microseconds(lambda: sum(1 for _ in stream.generate(_TOKENS))):.1f} us through Python"


def _microseconds(generate: Callable[[], int]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        before = perf_counter()
        generate()
        taken.append((perf_counter() - before) / _TOKENS * 1e6)
    return median(taken)


def _milliseconds(module: Path) -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    command = ["node", str(EXAMPLES / "browser" / "generate.mjs"), str(module), "--tokens", str(10 * _TOKENS)]
    said = _run(command).stderr
    return f"{_found(_NODE, said)} us in node"


def _instructions(compiled: Compiled, core: str) -> str:
    if None in map(shutil.which, ("make", "qemu-system-arm", "arm-none-eabi-gcc")):
        return "make, arm-none-eabi-gcc and qemu-system-arm are not installed"
    folder = compiled.source.parent
    command = ["make", "-s", "-C", str(EXAMPLES / "firmware"), f"MODEL={folder}", f"BUILD={folder / core}"]
    said = _run([*command, f"CORE={core}", "run"]).stdout
    return f"{int(_found(_BOARD, said)):,} instructions"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603, programs of this repository


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"expected {pattern} in: {text[-300:]}")
    return found[1]


if __name__ == "__main__":
    main()
