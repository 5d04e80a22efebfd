"""The metadata of an ONNX file, read without ONNX Runtime and without its weights.

An ONNX file is a protobuf message, ModelProto; its field 14 holds pairs of a key and a value. All other fields are
skipped by their lengths.
"""

from pathlib import Path
from typing import BinaryIO, Final

from edgernn_runtime.errors import ModelFileError

_METADATA: Final = 14
_KEY: Final = 1
_VALUE: Final = 2
_VARINT: Final = 0
_LENGTHS: Final = {1: 8, 5: 4}
"""Bytes of a field by its wire type, where that says it."""

_DELIMITED: Final = 2
_MOST_BYTES: Final = 1 << 28
"""The longest entry that is read; a Spec with the initial state of a large model has some megabytes."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file by key; empty for a file that has none.

    Raises:
        ModelFileError: If the file is missing, cannot be read, or is no ONNX file.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} {'is a folder, not a model file' if path.is_dir() else 'does not exist'}")
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except OSError as error:
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise ModelFileError(f"{path} is no ONNX model, or is damaged: {error}") from error


def _read(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while file.tell() < size:
        field, length = _next_field(file, size)
        if field != _METADATA:
            file.seek(length, 1)
            continue
        end = file.tell() + length
        if length > _MOST_BYTES:
            raise ValueError(f"an entry of its metadata has {length} bytes")
        pair = {_KEY: "", _VALUE: ""}
        while file.tell() < end:
            part, count = _next_field(file, end)
            pair[part] = file.read(count).decode()
        found[pair[_KEY]] = pair[_VALUE]
    return found


def _next_field(file: BinaryIO, end: int) -> tuple[int, int]:
    """Return the number of the field that comes next, and how many bytes of it follow."""
    tag = _varint(file)
    field, wire = tag >> 3, tag & 7
    if wire == _VARINT:
        _varint(file)
        length = 0
    elif wire == _DELIMITED:
        length = _varint(file)
    elif wire in _LENGTHS:
        length = _LENGTHS[wire]
    else:
        raise ValueError(f"a field has the unknown wire type {wire}")
    if field == 0 or file.tell() + length > end:
        raise EOFError("a field goes beyond its end")
    return field, length


def _varint(file: BinaryIO) -> int:
    """Return a number of 7 bits a byte, the least significant first; the last byte is below 128."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends within a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number has more than 10 bytes")
