"""Targets: what step models are compiled for, and what tells a compiler so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from edgernn_runtime.errors import CompileError

LibraryKind = Literal["shared object", "wasm module"]


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of machine.

    Attributes:
        name: What the command line calls it.
        summary: Which machines these are, in a few words.
        flags: What gcc and clang are told of its CPU.
        gcc: The commands that a gcc for it may have, the best first; a plain `gcc` counts where it makes code for
            `machine`.
        machine: What the answer of `gcc -dumpmachine` begins with.
        triple: What clang and zig call its system.
        zig_cpu: What zig is told of its CPU.
        library: What a library for it is; None for a microcontroller, which takes an object file.
        package: Debian's package of a compiler for it.
        instructions_per_mac: What a step takes for each multiplication, by precision, where that was counted: for a GRU
            of two layers of 128 in QEMU (`python benchmarks/targets.py`), gates and sampling included.
    """

    name: str
    summary: str
    flags: tuple[str, ...]
    gcc: tuple[str, ...]
    machine: str
    triple: str
    zig_cpu: str
    library: LibraryKind | None
    package: str
    instructions_per_mac: Mapping[str, float] = field(default_factory=dict)

    @property
    def native(self) -> bool:
        """Whether it is the very machine that compiles."""
        return self.name == "host"

    @property
    def library_suffix(self) -> str:
        """What the name of a library for it ends with."""
        return ".wasm" if self.library == "wasm module" else ".so"


def _linux(name: str, summary: str, flags: tuple[str, ...], zig_cpu: str) -> Target:
    machine = name.partition("-")[0]
    abi = "gnueabihf" if machine == "armv7" else "gnu"
    cpu = "arm" if machine == "armv7" else machine
    triple = f"{cpu}-linux-{abi}"
    package = {"x86_64": "gcc-x86-64-linux-gnu"}.get(machine, f"gcc-{triple}")
    return Target(name, summary, flags, (f"{triple}-gcc",), cpu, triple, zig_cpu, "shared object", package)


def _cortex_m(name: str, summary: str, cpu: str, fpu: str, zig_fpu: str) -> Target:
    return Target(
        name=name,
        summary=summary,
        flags=(f"-mcpu={cpu}", "-mthumb", f"-mfpu={fpu}", "-mfloat-abi=hard"),
        gcc=("arm-none-eabi-gcc",),
        machine="arm-none-eabi",
        triple="thumb-linux-musleabihf",  # zig has the headers of a libc only for systems that have one
        zig_cpu=f"{cpu.replace('-', '_')}+{zig_fpu}",
        library=None,
        package="gcc-arm-none-eabi",
        instructions_per_mac={"float32": 4.2, "int8": 2.2, "int8-portable": 2.2, "int4": 2.6},
    )


_TARGETS: Final = (
    Target(
        name="host",
        summary="this machine",
        flags=("-march=native",),
        gcc=(),
        machine="",
        triple="",
        zig_cpu="native",
        library="shared object",
        package="gcc",
    ),
    _linux("x86_64-linux", "AVX2, most of 2013 and later", ("-march=x86-64-v3",), "x86_64_v3"),
    _linux(
        "x86_64-linux-vnni",
        "AVX-512 with dot products of int8",
        ("-march=x86-64-v4", "-mavx512vnni"),
        "x86_64_v4+avx512vnni",
    ),
    _linux("aarch64-linux", "every 64-bit Arm", ("-march=armv8-a",), "generic"),
    _linux(
        "aarch64-linux-dotprod",
        "64-bit Arm with dot products of int8, as Cortex-A55 and A76",
        ("-march=armv8.2-a+dotprod",),
        "generic+v8_2a+dotprod",
    ),
    _linux(
        "armv7-linux",
        "32-bit Arm with NEON",
        ("-march=armv7-a", "-mfpu=neon", "-mfloat-abi=hard"),
        "generic+v7a+neon",
    ),
    _linux("riscv64-linux", "64-bit RISC-V", ("-march=rv64gc", "-mabi=lp64d"), "baseline_rv64"),
    _cortex_m("thumbv7em", "Cortex-M4F, and M7", "cortex-m4", "fpv4-sp-d16", "vfp4d16sp"),
    _cortex_m("thumbv7em-m7", "Cortex-M7", "cortex-m7", "fpv5-sp-d16", "fp_armv8d16sp"),
    Target(
        name="wasm32",
        summary="WebAssembly with SIMD",
        flags=("-msimd128",),
        gcc=(),
        machine="wasm32",
        triple="wasm32-wasi",
        zig_cpu="generic+simd128",
        library="wasm module",
        package="",
    ),
)

TARGETS: Final[Mapping[str, Target]] = {target.name: target for target in _TARGETS}
"""Every target by name."""


def find_target(name: str) -> Target:
    """Return the target called `name`.

    Raises:
        CompileError: If there is none.
    """
    try:
        return TARGETS[name]
    except KeyError:
        raise CompileError(f"no target is called {name!r}; there are {', '.join(TARGETS)}") from None
