"""Wrapping: no line of generated C is longer than a page is wide."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

WIDTH: Final = 120
"""Characters of a line at most, as `.clang-format` says."""

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


def wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines of C, calls and signatures broken where they are too long, or joined where they need not be."""
    held = ""
    for line in lines:
        held = f"{held} {line.strip()}" if held else line
        if _depth(held) > 0 and not held.lstrip().startswith(("#", "/*", "*", '"')):
            continue
        yield from _broken(held)
        held = ""
    if held:
        yield held


def _depth(line: str) -> int:
    """Return how many round brackets a line leaves open."""
    plain = _QUOTED.sub("", line)
    return plain.count("(") - plain.count(")")


def _broken(line: str) -> Iterator[str]:
    if len(line) <= WIDTH or not _is_list(line):
        yield line
        return
    if _is_assignment(line):
        before, _, after = line.partition(" = ")
        indent = len(line) - len(line.lstrip()) + 4
        yield f"{before} ="
        yield f"{' ' * indent}{after}"
        return
    column = _column(line)
    head, items = line[:column], _items(line[column:])
    current = head
    for i, item in enumerate(items):
        piece = item if current in (head, " " * column) else f" {item}"
        behind = "," if i + 1 < len(items) else ""
        if len(current) + len(piece) + len(behind) > WIDTH and current.strip() != head.strip():
            yield current
            current, piece = " " * column, item
        current += piece + behind
    yield current


def _is_list(line: str) -> bool:
    return (", " in line or " = " in line) and not line.lstrip().startswith(("#", "/*", "*", '"'))


def _is_assignment(line: str) -> bool:
    """Whether a line gives something the value of an expression, not of a list."""
    return " = " in line and not re.search(r"\] = \{", line)


def _column(line: str) -> int:
    """Return where the list of a call, a signature or an initialiser begins."""
    start = line.index("{") if re.search(r"\] = \{", line) else line.index("(")
    return start + 1


def _items(rest: str) -> list[str]:
    """Return the parts of a list, split at the commas that stand in no further brackets."""
    items, depth, current = [], 0, ""
    for character in rest:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append(current.strip())
            current = ""
        else:
            current += character
    return [*items, current.strip()]
