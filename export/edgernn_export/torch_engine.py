"""An engine that computes steps in torch: the reference that step models are compared with."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from edgernn_export.identity import weights_sha256
from edgernn_export.step import StepModule, as_module
from edgernn_runtime.engine import Array, Executor, Placement, RowStates
from edgernn_runtime.errors import ExportError, first_line
from edgernn_runtime.spec import Spec, StateSpec, TensorSpec
from edgernn_runtime.state import check_states


class TorchEngine:
    """A `StepModule` opened for computing on the CPU."""

    def __init__(self, step: StepModule) -> None:
        """Wrap a step module; it is put into evaluation mode."""
        self._module = as_module(step).eval()
        self._spec = step.spec
        self._model_id = weights_sha256(self._module)

    @property
    def spec(self) -> Spec:
        """The module's Spec."""
        return self._spec

    @property
    def model_id(self) -> str:
        """The SHA-256 of the module's weights."""
        return self._model_id

    @property
    def providers(self) -> tuple[str, ...]:
        """`torch`."""
        return ("torch",)

    def executor(self, batch: int) -> Executor:
        """Return a new executor for `batch` rows, at the initial state."""
        return TorchExecutor(self._module, self._spec, batch)

    def placement(self) -> tuple[Placement, ...]:
        """Return nothing: torch has no graph to place."""
        return ()


class TorchExecutor(RowStates):
    """Buffers for one batch of streams, and the torch module that steps them."""

    def __init__(self, module: torch.nn.Module, spec: Spec, batch: int) -> None:
        """Allocate the buffers; inputs are shared with torch, outputs are copied out."""
        self._module = module
        self._spec = spec
        self._batch = batch
        self._inputs = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.inputs}
        self._outputs = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.outputs}
        self._shared = [torch.from_numpy(array) for array in self._inputs.values()]
        self._states = [torch.from_numpy(state.initial_array(batch)) for state in spec.states]

    @property
    def batch(self) -> int:
        """The number of rows."""
        return self._batch

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host arrays that `run` reads, by input name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays that `run` overwrites, by output name."""
        return self._outputs

    def run(self) -> None:
        """Compute one step and advance the state.

        Raises:
            ExportError: If the module fails, or returns other tensors than its Spec says.
        """
        try:
            with torch.inference_mode():
                results = self._module(*self._shared, *self._states)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise ExportError(f"{type(self._module).__name__} fails in a step: {first_line(error)}") from error
        expected: list[TensorSpec | StateSpec] = [*self._spec.outputs, *self._spec.states]
        if not isinstance(results, tuple) or len(results) != len(expected):
            raise ExportError(f"the module must return a tuple of {len(expected)} tensors: outputs, then states")
        for wanted, result in zip(expected, results, strict=True):
            if tuple(result.shape) != wanted.sized(self._batch) or str(result.dtype) != f"torch.{wanted.dtype}":
                raise ExportError(
                    f"the module must return {wanted.dtype}{list(wanted.sized(self._batch))} for "
                    f"{wanted.output if isinstance(wanted, StateSpec) else wanted.name}, "
                    f"got {result.dtype}{list(result.shape)}"
                )
        for output, result in zip(self._outputs.values(), results, strict=False):
            output[...] = result.numpy()
        self._states = [result.clone() for result in results[len(self._outputs) :]]

    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the current states."""
        return tuple(state.numpy().copy() for state in self._states)

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the current states by copies of `arrays`."""
        check_states(self._spec, arrays, self._batch)
        self._states = [torch.from_numpy(np.array(array)) for array in arrays]
