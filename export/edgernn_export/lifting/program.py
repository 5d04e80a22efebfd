"""Programs from `torch.export.save`: read only after every record in them was found to hold nothing but data.

`torch.export.load` unpickles sample inputs, constants and custom objects, which runs whatever code a crafted
file names. So each record is first loaded as weights only, and what does not load so is refused.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgernn_export.graph import quiet_exporter
from edgernn_runtime.errors import ModelFileError, first_line

_TEXT: Final = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
_TARGETS: Final = ("torch.ops.aten.", "torch.ops.prims.", "_operator.", "math.", "torch.sym_")


class ProgramModule(nn.Module):
    """An exported program as a module that takes its tensors by any names, in the program's order."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        """Wrap a program."""
        super().__init__()
        self.program = program.module()
        self._tree = program.call_spec.in_spec

    def forward(self, **arguments: object) -> object:
        """Call the program."""
        assert self._tree is not None  # noqa: S101, every exported program has one
        args, kwargs = pytree.tree_unflatten(pytree.tree_leaves(arguments), self._tree)
        return self.program(*args, **kwargs)


def read_program(path: Path) -> torch.export.ExportedProgram:
    """Return the program in a `.pt2` file.

    Raises:
        ModelFileError: If the file is missing, no program, or holds anything but tensors and operators.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check(path, archive)
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is no program of torch.export.save: {first_line(error)}") from error
    try:
        with quiet_exporter():
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise ModelFileError(f"{path} is no program that this torch can load: {first_line(error)}") from error


def _check(path: Path, archive: zipfile.ZipFile) -> None:
    raw = set(_raw_tensors(archive))
    for name in archive.namelist():
        inner = name.split("/", 1)[-1]
        if inner in _TEXT or inner in raw or inner.endswith("/"):
            continue
        content = archive.read(name)
        if inner.endswith(".json"):
            _check_targets(path, json.loads(content))
            continue
        try:
            torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{path} holds more than tensors: its record {inner} cannot be loaded as weights only, so nothing of "
                "the file is loaded; save the program without custom objects"
            ) from error


def _raw_tensors(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield the records that are the bytes of tensors, and are never unpickled."""
    for name in archive.namelist():
        folder, _, file = name.split("/", 1)[-1].rpartition("/")
        if file.endswith("_config.json") and folder in ("data/weights", "data/constants"):
            config = cast("dict[str, dict[str, object]]", json.loads(archive.read(name)).get("config", {}))
            yield from (f"{folder}/{each['path_name']}" for each in config.values() if each.get("use_pickle") is False)


def _check_targets(path: Path, value: object) -> None:
    """Refuse a graph that calls anything but torch's own operators."""
    if isinstance(value, dict):
        target = value.get("target")
        if isinstance(target, str) and "inputs" in value and "outputs" in value and not target.startswith(_TARGETS):
            raise ModelFileError(f"{path} calls {target}, which is none of torch's own operators; it is not loaded")
        for each in value.values():
            _check_targets(path, each)
    elif isinstance(value, list):
        for each in value:
            _check_targets(path, each)
