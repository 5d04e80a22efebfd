"""WebAssembly modules: their sections, how much memory they begin with, and custom sections."""

from collections.abc import Iterator
from typing import Final

PAGE_BYTES: Final = 65536
"""The unit that a module's memory grows by."""

_MAGIC: Final = b"\0asm\1\0\0\0"
_CUSTOM: Final = 0
_MEMORY: Final = 5
_CODE: Final = 10
_DATA: Final = 11


def is_wasm(content: bytes) -> bool:
    """Whether a file's content is a WebAssembly module."""
    return content.startswith(_MAGIC)


def flash_bytes(content: bytes) -> int:
    """Return the bytes of a module's code and of its constants."""
    return sum(len(body) for kind, body in _sections(content) if kind in {_CODE, _DATA})


def memory_bytes(content: bytes) -> int:
    """Return the bytes of memory that a module begins with: constants, variables and its stack."""
    for kind, body in _sections(content):
        if kind == _MEMORY:
            _, start = _number(body, 0)
            pages, _ = _number(body, start + 1)
            return pages * PAGE_BYTES
    return 0


def with_section(content: bytes, name: str, body: bytes) -> bytes:
    """Return a module's bytes with a custom section behind all others.

    Args:
        content: The module.
        name: The section's name, which JavaScript finds it by (`WebAssembly.Module.customSections`).
        body: What it holds.
    """
    label = name.encode()
    payload = _leb128(len(label)) + label + body
    return content + bytes([_CUSTOM]) + _leb128(len(payload)) + payload


def custom_section(content: bytes, name: str) -> bytes | None:
    """Return what the custom section called `name` holds; None if there is none."""
    for kind, body in _sections(content):
        if kind == _CUSTOM:
            length, start = _number(body, 0)
            if body[start : start + length] == name.encode():
                return body[start + length :]
    return None


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = len(_MAGIC)
    while position < len(content):
        size, start = _number(content, position + 1)
        yield content[position], content[start : start + size]
        position = start + size


def _number(content: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` (unsigned LEB128) and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if byte < 0x80:
            return value, position


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
