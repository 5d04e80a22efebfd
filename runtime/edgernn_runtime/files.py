"""Writing files whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import OutputError, OutputExistsError


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that `path` may be written, before any work is spent on its content.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExistsError: If the file exists and `overwrite` is false.
        OutputError: If its folder does not exist, or `path` is a folder.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file inside it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is no regular file, and is not replaced")
    if not overwrite and path.exists():
        raise OutputExistsError(f"{path} exists; choose another name, or replace it with --force (overwrite=True)")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"the folder {path.absolute().parent} does not exist; create it first")


def check_targets(folder: Path, paths: Iterable[Path], *, overwrite: bool) -> None:
    """Check that files may be written to a folder, which may still be missing.

    Raises:
        OutputExistsError: If one exists and `overwrite` is false.
        OutputError: If `folder` is none, or one of the files is a folder.
    """
    if folder.is_dir():
        for path in paths:
            check_target(path, overwrite=overwrite)
    elif os.path.lexists(folder):
        raise OutputError(f"{folder} is no folder; name one to write to")


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, where they are missing.

    Raises:
        OutputError: If that fails, or it is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} could not be made: {error.strerror or error}; name another folder") from error


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays in an `.npz` by name, or the one in an `.npy` under an empty name; nothing is unpickled.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or no such file.
    """
    from tokenize import TokenError  # noqa: PLC0415, these cost a cold start milliseconds
    from zipfile import BadZipFile  # noqa: PLC0415
    from zlib import error as ZlibError  # noqa: N812, PLC0415

    damage = (ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError, SyntaxError, TypeError)
    try:
        loaded: object = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        assert isinstance(loaded, np.lib.npyio.NpzFile)  # noqa: S101, np.load gives no third
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (*damage, BadZipFile, TokenError, ZlibError) as error:
        raise ValueError(f"the file is damaged: {type(error).__name__}: {error}") from error


def write_file(path: Path, write: Callable[[BinaryIO], None], *, overwrite: bool) -> None:
    """Write `path` through a temporary neighbour that is renamed into place.

    A reader sees the old content or the new, never half of it, also when the power fails. A symbolic link
    is followed.

    Args:
        path: The file to write.
        write: Called with the open temporary file.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExistsError: If the file exists and `overwrite` is false.
        OutputError: If the file cannot be written; nothing is left behind.
    """
    check_target(path, overwrite=overwrite)
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content` to `path`, whole or not at all; arguments and errors as in `write_file`."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_file(path, write, overwrite=overwrite)
