"""The cache of compiled libraries: one for each model and kind of CPU, in a folder of the user's own.

A library is code, so nothing is loaded from the cache that another user could have written: the folder and the file
are the user's, nobody else may write them, and neither is a symbolic link.
"""

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from edgernn_runtime.engines.cpu import cpu_key
from edgernn_runtime.engines.library_file import LibraryFile, read_library
from edgernn_runtime.engines.onnx_metadata import read_metadata
from edgernn_runtime.errors import EngineError, ModelFileError, OutputError, SpecError
from edgernn_runtime.files import write_bytes
from edgernn_runtime.spec_json import spec_from_metadata

CACHE_VARIABLE: Final = "EDGERNN_CACHE"
"""The environment variable that names another folder than `~/.cache/edgernn`."""

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_ID_DIGITS: Final = 32


def cache_folder() -> Path:
    """Return the folder that compiled libraries lie in, whether it exists or not.

    It is `native` in `$EDGERNN_CACHE`, else in `$XDG_CACHE_HOME/edgernn`, else in `~/.cache/edgernn`.

    Raises:
        EngineError: If no variable names it and the user has no home folder.
    """
    own, shared = os.environ.get(CACHE_VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own).absolute() / "native"
    if Path(shared).is_absolute():
        return Path(shared) / "edgernn" / "native"
    try:
        return Path.home() / ".cache" / "edgernn" / "native"
    except RuntimeError as error:
        raise EngineError(
            f"compiled libraries lie in the home folder, and this user has none; set {CACHE_VARIABLE} to another folder"
        ) from error


def cached_path(model_id: str) -> Path:
    """Return where the library of a model lies for this CPU, whether it exists or not."""
    return cache_folder() / f"{model_id[:_ID_DIGITS]}-{cpu_key()}.so"


def store_library(content: bytes, model_id: str) -> Path:
    """Put a library into the cache, in place of one that is there, and return its path.

    Args:
        content: A library file, its trailer included, that was built for this CPU.
        model_id: The id of the model that it was compiled from.

    Raises:
        EngineError: If others may write the cache's folder, or it is not this user's, or there is no home folder.
        OutputError: If it cannot be written.
    """
    target = cached_path(model_id)
    try:
        target.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        _check_folder(target.parent)
        if target.is_symlink():  # it would be followed
            target.unlink()
    except OSError as error:
        raise OutputError(f"{target.parent} could not be made or entered: {error.strerror or error}") from error
    write_bytes(target, content, overwrite=True)
    target.chmod(_FILE_MODE)
    return target


def find_library(model: Path, named: Path | None = None) -> LibraryFile:
    """Return the library in the cache that was compiled from a model for this CPU.

    Args:
        model: The `.onnx` file.
        named: What the caller named, which a command should compile: the bundle that the file is a stage of; None for
            the file itself.

    Raises:
        ModelFileError: If the model's file is missing or damaged, or there is no library, or one that is damaged or
            another's: then the message holds the command that compiles it. Or if the cache's folder cannot be read.
        SpecError: If the model has no Spec, or a newer one.
        EngineError: If another user could have written the library, or there is no home folder.
    """
    try:
        _, model_id = spec_from_metadata(read_metadata(model))
    except SpecError as error:
        raise SpecError(f"{model}: {error}") from error
    path = cached_path(model_id)
    remedy = f"run: edgernn compile {shlex.quote(str(named or model))} --build --cache"
    try:
        path.lstat()
    except FileNotFoundError as error:
        raise ModelFileError(f"{model} has no library compiled for this CPU in {path.parent}; {remedy}") from error
    except OSError as error:
        raise ModelFileError(
            f"{path.parent} cannot be read: {error.strerror or error}; give yourself access to it, or set "
            f"{CACHE_VARIABLE} to a folder of your own"
        ) from error
    _check_folder(path.parent)
    _check_file(path)
    try:
        library = read_library(path)
    except ModelFileError as error:
        raise ModelFileError(f"{error}; {remedy}") from error
    found = library.description.model_id
    if found != model_id:
        raise ModelFileError(f"{path} is of model {found[:12]}, {model} is model {model_id[:12]}; {remedy}")
    return library


def _check_folder(folder: Path) -> None:
    """Raise an EngineError if a folder is not this user's alone."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise EngineError(f"{folder} must be a folder, and no symbolic link; remove it, or set {CACHE_VARIABLE}")
    _check_owner(folder, found)
    if hasattr(os, "geteuid") and stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise EngineError(
            f"{folder} holds code, so it must be for its owner alone (mode 0700), got {mode:04o}; "
            f"look who wrote there, then run: chmod 700 {shlex.quote(str(folder))}"
        )


def _check_file(path: Path) -> None:
    """Raise an EngineError if a file in the cache could have been written by others."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise EngineError(f"{path} must be a file, and no symbolic link; remove it")
    _check_owner(path, found)
    if hasattr(os, "geteuid") and stat.S_IMODE(found.st_mode) & 0o022:
        raise EngineError(f"{path} is code that others may write (mode {stat.S_IMODE(found.st_mode):04o}); remove it")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise EngineError(f"{path} belongs to another user; remove it, or set {CACHE_VARIABLE} to a folder of your own")
