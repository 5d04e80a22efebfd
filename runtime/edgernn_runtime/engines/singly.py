"""The executor of models that take one row only: each row has an executor of its own, and they step in turn."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgernn_runtime.engine import Array, Executor
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import check_states


class SinglyExecutor:
    """Buffers for several rows of a model of batch 1, whose rows step one after another."""

    def __init__(self, spec: Spec, executor: Callable[[], Executor], batch: int) -> None:
        """Make an executor for every row.

        Args:
            spec: The Spec of a model of batch 1.
            executor: Makes an executor of batch 1, at the initial state.
            batch: The number of rows that there is room for.
        """
        self._spec = spec
        self._executors = [executor() for _ in range(batch)]
        self._inputs = {each.name: np.zeros((batch, *each.sized(1)[1:]), each.dtype) for each in spec.inputs}
        self._outputs = {each.name: np.zeros((batch, *each.sized(1)[1:]), each.dtype) for each in spec.outputs}
        self._active = self._executors

    @property
    def batch(self) -> int:
        """The number of rows that there is room for."""
        return len(self._executors)

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host arrays that `run` reads, by input name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays that `run` overwrites, by output name."""
        return self._outputs

    def run(self) -> None:
        """Step every row in turn; if one fails, none has stepped.

        Raises:
            EngineError: If the engine fails in a row.
        """
        done: list[tuple[Executor, tuple[Array, ...]]] = []
        last = len(self._active) - 1
        try:
            for row, executor in enumerate(self._active):
                if row < last:
                    done.append((executor, executor.read_state()))
                self._run_row(row, executor)
        except BaseException:
            for executor, arrays in done:
                executor.write_state(arrays)
            raise

    def resize(self, rows: int) -> None:
        """Let only the first `rows` rows take part in the steps that follow.

        Raises:
            InputError: If there are not so many rows.
        """
        if not 1 <= rows <= self.batch:
            raise InputError(f"rows must lie in 1..{self.batch}, got {rows}")
        self._active = self._executors[:rows]

    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the states `[batch, ...]`."""
        rows = [executor.read_state() for executor in self._executors]
        return tuple(np.concatenate(arrays) for arrays in zip(*rows, strict=True))

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the states by copies of `arrays`, each `[batch, ...]`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        rows = [[array[row : row + 1] for array in arrays] for row in range(self.batch)]
        for states in rows:
            check_states(self._spec, states, 1)
        for executor, states in zip(self._executors, rows, strict=True):
            executor.write_state(states)

    def reset_row(self, row: int) -> None:
        """Put one row back to its initial state."""
        self._executors[row].reset_row(0)

    def move_row(self, source: int, target: int) -> None:
        """Copy the state of row `source` over row `target`."""
        self._executors[target].write_state(self._executors[source].read_state())

    def read_row(self, row: int) -> tuple[Array, ...]:
        """Return copies of the states of one row, `[1, ...]`."""
        return self._executors[row].read_state()

    def write_row(self, row: int, arrays: Sequence[Array]) -> None:
        """Replace the states of one row by copies of `arrays`, each `[1, ...]`."""
        self._executors[row].write_state(arrays)

    def _run_row(self, row: int, executor: Executor) -> None:
        for name, array in self._inputs.items():
            executor.inputs[name][0] = array[row]
        executor.run()
        for name, array in self._outputs.items():
            array[row] = executor.outputs[name][0]
