"""Literals: numbers and arrays as C has them, exact."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from edgernn_export.compile.program import C_TYPES, READABLE, Buffer

_ROW: Final = 2048
_PIECE: Final = 96
_PER_LINE: Final = 8
_PLAIN: Final = frozenset(range(32, 127)) - frozenset(b'"\\?')


def literal(value: object) -> str:
    """Return a number as C has it.

    >>> literal(np.float32(0.1)), literal(np.float32(2)), literal(np.float32("-inf")), literal(np.int64(3))
    ('0.1f', '2.0f', '-INFINITY', '3')
    """
    if isinstance(value, np.floating):
        if np.isnan(value):
            return "NAN"
        if np.isinf(value):
            return "INFINITY" if value > 0 else "-INFINITY"
        text = str(value)
        text = text if "." in text or "e" in text else f"{text}.0"
        return text if value.dtype == np.float64 else f"{text}f"
    number = int(value)  # type: ignore[call-overload]  # an integer of numpy
    if number == np.iinfo(np.int64).min:
        return "INT64_MIN"
    return str(number)


def definition(buffer: Buffer) -> Iterator[str]:
    """Yield the lines that define a constant array."""
    array = buffer.array
    assert array is not None  # noqa: S101, a constant has its content
    flat = np.ascontiguousarray(array).reshape(-1)
    if buffer.size <= READABLE:
        yield f"static const ALIGNED {C_TYPES[buffer.dtype]} {buffer.name}[{buffer.size}] = {{"
        for start in range(0, flat.size, _PER_LINE):
            yield f"    {', '.join(literal(each) for each in flat[start : start + _PER_LINE])},"
        yield "};"
        return
    content = flat.tobytes()
    rows = -(-len(content) // _ROW)
    yield "static const ALIGNED union {"
    yield f"    unsigned char bytes[{rows}][{_ROW}];"
    yield f"    {C_TYPES[buffer.dtype]} values[{buffer.size}];"
    yield f"}} {buffer.name} = {{{{"
    for start in range(0, len(content), _ROW):
        row = content[start : start + _ROW]
        for piece in range(0, len(row), _PIECE):
            last = "," if piece + _PIECE >= len(row) else ""
            yield f'    "{row[piece : piece + _PIECE].decode("latin-1").translate(_ESCAPES)}"{last}'
    yield "}};"


_ESCAPES: Final = {code: chr(code) if code in _PLAIN else f"\\{code:03o}" for code in range(256)}
