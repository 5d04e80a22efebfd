"""Example: what a sequence module takes, with the axes that are batch and time named."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Dtype

Axis = int | Literal["B", "T"]

_TENSOR: Final = re.compile(r"(?P<dtype>\w+)\[(?P<axes>[^\]]*)\](?:<(?P<below>\d+))?")


@dataclass(frozen=True, slots=True)
class Argument:
    """One tensor that a module takes.

    Attributes:
        name: Its path in the module's arguments: `x`, `state.0`.
        dtype: The name of a torch dtype.
        axes: Sizes; `"B"` for the batch and `"T"` for time.
        below: For integers, the number that they lie below; None if it is not known.
    """

    name: str
    dtype: Dtype
    axes: tuple[Axis, ...]
    below: int | None = None

    @property
    def time(self) -> int | None:
        """The axis that is time; None if there is none."""
        return self.axes.index("T") if "T" in self.axes else None

    @property
    def batch(self) -> int | None:
        """The axis that is the batch; None if there is none."""
        return self.axes.index("B") if "B" in self.axes else None

    def sized(self, batch: int, frames: int) -> tuple[int, ...]:
        """Return the shape for a batch and a number of frames."""
        named = {"B": batch, "T": frames}
        return tuple(axis if isinstance(axis, int) else named[axis] for axis in self.axes)

    def random(self, batch: int, frames: int, generator: torch.Generator) -> Tensor:
        """Return standard normal numbers, or integers from 0 up to `below`, of the argument's shape."""
        shape = self.sized(batch, frames)
        dtype = getattr(torch, self.dtype)
        if dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=dtype)
        high = 2 if self.dtype == "bool" else self.below or 1
        return torch.randint(0, high, shape, generator=generator).to(dtype)


@dataclass(frozen=True, slots=True)
class Example:
    """The arguments of a module: tensors by path, and how they nest in the parameters of `forward`."""

    arguments: tuple[Argument, ...]
    tree: pytree.TreeSpec

    @property
    def batched(self) -> bool:
        """Whether an axis is the batch."""
        return any(argument.batch is not None for argument in self.arguments)

    @property
    def timed(self) -> bool:
        """Whether an axis is time."""
        return any(argument.time is not None for argument in self.arguments)

    def call(self, tensors: Sequence[object]) -> dict[str, object]:
        """Return the keyword arguments of `forward` that hold `tensors`, one per argument."""
        return cast("dict[str, object]", pytree.tree_unflatten(list(tensors), self.tree))

    def random(self, batch: int, frames: int, seed: int) -> list[Tensor]:
        """Return random tensors, one per argument."""
        generator = torch.Generator().manual_seed(seed)
        return [argument.random(batch, frames, generator) for argument in self.arguments]

    def bounded(self, below: Mapping[str, int]) -> "Example":
        """Return the example with the bounds of integers filled in where they were not known."""
        bounds = [argument.below or below.get(argument.name) for argument in self.arguments]
        known = [replace(argument, below=bound) for argument, bound in zip(self.arguments, bounds, strict=True)]
        return Example(tuple(known), self.tree)

    def lines(self) -> tuple[str, ...]:
        """Return the arguments as `parse` reads them."""
        return tuple(_line(argument) for argument in self.arguments)


def example_of(given: "object", module: nn.Module) -> Example:
    """Return the example that a caller describes.

    Args:
        given: `"x=float32[B,T,40]"`, a list of such lines, or a dict from the parameters of `forward` to
            descriptions such as `"float32[B,T,40]"`, nested as the module takes them. `B` is the batch and
            `T` time; an integer's bound follows as in `"int64[B,T]<256"`.
        module: The module, whose `forward` must have these parameters.

    Raises:
        InputError: If a description cannot be read, or `forward` does not take it.
    """
    if isinstance(given, str):
        given = [line for line in given.split(";") if line.strip()]
    tree = given if isinstance(given, Mapping) else _nested(cast("Sequence[str]", given))
    leaves, spec = pytree.tree_flatten_with_path(dict(tree))
    arguments = tuple(_argument(path_name(path), leaf) for path, leaf in leaves)
    if not arguments:
        raise InputError("the example must describe an argument at least, as in x=float32[B,T,40]")
    _check_parameters(module, list(tree))
    return Example(arguments, spec)


def given_tensors(
    example: Example, given: Sequence[Mapping[str, NDArray[np.generic]]]
) -> tuple[tuple[Tensor, ...], ...]:
    """Return sequences that a caller gave as tensors, one per argument; states that are not given are zeros.

    Raises:
        InputError: If an array is missing, unknown, or not what the example says.
    """
    return tuple(tuple(_given(example, arrays)) for arrays in given)


