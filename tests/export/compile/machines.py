"""Running the logits program of the firmware example wherever it can run: natively, or in QEMU."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn_export.compile.c_compiler import Compiler, find_compiler
from edgernn_export.compile.targets import Target, find_target
from edgernn_export.compile.toolchain import build_object
from edgernn_runtime.engines.cpu import cpu_features
from edgernn_runtime.errors import CompileError

FIRMWARE = Path(__file__).parents[3] / "examples" / "firmware"

HOSTED_BOARD = """
#include <stdio.h>
#include "board.h"
void board_begin(void) {}
void board_text(const char *text) { fputs(text, stdout); }
void board_number(uint32_t number) { printf("%lu", (unsigned long)number); }
void board_word(uint32_t word) { printf("%08lx", (unsigned long)word); }
uint32_t board_cycles(void) { return 0; }
void board_end(int status) { (void)status; }
"""
"""The firmware's board on a system that has a C library."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A target, the compiler for it, and the emulator that runs its programs (none: this machine)."""

    target: str
    compiler: str | None = None
    emulator: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.target}-{self.compiler or 'any'}"


def found_compiler(target: Target, command: str | None) -> Compiler:
    """Return the compiler, or skip the test that asks for it."""
    try:
        return find_compiler(target, command)
    except CompileError as error:
        pytest.skip(str(error))


def logits_on(machine: Machine, source: Path, tokens: Sequence[int], folder: Path) -> NDArray[np.uint32]:
    """Return the bits of the logits `[step, vocabulary]` that a machine computes after each token.

    Args:
        machine: Where to run.
        source: The model's C source, `model.c`.
        tokens: What to feed.
        folder: Where to build.
    """
    if machine.emulator and shutil.which(machine.emulator[0]) is None:
        pytest.skip(f"{machine.emulator[0]} is not installed (Debian: qemu-user)")
    target = find_target(machine.target)
    compiler = found_compiler(target, machine.compiler)
    code = build_object(source, target, folder / "model.o", compiler=compiler, overwrite=True)
    _skip_unless_runnable(machine, code.cpu)
    options = [*compiler.options(target), "model.o"]
    if machine.emulator:
        options.append("-static")
        if compiler.family == "zig":  # which has no static library of the other C library
            options[options.index(target.triple)] = target.triple.replace("gnu", "musl")
    return _printed(compiler, options, machine.emulator, source, tokens, folder)


def plain_logits(source: Path, tokens: Sequence[int], folder: Path) -> NDArray[np.uint32]:
    """Return the bits that this machine computes without optimization, one operation after the other."""
    compiler = found_compiler(find_target("host"), None)
    return _printed(compiler, ["-O0", "-ffp-contract=off", str(source)], (), source, tokens, folder)


def bits_of(text: str) -> NDArray[np.uint32]:
    """Return the words that lines of hexadecimal numbers stand for."""
    return np.array([[int(word, 16) for word in line.split()] for line in text.splitlines()], np.uint32)


def _printed(
    compiler: Compiler, options: list[str], emulator: tuple[str, ...], source: Path, tokens: Sequence[int], folder: Path
) -> NDArray[np.uint32]:
    (folder / "board.c").write_text(HOSTED_BOARD)
    told = ["-std=c99", f"-DTOKENS={','.join(map(str, tokens))}", f"-I{FIRMWARE}", f"-I{source.parent}"]
    compiler.run([*told, *options, str(FIRMWARE / "logits.c"), "board.c", "-lm", "-o", "logits"], folder=folder)
    result = subprocess.run([*emulator, folder / "logits"], capture_output=True, text=True, check=True, timeout=60)
    return bits_of(result.stdout)


def _skip_unless_runnable(machine: Machine, cpu: tuple[str, ...]) -> None:
    lacking = set(cpu) - (cpu_features() or frozenset())
    if not machine.emulator and lacking:
        pytest.skip(f"this CPU lacks {', '.join(sorted(lacking))}")
