"""Engine and Executor: the seam between a stream and whatever computes its step.

A stream knows only these two protocols, so another engine (compiled native code, a reference in torch)
is one more file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import check_states

Array = NDArray[np.generic]

NATIVE: Final = "native"
"""What compiled code names in the place of execution providers."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one node of the graph runs.

    Attributes:
        node: The node's name.
        operator: Its operator type.
        provider: The full name of the execution provider.
    """

    node: str
    operator: str
    provider: str


class Executor(Protocol):
    """Buffers for one batch of streams, and the step that reads and writes them. Mutable; one thread."""

    @property
    def batch(self) -> int:
        """The number of rows that there is room for."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host arrays `[batch, ...]` that `run` reads, by input name."""

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays `[batch, ...]` that `run` overwrites, by output name."""

    def run(self) -> None:
        """Compute one step and advance the state; `EngineError` if the engine fails, and then nothing has changed."""

    def resize(self, rows: int) -> None:
        """Let only the first `rows` rows take part in the steps that follow; the others rest, and keep their state.

        Raises:
            InputError: If there are not so many rows, or the executor cannot step some of its rows.
        """

    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the current states `[batch, ...]`, in the order of the Spec."""

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the current states by copies of `arrays`."""

    def reset_row(self, row: int) -> None:
        """Put one row back to its initial state."""

    def move_row(self, source: int, target: int) -> None:
        """Copy the state of row `source` over row `target`."""

    def read_row(self, row: int) -> tuple[Array, ...]:
        """Return copies of the states of one row, `[1, ...]`, in the order of the Spec."""

    def write_row(self, row: int, arrays: Sequence[Array]) -> None:
        """Replace the states of one row by copies of `arrays`, each `[1, ...]`."""


@runtime_checkable
class Choosing(Protocol):
    """An executor of tokens that takes a step and chooses the next token in one call."""

    def chooser(self, sampler: Sampler) -> Callable[[int, float], int]:
        """Return a function that feeds a token to row 0, takes one step, and chooses the next one of that row.

        It takes a token of the vocabulary, and a uniform as `Sampler.sample` does. It returns the next token; -1 if
        the engine failed, and then nothing has changed; or -2 if the step was taken and the largest logit is NaN or
        infinite. It holds until another one is asked for.

        Args:
            sampler: How the token is chosen; one that does not adjust the logits.
        """


class RowStates(ABC):
    """The verbs for single rows, for executors that can read and write all of their states."""

    _spec: Spec

    @property
    @abstractmethod
    def batch(self) -> int:
        """The number of rows."""

    @abstractmethod
    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the current states."""

    @abstractmethod
    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the current states by copies of `arrays`."""

    def reset_row(self, row: int) -> None:
        """Put one row back to its initial state."""
        arrays = self.read_state()
        for state, array in zip(self._spec.states, arrays, strict=True):
            array[row] = state.initial_array(1)[0]
        self.write_state(arrays)

    def move_row(self, source: int, target: int) -> None:
        """Copy the state of row `source` over row `target`."""
        arrays = self.read_state()
        for array in arrays:
            array[target] = array[source]
        self.write_state(arrays)

    def read_row(self, row: int) -> tuple[Array, ...]:
        """Return copies of the states of one row, `[1, ...]`."""
        return tuple(np.array(array[row : row + 1]) for array in self.read_state())

    def write_row(self, row: int, arrays: Sequence[Array]) -> None:
        """Replace the states of one row by copies of `arrays`, each `[1, ...]`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        check_states(self._spec, arrays, 1)
        states = self.read_state()
        for state, array in zip(states, arrays, strict=True):
            state[row] = array[0]
        self.write_state(states)

    def resize(self, rows: int) -> None:
        """Take all rows; InputError for fewer, which such an executor cannot step."""
        if rows != self.batch:
            raise InputError(f"all {self.batch} rows step together, so rows must be {self.batch}, got {rows}")


class Engine(Protocol):
    """A model opened for computing: immutable, shared by threads."""

    @property
    def spec(self) -> Spec:
        """The model's Spec."""

    @property
    def model_id(self) -> str:
        """The model's id."""

    @property
    def providers(self) -> tuple[str, ...]:
        """Full names of the execution providers in use, in order of preference; else the one name of what computes."""

    def executor(self, batch: int) -> Executor:
        """Return a new executor for `batch` rows, at the initial state."""

    def placement(self) -> tuple[Placement, ...]:
        """Return where each node of the optimised graph runs."""


@runtime_checkable
class Lockstep(Protocol):
    """An engine of batch 1 that can step several rows at once if they are always at the same step."""

    def lockstep(self, rows: int) -> Executor:
        """Return a new executor for `rows` rows, at the initial state; its states are `[rows, ...]`."""
