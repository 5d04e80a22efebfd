"""What machine an object file holds code for, read from its first bytes: ELF, Mach-O, PE and WebAssembly."""

import sys
from functools import cache
from pathlib import Path
from typing import Final

from edgernn_runtime.errors import ModelFileError

HEAD_BYTES: Final = 4096
"""How many of an object file's first bytes say what machine it is for."""

_ELF_MACHINES: Final = {3: "x86", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64"} | {
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
_MACH_MACHINES: Final = {0x01000007: "x86_64", 0x0100000C: "aarch64"}
_PE_MACHINES: Final = {0x014C: "x86", 0x01C4: "arm", 0x8664: "x86_64", 0xAA64: "aarch64"}


def object_kind(head: bytes) -> str | None:
    """Return what an object file is for: `x86_64 ELF of 64 bits`, `WebAssembly`; None if its first bytes do not say.

    Args:
        head: The file's first bytes, `HEAD_BYTES` of them where there are so many.
    """
    if head[:4] == b"\x7fELF" and len(head) >= 20:
        order = "big" if head[5] == 2 else "little"
        machine = int.from_bytes(head[18:20], order)  # type: ignore[arg-type]  # both are byte orders
        return f"{_ELF_MACHINES.get(machine, f'machine {machine}')} ELF of {64 if head[4] == 2 else 32} bits"
    if head[:4] == b"\xcf\xfa\xed\xfe":
        machine = int.from_bytes(head[4:8], "little")
        return f"{_MACH_MACHINES.get(machine, f'machine {machine:#x}')} Mach-O"
    if head[:2] == b"MZ" and len(head) >= 64:
        start = int.from_bytes(head[60:64], "little")
        if head[start : start + 4] == b"PE\0\0":
            machine = int.from_bytes(head[start + 4 : start + 6], "little")
            return f"{_PE_MACHINES.get(machine, f'machine {machine:#x}')} PE"
    return "WebAssembly" if head[:4] == b"\0asm" else None


def check_is_no_code(path: Path) -> None:
    """Check that what is about to be read as an ONNX model is not compiled code.

    Raises:
        ModelFileError: If it is.
    """
    try:
        with path.open("rb") as file:
            kind = object_kind(file.read(HEAD_BYTES))
    except OSError:
        return  # who reads it will say so
    if kind is not None:
        raise ModelFileError(f"{path} is compiled code ({kind}); give the .onnx file that it was made of")


@cache
def own_kind() -> str | None:
    """Return what this process runs, as `object_kind` says it of the interpreter's own file; None if it cannot."""
    path = Path("/proc/self/exe")
    try:
        with (path if path.exists() else Path(sys.executable)).open("rb") as file:
            return object_kind(file.read(HEAD_BYTES))
    except OSError:
        return None
