"""Arrays from the command line: files of them, and single values by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import DataError, InputError, first_line
from edgernn_runtime.files import check_target, read_arrays
from edgernn_runtime.spec import Spec

Array = NDArray[np.generic]


def read_named_arrays(path: Path) -> Mapping[str, Array]:
    """Return the arrays in an `.npz` by name; it is never unpickled.

    Raises:
        DataError: If the file cannot be read, or is no such archive.
    """
    loaded = _load(path)
    if "" in loaded:
        raise DataError(f"{path} holds one array; save them by name with numpy.savez")
    return loaded


def read_array(path: Path) -> Array:
    """Return the array in an `.npy`; it is never unpickled.

    Raises:
        DataError: If the file cannot be read, or holds several.
    """
    loaded = _load(path)
    if "" not in loaded:
        raise DataError(f"{path} holds several arrays; one sequence is needed, saved with numpy.save")
    return loaded[""]


def read_values(lines: Sequence[str]) -> Mapping[str, Array]:
    """Return numbers by name, from lines such as `sr=16000`.

    Raises:
        InputError: If a line does not read so.
    """
    values = {}
    for line in lines:
        name, _, text = line.partition("=")
        try:
            number = float(text)
        except ValueError as error:
            raise InputError(f"{line!r} must read NAME=NUMBER, as in sr=16000") from error
        values[name.strip()] = np.array(int(number) if number.is_integer() and "." not in text else number)
    return values


def read_lists(lines: Sequence[str]) -> Mapping[str, Sequence[Array]]:
    """Return values by name, from lines such as `class=0,1,2`, or `latent=z.npy` for an array `[...]` of one value.

    Raises:
        InputError: If a line does not read so.
        DataError: If a file cannot be read.
    """
    found: dict[str, Sequence[Array]] = {}
    for line in lines:
        name, _, text = line.partition("=")
        if text.endswith(".npy"):
            found[name.strip()] = [read_array(Path(text))]
            continue
        values = [read_values([f"{name}={each}"]) for each in text.split(",")]
        found[name.strip()] = [array for each in values for array in each.values()]
    return found


def check_picture_target(path: Path, *, overwrite: bool) -> None:
    """Check that a picture may be written; errors as in `check_target`, and an InputError if it is no `.png`."""
    if path.suffix.lower() != ".png":
        raise InputError(f"a picture is written as .png, not as {path.name}")
    check_target(path, overwrite=overwrite)


def settable(spec: Spec, values: Mapping[str, Sequence[Array]]) -> Mapping[str, Sequence[Array]]:
    """Return values for the inputs beside a model's main one, in their dtypes.

    Raises:
        InputError: If the model has no such input, or a number is not one that it takes.
    """
    inputs = {tensor.name: tensor for tensor in spec.side_inputs}
    found: dict[str, Sequence[Array]] = {}
    for name, each in values.items():
        if name not in inputs:
            raise InputError(f"the model has no input {name} to set; it has {', '.join(inputs) or 'none'}")
        tensor = inputs[name]
        if any(value.dtype.kind not in "biuf" for value in each):
            raise InputError(f"{name} must be numbers, got {each[0].dtype}")
        numbers = [float(number) for value in each for number in value.ravel()]
        if np.dtype(tensor.dtype).kind in "iu" and not all(number.is_integer() for number in numbers):
            raise InputError(f"{name} must be an integer")
        if tensor.size is not None and not all(0 <= number < tensor.size for number in numbers):
            raise InputError(f"{name} must lie in 0..{tensor.size - 1}")
        found[name] = [value.astype(tensor.dtype) for value in each]
    return found


def _load(path: Path) -> Mapping[str, Array]:
    try:
        return read_arrays(path)
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or first_line(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is no .npy or .npz file of plain arrays: {first_line(error)}") from error
