"""Recording: what streams were fed, and what should have come out; what models are measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array, Executor
from edgernn_runtime.errors import DataError, InputError, first_line
from edgernn_runtime.files import read_arrays, write_file
from edgernn_runtime.spec import Spec

_INPUT: Final = "input."


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Inputs of a model, step by step, and the targets of its outputs.

    Attributes:
        inputs: Arrays `[steps, ...]` by the names of the inputs; an input that is not named stays zero.
        starts: bool `[steps]`: where a sequence begins, so that the state goes back to the initial one.
        targets: What the main output's distribution should hold probable, `[steps, ...]`; None if nothing is known.
        scored: bool `[steps]`: the steps whose targets count.

    Raises:
        InputError: If the arrays differ in their number of steps.
    """

    inputs: Mapping[str, Array]
    starts: NDArray[np.bool_]
    targets: Array | None = None
    scored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        """Check the lengths; without `scored` every target counts."""
        if not self.scored.size:
            object.__setattr__(self, "scored", np.full(len(self.starts), self.targets is not None))
        lengths = [len(self.starts), len(self.scored), *map(len, self.inputs.values())]
        lengths += [] if self.targets is None else [len(self.targets)]
        if len(set(lengths)) > 1 or not self.inputs:
            raise InputError(f"a recording needs inputs of one length, got {lengths}")

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.starts)

    @classmethod
    def of(cls, name: str, values: Sequence[object] | Array) -> "Recording":
        """Return the recording of one stream whose input `name` is fed `values` `[steps, ...]`."""
        array = np.asarray(values)
        return cls({name: array}, first_step(len(array)))

    @classmethod
    def of_tokens(cls, name: str, tokens: Sequence[int] | NDArray[np.int64]) -> "Recording":
        """Return the recording of one stream of tokens, the target of each the one after it.

        Raises:
            InputError: If there are fewer than two.
        """
        array = np.asarray(tokens, np.int64)
        if array.size < 2:
            raise InputError(f"two tokens at least are needed, got {array.size}")
        return cls({name: array[:-1]}, first_step(len(array) - 1), array[1:])

    def head(self, steps: int) -> "Recording":
        """Return the first `steps` steps."""
        return self._at(np.arange(min(steps, len(self))))

    def repeated(self, steps: int) -> "Recording":
        """Return `steps` steps, from the beginning again after the last one."""
        return self._at(np.arange(steps) % len(self))

    def split(self, step: int) -> "tuple[Recording, Recording]":
        """Return the steps before `step`, and those from there on, which begin with a start."""
        before, after = self._at(np.arange(step)), self._at(np.arange(step, len(self)))
        return before, replace(after, starts=after.starts | first_step(len(after)))

    def feed(self, executor: Executor, step: int) -> None:
        """Set the inputs of an executor of batch 1 to those of a step."""
        for name, array in self.inputs.items():
            executor.inputs[name][0] = array[step]

    def check(self, spec: Spec) -> None:
        """Check that a model takes the inputs.

        Raises:
            InputError: If there is nothing to feed, or an input is not the model's.
        """
        if not len(self):
            raise InputError("there are no inputs to measure the models on")
        wanted = {each.name: each for each in spec.inputs}
        for name, array in self.inputs.items():
            if name not in wanted:
                raise InputError(f"the model has no input {name}; it has {', '.join(wanted)}")
            dtype, shape, size = wanted[name].dtype, wanted[name].sized(1)[1:], wanted[name].size
            fits = np.can_cast(array.dtype, dtype, "same_kind") and array.shape[1:] == shape
            if not fits:
                raise InputError(f"{name} must be {dtype}{['steps', *shape]}, got {array.dtype}{list(array.shape)}")
            if size is not None and not _within(array, size):
                raise InputError(f"{name} must lie in 0..{size - 1}")

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the recording as an `.npz`, whole or not at all; errors as in `write_file`."""
        arrays: dict[str, Array] = {f"{_INPUT}{name}": array for name, array in self.inputs.items()}
        arrays |= {"starts": self.starts, "scored": self.scored}
        if self.targets is not None:
            arrays["targets"] = self.targets

        def write(file: BinaryIO) -> None:
            np.savez_compressed(file, allow_pickle=False, **arrays)

        write_file(path, write, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Return the recording that `save` wrote; nothing in the file is unpickled.

        Raises:
            DataError: If it cannot be read, or is none.
        """
        try:
            content = read_arrays(path)
            names = [name for name in content if name.startswith(_INPUT)]
            return cls(
                {name.removeprefix(_INPUT): content[name] for name in names},
                content["starts"].astype(np.bool_),
                content.get("targets"),
                content["scored"].astype(np.bool_),
            )
        except OSError as error:
            raise DataError(f"{path} could not be read: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path} is no recording of inputs and targets: {first_line(error)}") from error

    def _at(self, steps: NDArray[np.intp]) -> "Recording":
        return replace(
            self,
            inputs={name: array[steps] for name, array in self.inputs.items()},
            starts=self.starts[steps],
            targets=None if self.targets is None else self.targets[steps],
            scored=self.scored[steps],
        )


def first_step(steps: int) -> NDArray[np.bool_]:
    """Return where one uncut stream of `steps` steps starts, bool `[steps]`."""
    return np.asarray(np.arange(steps) == 0)


def _within(array: Array, size: int) -> bool:
    """Return whether integers lie in 0 to `size - 1`."""
    numbers = array.astype(np.int64)
    return bool(((numbers >= 0) & (numbers < size)).all())
