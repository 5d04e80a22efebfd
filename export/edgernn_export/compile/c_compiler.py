"""C compilers: finding one that makes code for a target, and how it is told to."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgernn_export.compile.targets import Target
from edgernn_runtime.errors import CompileError

Family = Literal["gcc", "clang", "zig"]

_LINE: Final = 160
"""Characters of a compiler's line that an error repeats."""

_SAMPLE: Final = """#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
float edgernn_sample(const float *x, float *y);
float edgernn_sample(const float *x, float *y) {
    memcpy(y, x, 64);
    return rintf(*x);
}
"""
"""What a compiler must take to be taken itself."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler that was found.

    Attributes:
        command: What starts it.
        family: Whose options it takes.
        version: What it calls itself, such as `gcc (Debian 12.2.0-14) 12.2.0`.
    """

    command: tuple[str, ...]
    family: Family
    version: str

    def options(self, target: Target) -> tuple[str, ...]:
        """Return what makes it compile for `target`."""
        if self.family == "zig":
            system = () if target.native else ("-target", target.triple)
            enums = ("-fshort-enums",) if target.library is None else ()  # as arm-none-eabi has them
            return (*system, f"-mcpu={target.zig_cpu}", *enums)
        if self.family == "clang" and not target.native:
            return (f"--target={target.triple}", *target.flags)
        return target.flags

    def run(self, arguments: Sequence[str], *, folder: Path) -> str:
        """Run it in `folder` and return what it printed.

        Raises:
            CompileError: If it could not be started, or failed: with the first lines of what it said.
        """
        result = _run((*self.command, *arguments), folder=folder)
        if result.returncode:
            raise CompileError(f"{self.command_name} failed: {_complaint(result)}")
        return result.stdout

    @property
    def command_name(self) -> str:
        """What a person calls it."""
        return "zig cc" if self.family == "zig" else " ".join(self.command)


def find_compiler(target: Target, command: str | None = None) -> Compiler:
    """Return a compiler that makes code for `target`.

    Args:
        target: What to compile for.
        command: The compiler to take, such as `gcc-13` or `zig`. Without, for the host `$CC`, or the first of cc, gcc,
            clang and zig; for others a gcc of their own, zig, or clang, whichever first compiles a small file.

    Raises:
        CompileError: If there is none; it says what to install.
    """
    asked = command or (os.environ.get("CC") if target.native else None)
    if asked:
        return _named(asked)
    tried = []
    for candidate in _candidates(target):
        try:
            compiler = _named(candidate)
            _check(compiler, target)
        except CompileError as error:
            tried.append(str(error))
        else:
            return compiler
    raise CompileError(f"no C compiler makes code for {target.name}; install {_advice(target)} ({'; '.join(tried)})")


def _candidates(target: Target) -> Iterator[str]:
    if target.native:
        yield from ("cc", "gcc", "clang", "zig")
        return
    yield from target.gcc
    if target.library == "shared object":
        yield "gcc"
    yield from ("zig", "clang")


def _named(command: str) -> Compiler:
    words = _words(command)
    if words in {("zig",), ("zig", "cc")}:
        return _zig()
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise CompileError(f"{command} is not installed")
    if os.sep in words[0]:
        words = (str(Path(found).absolute()), *words[1:])
    result = _run((*words, "--version"))
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    if result.returncode or not lines:
        raise CompileError(f"{command} --version failed: {_complaint(result)}")
    family: Family = "clang" if "clang" in result.stdout else "gcc"
    return Compiler(words, "zig" if Path(words[0]).stem == "zig" else family, lines[0].strip())


def _words(command: str) -> tuple[str, ...]:
    """Return a command and its arguments; a file that exists is one word, whatever its name."""
    if Path(command).is_file():
        return (str(Path(command).absolute()),)
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise CompileError(f"{command} is no command: {error}") from error


def _zig() -> Compiler:
    if importlib.util.find_spec("ziglang") is not None:
        words: tuple[str, ...] = (sys.executable, "-m", "ziglang")
    elif shutil.which("zig") is not None:
        words = ("zig",)
    else:
        raise CompileError("zig is not installed")
    return Compiler((*words, "cc"), "zig", f"zig {_run((*words, 'version')).stdout.strip()}")


def _check(compiler: Compiler, target: Target) -> None:
    """Raise unless `compiler` makes code for `target`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if compiler.family == "gcc" and not target.native:
            machine = compiler.run(["-dumpmachine"], folder=folder).strip()
            if not machine.startswith(target.machine):
                raise CompileError(f"{compiler.command_name} makes code for {machine}")
        (folder / "sample.c").write_text(_SAMPLE)
        compiler.run([*compiler.options(target), "-c", "sample.c", "-o", "sample.o"], folder=folder)
        if target.library == "shared object" and compiler.family != "zig":  # which brings every system's libraries
            link = [*compiler.options(target), "-shared", "-fPIC", "sample.c", "-o", "sample.so", "-lm"]
            compiler.run([*link, *linker(compiler, target)], folder=folder)


def linker(compiler: Compiler, target: Target) -> tuple[str, ...]:
    """Return the option that names clang's linker where the system's own knows no other machine."""
    return ("-fuse-ld=lld",) if compiler.family == "clang" and not target.native else ()


def _advice(target: Target) -> str:
    if target.native:
        return f"{target.package} or clang, or pip install ziglang"
    return " or ".join(filter(None, (target.package, "pip install ziglang")))


def _run(words: Sequence[str], *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    # zig leaves what it notes of stack usage in its cache
    environment = os.environ | {"LC_ALL": "C"} | ({"ZIG_LOCAL_CACHE_DIR": str(folder)} if folder else {})
    try:
        return subprocess.run(  # noqa: S603, a compiler that the user chose
            words, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise CompileError(f"{words[0]} could not be started: {error.strerror or error}") from error


def _complaint(result: subprocess.CompletedProcess[str]) -> str:
    """Return the first lines of a compiler's complaint: from its first error on, if it names one."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if re.search(r"\b(error|undefined|cannot)\b", line)), 0)
    shown = [textwrap.shorten(line, _LINE, placeholder=" ...") for line in lines[first : first + 3]]
    return " | ".join(shown) or f"exit status {result.returncode}"