def _given(example: Example, arrays: Mapping[str, NDArray[np.generic]]) -> Iterator[Tensor]:
    names = [argument.name for argument in example.arguments]
    unknown = set(arrays) - set(names)
    if unknown:
        raise InputError(f"{min(unknown)} is no argument; there are {', '.join(names)}")
    extent: dict[str, int] = {}
    for argument in example.arguments:
        if argument.name in arrays:
            extent.update(_extent(argument, arrays[argument.name], extent))
    for argument in example.arguments:
        if argument.name in arrays:
            yield torch.from_numpy(np.array(arrays[argument.name]))
        elif argument.time is None:
            sizes = argument.sized(extent.get("B", 1), extent.get("T", 1))
            yield torch.zeros(sizes, dtype=getattr(torch, argument.dtype))
        else:
            raise InputError(f"the given sequence has no {argument.name}")


def _extent(argument: Argument, array: NDArray[np.generic], known: Mapping[str, int]) -> dict[str, int]:
    found = dict(known)
    fits = array.ndim == len(argument.axes) and array.dtype.name == argument.dtype
    if fits:
        for axis, size in zip(argument.axes, array.shape, strict=True):
            fits &= (found.setdefault(axis, size) if isinstance(axis, str) else axis) == size
    if not fits:
        raise InputError(f"{_line(argument)} was given as {array.dtype}{list(array.shape)}")
    return found


def _nested(lines: Sequence[str]) -> dict[str, object]:
    """Return `["x=..", "state.0=..", "state.1=.."]` as `{"x": .., "state": (.., ..)}`."""
    tree: dict[str, object] = {}
    for line in lines:
        name, separator, description = line.partition("=")
        if not separator:
            raise InputError(f"an example must read NAME=DTYPE[AXES], as in x=float32[B,T,40]; got {line!r}")
        *parents, last = name.strip().split(".")
        branch = tree
        for parent in parents:
            inner = branch.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InputError(f"the example describes {parent} twice")
            branch = inner
        if last in branch:
            raise InputError(f"the example describes {name.strip()} twice")
        branch[last] = description.strip()
    return {name: _listed(inner) for name, inner in tree.items()}


def _listed(tree: object) -> object:
    """Return dicts whose keys count from 0 as tuples."""
    if not isinstance(tree, dict):
        return tree
    inner = {key: _listed(value) for key, value in tree.items()}
    return tuple(inner.values()) if list(inner) == [str(i) for i in range(len(inner))] else inner


def _argument(name: str, description: object) -> Argument:
    if isinstance(description, Tensor):
        dtype, shape = str(description.dtype).removeprefix("torch."), list(description.shape)
        raise InputError(
            f"{name} is a tensor; describe it instead, as in {dtype}{shape} with B for the batch and T for time"
        )
    match = _TENSOR.fullmatch(str(description).replace(" ", ""))
    if match is None:
        raise InputError(f"{name} must read DTYPE[AXES], as in float32[B,T,40]; got {description!r}")
    if match["dtype"] not in get_args(Dtype):
        raise InputError(f"{name} has dtype {match['dtype']}; it must be one of {', '.join(get_args(Dtype))}")
    axes = tuple(_axis(name, axis) for axis in match["axes"].split(",") if axis)
    for letter in ("B", "T"):
        if axes.count(cast("Axis", letter)) > 1:
            raise InputError(f"{name} names {letter} twice in [{match['axes']}]")
    below = int(match["below"]) if match["below"] else None
    return Argument(name, cast("Dtype", match["dtype"]), axes, below)


def _axis(name: str, axis: str) -> Axis:
    if axis in ("B", "T"):
        return cast("Axis", axis)
    if not axis.isdecimal() or int(axis) < 1:
        raise InputError(f"{name} has the axis {axis!r}; an axis is B, T or a positive number")
    return int(axis)


def _line(argument: Argument) -> str:
    below = "" if argument.below is None else f"<{argument.below}"
    return f"{argument.name}={argument.dtype}[{','.join(str(axis) for axis in argument.axes)}]{below}"


def path_name(path: Sequence[object]) -> str:
    """Return the path of a leaf in a tree of arguments, `state.0`."""
    return ".".join(_keys(path))


def _keys(path: Sequence[object]) -> Iterator[str]:
    for key in path:
        yield str(next(getattr(key, field) for field in ("key", "idx", "name") if hasattr(key, field)))


def _check_parameters(module: nn.Module, names: Sequence[str]) -> None:
    signature = inspect.signature(module.forward)
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise InputError(
            f"{type(module).__name__}.forward{signature} cannot be called with {', '.join(names)}: {error}"
        ) from error
