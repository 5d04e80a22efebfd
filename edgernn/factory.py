"""Factories: modules by name, `package.module:attribute`, and weights for them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgernn.importing import import_named
from edgernn_runtime.errors import LiftError, ModelFileError, first_line, last_line

_NESTED: Final = ("state_dict", "model_state_dict", "model_state", "model", "module", "weights")


def make_module(name: str, weights: Path | None = None) -> nn.Module:
    """Return the module that `package.module:attribute` names, with weights from a file.

    The attribute is a module, or a class or function that makes one when called without arguments. The
    current folder is searched first, as `python -m` does.

    Args:
        name: What to import.
        weights: A `.safetensors` file, or a `.pt` or `.pth` file, which is loaded as weights only.

    Raises:
        LiftError: If it cannot be imported or called, or makes no module, or the weights do not fit.
        ModelFileError: If the weights cannot be read.
    """
    module = found = import_named(name, error=LiftError)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise LiftError(f"{name} is neither a torch module nor something that makes one")
        try:
            module = found()
        except Exception as error:
            raise LiftError(f"{name}() raised {type(error).__name__}: {last_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise LiftError(f"{name}() returned {type(module).__name__}, and no torch module")
    if weights is not None:
        _load(module, name, weights)
    return module


def _load(module: nn.Module, name: str, path: Path) -> None:
    tensors = _tensors(path)
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reasons = " ".join(str(error).split()[5:])
        raise LiftError(f"the weights in {path} are not those of {name}: {reasons}") from error


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors in a file by name."""
    if not path.is_file():
        raise ModelFileError(f"{path} is no file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{path} is no safetensors file: {first_line(error)}") from error
    if path.suffix not in (".pt", ".pth", ".bin", ".ckpt"):
        raise ModelFileError(f"{path} must end in .safetensors, .pt or .pth")
    try:
        content: object = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than weights, so nothing of it is loaded; save a state_dict"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is no file of torch.save: {first_line(error)}") from error
    for candidate in (content, *(content.get(key) for key in _NESTED if isinstance(content, dict))):
        if isinstance(candidate, dict) and candidate and all(isinstance(each, Tensor) for each in candidate.values()):
            return cast("Mapping[str, Tensor]", candidate)
    raise ModelFileError(f"{path} holds no state_dict: a dict of tensors by parameter")
