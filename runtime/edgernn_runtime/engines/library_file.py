"""Library files: compiled step models, and the trailer that says of what, judged before any of their code runs.

A trailer stands behind the object file's own bytes, where loaders look at nothing:

    object bytes, description: UTF-8 JSON, uint64 little endian: its length,
    32 bytes: SHA-256 of object bytes and description, 8 bytes: b"EDGERNN" and the version of this layout, 1
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from edgernn_runtime.engines.object_file import HEAD_BYTES, object_kind
from edgernn_runtime.errors import ModelFileError, SpecError
from edgernn_runtime.spec import Spec
from edgernn_runtime.spec_json import spec_from_json, spec_to_json

ABI: Final = 1
"""The version of the functions that a library has."""

_MAGIC: Final = b"EDGERNN\x01"
_LENGTH: Final = 8
_DIGEST: Final = 32
_TAIL: Final = _LENGTH + _DIGEST + len(_MAGIC)
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Description:
    """What a library says of itself.

    Attributes:
        model_id: The id of the model that was compiled.
        spec: Its Spec.
        target: What it was compiled for, such as `x86_64-linux`.
        cpu: The CPU features that its code needs, by the names in `/proc/cpuinfo`.
        compiler: Which compiler made it, and with which options.
    """

    model_id: str
    spec: Spec
    target: str
    cpu: tuple[str, ...]
    compiler: str


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """A library file that was found whole.

    Attributes:
        path: The file.
        description: What it says of itself.
        sha256: The digest of its code and its description.
        kind: What machine its code is for, as `object_kind` says it.
    """

    path: Path
    description: Description
    sha256: bytes
    kind: str | None


def description_to_json(description: Description) -> str:
    """Return a description as JSON text."""
    source = {
        "abi": ABI,
        "model_id": description.model_id,
        "spec": json.loads(spec_to_json(description.spec)),
        "target": description.target,
        "cpu": list(description.cpu),
        "compiler": description.compiler,
    }
    return json.dumps(source, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def with_trailer(code: bytes, description: Description) -> bytes:
    """Return the content of a library file: a shared object's bytes and the trailer that describes it."""
    text = description_to_json(description).encode()
    digest = hashlib.sha256(code + text).digest()
    return b"".join((code, text, len(text).to_bytes(_LENGTH, "little"), digest, _MAGIC))


def read_library(path: Path) -> LibraryFile:
    """Return what a library file says of itself, once it was found whole; none of its code runs.

    Raises:
        ModelFileError: If it is missing, damaged, not built by `edgernn compile`, or of another ABI.
        SpecError: If its Spec is newer than this code.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} {'is a folder, not a library' if path.is_dir() else 'does not exist'}")
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error


def _read(path: Path, file: BinaryIO) -> LibraryFile:
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    if len(tail) < _TAIL or not tail.endswith(_MAGIC):
        raise ModelFileError(
            f"{path} was not built by edgernn compile, or is cut short: it does not end with a description"
        )
    length = int.from_bytes(tail[:_LENGTH], "little")
    start = size - _TAIL - length
    if start < 0:
        raise ModelFileError(f"{path} is damaged: its description would be longer than the file; compile it again")
    file.seek(0)
    head = file.read(min(HEAD_BYTES, start))
    digest = hashlib.sha256(head)
    for text in iter(lambda: file.read(min(_BLOCK, start - file.tell())), b""):
        digest.update(text)
    text = file.read(length)
    digest.update(text)
    if digest.digest() != tail[_LENGTH : _LENGTH + _DIGEST]:
        raise ModelFileError(f"{path} is damaged: its content is not what its checksum says; compile it again")
    return LibraryFile(path, _description(path, text), digest.digest(), object_kind(head))


def _description(path: Path, text: bytes) -> Description:
    try:
        source: Mapping[str, object] = json.loads(text)
        abi, spec = source["abi"], source["spec"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: its description cannot be read; compile it again") from error
    if abi != ABI:
        raise ModelFileError(f"{path} has ABI {abi}, this edgernn runs ABI {ABI}; compile the model again")
    try:
        model_id, target, cpu, compiler = (source[name] for name in ("model_id", "target", "cpu", "compiler"))
        if not isinstance(cpu, list):
            raise TypeError  # noqa: TRY301, as a missing field
        return Description(
            str(model_id), spec_from_json(json.dumps(spec)), str(target), tuple(map(str, cpu)), str(compiler)
        )
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except (LookupError, TypeError) as error:
        raise ModelFileError(
            f"{path} is damaged: its description lacks a field, or has one of another type; compile it again"
        ) from error
