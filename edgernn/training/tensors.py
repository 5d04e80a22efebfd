"""Tensors in safetensors files: written whole or not at all, and never unpickled."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from edgernn_runtime.errors import RunError
from edgernn_runtime.files import write_bytes


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, whole or not at all; `OutputError` if that fails."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save_tensors(contiguous, metadata), overwrite=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, by name.

    Raises:
        RunError: If it is missing or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_tensors(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise RunError(f"{path} is damaged: {error}") from error
