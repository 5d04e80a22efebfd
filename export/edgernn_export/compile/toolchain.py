"""From C to machine code: object files for firmware, shared libraries and WebAssembly modules that describe themselves.

Whatever the target and the compiler, results are the same to the bit: every flag here keeps the order and the rounding
of each operation that the source names. `-ffp-contract=off` forbids fused multiply-adds, which some machines lack;
`-fno-math-errno` and `-fno-trapping-math` say only that no one looks at `errno` and at the flags of the floating-point
unit, which lets compilers turn selects, `ceilf` and `sqrtf` into vector instructions.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn_export.compile import wasm
from edgernn_export.compile.c_compiler import Compiler, find_compiler, linker
from edgernn_export.compile.cpu_macros import features_of_macros
from edgernn_export.compile.elf import read_elf
from edgernn_export.compile.stack_usage import longest_chain, read_frames
from edgernn_export.compile.targets import Target
from edgernn_runtime.engines.library_file import Description, description_to_json, with_trailer
from edgernn_runtime.errors import CompileError
from edgernn_runtime.files import check_target, write_bytes
from edgernn_runtime.spec import Spec

FLAGS: Final = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fomit-frame-pointer")
"""What every compiler is told, for every target."""

SECTION: Final = "edgernn"
"""The custom section of a WebAssembly module that describes it."""

_LAYOUT: Final = ("-ffunction-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-g0")
_LIBRARY: Final = ("-DEDGERNN_LIBRARY", "-fvisibility=hidden")
_WASM_STACK_BYTES: Final = 32768
"""What a module's stack has beside the frames of the model's functions."""


@dataclass(frozen=True, slots=True)
class Built:
    """Code that was compiled, and how large it is.

    Attributes:
        path: The file that was written.
        target: What it is for.
        compiler: What the compiler calls itself.
        flags: What it was told.
        cpu: The CPU features that the code may use, as `/proc/cpuinfo` names them.
        flash_bytes: What must be stored: code, constants and initial values.
        ram_bytes: What must be writable: variables, and the state of one stream. For WebAssembly all memory that a
            module begins with, where its constants and its stack lie too, and the state.
        state_bytes: The state of one stream, which is part of `ram_bytes`.
        stack_bytes: The stack of the deepest chain of calls in the code, without what the C library takes; None if
            the compiler does not say.
        stack_source: Where that figure comes from.
    """

    path: Path
    target: Target
    compiler: str
    flags: tuple[str, ...]
    cpu: tuple[str, ...]
    flash_bytes: int
    ram_bytes: int
    state_bytes: int
    stack_bytes: int | None
    stack_source: str


def build_object(
    source: Path, target: Target, output: Path, *, compiler: Compiler | None = None, overwrite: bool = False
) -> Built:
    """Compile a step model's C source into an object file, for a program to be linked with.

    Args:
        source: The C file; its header lies beside it, and its name is the prefix of the model's functions.
        target: What to compile for.
        output: The object file to write.
        compiler: The compiler to take; without, one that makes code for `target` is looked for.
        overwrite: Whether an existing file may be replaced.

    Raises:
        CompileError: If no compiler makes code for `target`, or the compiler fails.
        OutputError: If the file cannot be written, or exists and may not be replaced.
    """
    check_target(output, overwrite=overwrite)
    compiler = compiler or find_compiler(target)
    with tempfile.TemporaryDirectory() as name:
        workshop = _Workshop(source.absolute(), target, compiler, Path(name))
        code = workshop.compile(())
        built = workshop.built(output, code, ())
        write_bytes(output, code.read_bytes(), overwrite=overwrite)
        return built


def build_library(
    source: Path,
    target: Target,
    output: Path,
    *,
    model_id: str,
    spec: Spec,
    compiler: Compiler | None = None,
    overwrite: bool = False,
) -> Built:
    """Compile a step model's C source into a library that describes itself: a shared object, or a WebAssembly module.

    A shared object is what `edgernn_runtime` loads (`engines/library_file.py` has the layout of its description). A
    WebAssembly module imports nothing, exports its memory, `__heap_base` and the model's functions, and carries the
    same description in a custom section called `edgernn`.

    Args:
        source: The C file; its header lies beside it.
        target: What to compile for.
        output: The library to write.
        model_id: The id of the model that the source was made from.
        spec: Its Spec.
        compiler: The compiler to take; without, one that makes code for `target` is looked for.
        overwrite: Whether an existing file may be replaced.

    Raises:
        CompileError: If there are no libraries for `target`, no compiler makes code for it, or the compiler fails.
        OutputError: If the file cannot be written, or exists and may not be replaced.
    """
    if target.library is None:
        raise CompileError(f"{target.name} has no libraries; compile an object file and link it with firmware")
    check_target(output, overwrite=overwrite)
    compiler = compiler or find_compiler(target)
    with tempfile.TemporaryDirectory() as name:
        workshop = _Workshop(source.absolute(), target, compiler, Path(name))
        code = workshop.compile(_LIBRARY)
        content = workshop.link(code).read_bytes()
        told = " ".join((compiler.version, *workshop.flags(_LIBRARY)))
        description = Description(model_id, spec, target.name, workshop.cpu(), told)
        if target.library == "wasm module":
            library = wasm.with_section(content, SECTION, description_to_json(description).encode())
            memory_bytes = wasm.memory_bytes(content)
        else:
            library = with_trailer(content, description)
            memory_bytes = 0
        built = workshop.built(output, code, _LIBRARY, memory_bytes=memory_bytes)
        write_bytes(output, library, overwrite=overwrite)
        return built


@dataclass(frozen=True, slots=True)
class _Workshop:
    """A folder in which one source is compiled for one target by one compiler."""

    source: Path
    target: Target
    compiler: Compiler
    folder: Path

    def flags(self, more: tuple[str, ...]) -> tuple[str, ...]:
        anywhere = ("-fPIC",) if self.target.library == "shared object" else ()
        return (*self.compiler.options(self.target), *FLAGS, *anywhere, *more)

    def compile(self, more: tuple[str, ...]) -> Path:
        """Compile the source; what the compiler notes of stack usage stays in the folder."""
        if not self.source.is_file():
            raise CompileError(f"{self.source} does not exist")
        code = self.folder / "step.o"
        arguments = [*self.flags(more), *_LAYOUT, "-fstack-usage", "-c", str(self.source), "-o", str(code)]
        self.compiler.run(arguments, folder=self.folder)
        return code

    def link(self, code: Path) -> Path:
        library = self.folder / f"step{self.target.library_suffix}"
        options = [*self.compiler.options(self.target), *linker(self.compiler, self.target), "-O3", "-s"]
        if self.target.library == "wasm module":
            frames = sum(read_frames(self.folder).values())
            stack = -(-(frames + _WASM_STACK_BYTES) // wasm.PAGE_BYTES) * wasm.PAGE_BYTES
            exports = ("-Wl,--no-entry", "-Wl,--export-dynamic", "-Wl,--export=__heap_base")
            options += ["-mexec-model=reactor", *exports, f"-Wl,-z,stack-size={stack}", str(code)]
        else:
            options += ["-shared", str(code), "-lm"]
        self.compiler.run([*options, "-o", str(library)], folder=self.folder)
        return library

    def cpu(self) -> tuple[str, ...]:
        """Return the CPU features that the compiler may use."""
        (self.folder / "empty.c").write_text("")
        options = [*self.compiler.options(self.target), "-dM", "-E", "empty.c"]
        return features_of_macros(self.compiler.run(options, folder=self.folder))

    def state_bytes(self) -> int:
        """Return the size of the state's struct, which the target's rules of alignment decide."""
        model = self.source.stem
        probe = f'#include "{model}.h"\nchar edgernn_probe[sizeof({model}_state)];\n'
        (self.folder / "probe.c").write_text(probe)
        options = [*self.compiler.options(self.target), "-std=c99", "-I", str(self.source.parent)]
        self.compiler.run([*options, "-S", "probe.c", "-o", "probe.s"], folder=self.folder)
        size = re.search(r"\.size\s+edgernn_probe,\s*(\d+)", (self.folder / "probe.s").read_text())
        return int(size[1]) if size else 0

    def built(self, output: Path, code: Path, more: tuple[str, ...], *, memory_bytes: int = 0) -> Built:
        """Measure an object file; `memory_bytes` are those that a linked module begins with."""
        elf, state = read_elf(code), self.state_bytes()
        stack, source = self._stack(code)
        return Built(
            path=output,
            target=self.target,
            compiler=self.compiler.version,
            flags=self.flags(more),
            cpu=self.cpu(),
            flash_bytes=elf.flash_bytes if elf else wasm.flash_bytes(code.read_bytes()),
            ram_bytes=(elf.ram_bytes if elf else memory_bytes) + state,
            state_bytes=state,
            stack_bytes=stack,
            stack_source=source,
        )

    def _stack(self, code: Path) -> tuple[int | None, str]:
        frames, elf = read_frames(self.folder), read_elf(code)
        if not frames:
            return None, "the compiler does not say"
        if elf is None:
            return sum(frames.values()), "the frames of all functions, as the compiler says (-fstack-usage)"
        return longest_chain(elf, frames), "the frames along the longest chain of calls (-fstack-usage)"
