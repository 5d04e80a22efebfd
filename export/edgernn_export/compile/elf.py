"""ELF files: sections, symbols and relocations, little endian, of 32 and of 64 bits."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NOBITS: Final = 8
_RELA: Final = 4
_REL: Final = 9
_SYMTAB: Final = 2
_WRITE: Final = 1
_ALLOC: Final = 2
_SECTION_SYMBOL: Final = 3
_FUNCTION_SYMBOL: Final = 2
_RELOCATIONS: Final = {
    (False, False): struct.Struct("<II"),
    (False, True): struct.Struct("<IIi"),
    (True, False): struct.Struct("<QQ"),
    (True, True): struct.Struct("<QQq"),
}
"""A relocation, by whether the file is of 64 bits and whether it holds an addend."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name, its type and flags as ELF has them, where it lies in the file, its size in bytes."""

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol: its name, kind and size in bytes, and the number of the section that it lies in (0: elsewhere)."""

    name: str
    kind: int
    size: int
    section: int


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file that was read."""

    content: bytes
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    @property
    def flash_bytes(self) -> int:
        """What must be stored: code, constants, and initial values of variables."""
        return sum(s.size for s in self.sections if s.flags & _ALLOC and s.type != _NOBITS)

    @property
    def ram_bytes(self) -> int:
        """What must be writable: variables, with and without initial values."""
        return sum(s.size for s in self.sections if s.flags & _ALLOC and s.flags & _WRITE)

    def functions(self) -> Iterator[tuple[int, str]]:
        """Yield the section and the name of each function that the file defines."""
        return ((s.section, s.name) for s in self.symbols if s.kind == _FUNCTION_SYMBOL and s.section)

    def references(self) -> Iterator[tuple[int, int]]:
        """Yield which section refers to which, by their numbers."""
        wide = self.content[4] == 2
        for section in self.sections:
            if section.type not in {_REL, _RELA}:
                continue
            layout = _RELOCATIONS[wide, section.type == _RELA]
            entries = layout.iter_unpack(self.content[section.offset : section.offset + section.size])
            for entry in entries:
                symbol = self.symbols[entry[1] >> (32 if wide else 8)]
                if symbol.section:
                    yield section.info, symbol.section


def read_elf(path: Path) -> Elf | None:
    """Return an ELF file's sections and symbols; None if it is no little-endian ELF file."""
    content = path.read_bytes()
    if content[:4] != b"\x7fELF" or content[5] != 1:
        return None
    wide = content[4] == 2
    start, size, count, names = _header(content, wide=wide)
    layout = struct.Struct("<IIQQQQIIQQ" if wide else "<IIIIIIIIII")
    rows = [layout.unpack_from(content, start + i * size) for i in range(count)]
    strings = content[rows[names][4] :]
    sections = tuple(Section(_text(strings, row[0]), row[1], row[2], row[4], row[5], row[6], row[7]) for row in rows)
    return Elf(content, sections, _symbols(content, sections, wide=wide))


def _header(content: bytes, *, wide: bool) -> tuple[int, int, int, int]:
    """Return where the table of sections begins, the size and the number of its rows, and the row of names."""
    start: int = struct.unpack_from("<Q" if wide else "<I", content, 40 if wide else 32)[0]
    size, count, names = struct.unpack_from("<HHH", content, 58 if wide else 46)
    return start, size, count, names


def _symbols(content: bytes, sections: tuple[Section, ...], *, wide: bool) -> tuple[Symbol, ...]:
    table = next((section for section in sections if section.type == _SYMTAB), None)
    if table is None:
        return ()
    strings = content[sections[table.link].offset :]
    rows = struct.iter_unpack("<IBBHQQ" if wide else "<IIIBBH", content[table.offset : table.offset + table.size])
    symbols = []
    for row in rows:
        name, kind, section, size = (row[0], row[1], row[3], row[5]) if wide else (row[0], row[3], row[5], row[2])
        inside = section if section < len(sections) else 0
        label = sections[inside].name if kind & 15 == _SECTION_SYMBOL else _text(strings, name)
        symbols.append(Symbol(label, kind & 15, size, inside))
    return tuple(symbols)


def _text(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode(errors="replace")
