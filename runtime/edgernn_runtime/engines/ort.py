"""The onnxruntime engine: the default, and the reference for every other.

This is the only file that makes an ONNX Runtime session, and the only one that needs `Any`: ONNX
Runtime ships no types. A step runs one of two prebuilt bindings. They share the buffers of inputs and
outputs and differ in which set of state buffers is read and which is written, so no state is copied
and none is read after it was overwritten.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgernn_runtime.engine import Array, Executor, Placement, RowStates
from edgernn_runtime.errors import EngineError, InputError, ModelFileError, ProviderError, SpecError, first_line
from edgernn_runtime.providers import CPU, Provider, short_name
from edgernn_runtime.spec import BATCH, Axis, Dtype, Spec, StateSpec
from edgernn_runtime.spec_json import spec_from_metadata
from edgernn_runtime.state import check_states

_MODEL_ERRORS: Final = (ort_errors.InvalidGraph, ort_errors.InvalidProtobuf, ort_errors.NoSuchFile)
"""What ONNX Runtime raises for a bad file, whatever the provider."""

_ORT_TYPES: Final[Mapping[str, Dtype]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}

_DEVICE_MEMORY: Final[Mapping[str, str]] = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "NvTensorRTRTXExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
    "CANNExecutionProvider": "cann",
    "WebGpuExecutionProvider": "webgpu",
}
"""Memory that a provider keeps its tensors in; providers not named here use the host's."""


class OrtEngine:
    """A model opened in ONNX Runtime."""

    def __init__(
        self,
        source: Path | bytes,
        providers: Sequence[Provider] = (CPU,),
        *,
        threads: int = 1,
        spinning: bool = False,
        strict: bool = False,
        trace: Path | None = None,
    ) -> None:
        """Open a model.

        Args:
            source: The `.onnx` file, or its content.
            providers: Execution providers in order of preference, as `providers.resolve` returns them.
            threads: Threads inside one operator.
            spinning: Whether idle threads keep a core busy while they wait for the next step.
            strict: Whether it is an error if a node runs on a provider other than the first.
            trace: How the names of the files begin that ONNX Runtime writes its trace to, and on the CPU alone the
                graph that it runs (`.onnx`); None to trace nothing, as tracing costs time.

        Raises:
            ModelFileError: If the file is missing, damaged, or no ONNX model.
            SpecError: If it has no Spec, or one that disagrees with its graph.
            ProviderError: If a provider could not start, or nodes fell back and `strict` is set.
        """
        name = str(source) if isinstance(source, Path) else "the model"
        if isinstance(source, Path) and not source.is_file():
            raise ModelFileError(f"{source} {'is a folder, not a model file' if source.is_dir() else 'does not exist'}")
        self._session = _session(source, name, providers, threads=threads, spinning=spinning, trace=trace)
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            self._spec, self._model_id = spec_from_metadata(metadata)
            _check_graph(self._spec, self._session)
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from error
        self._check_providers(providers, strict=strict)
        self._memory = _DEVICE_MEMORY.get(self.providers[0], "cpu")
        self._device = int(dict(providers[0].options).get("device_id", "0"))

    @property
    def spec(self) -> Spec:
        """The model's Spec."""
        return self._spec

    @property
    def model_id(self) -> str:
        """The model's id."""
        return self._model_id

    @property
    def providers(self) -> tuple[str, ...]:
        """Full names of the execution providers in use, in order of preference."""
        return tuple(self._session.get_providers())

    def executor(self, batch: int) -> Executor:
        """Return a new executor for `batch` rows, at the initial state."""
        return OrtExecutor(self._session, self._spec, batch, memory=self._memory, device=self._device)

    def placement(self) -> tuple[Placement, ...]:
        """Return where each node of the optimised graph runs."""
        return tuple(
            Placement(node.name, node.op_type, subgraph.ep_name)
            for subgraph in self._session.get_provider_graph_assignment_info()
            for node in subgraph.get_nodes()
        )

    def end_trace(self) -> Path:
        """End the trace that `trace` began, and return its file."""
        return Path(self._session.end_profiling())

    def _check_providers(self, providers: Sequence[Provider], *, strict: bool) -> None:
        missing = [provider.name for provider in providers if provider.name not in self.providers]
        if missing:
            raise ProviderError(
                f"{', '.join(map(short_name, missing))} could not start, and ONNX Runtime went on with "
                f"{', '.join(map(short_name, self.providers))}; its libraries or its device are missing"
            )
        fallen = [node for node in self.placement() if node.provider != providers[0].name] if strict else []
        if fallen:
            shown = ", ".join(f"{node.operator} on {short_name(node.provider)}" for node in fallen[:8])
            raise ProviderError(
                f"{len(fallen)} nodes do not run on {short_name(providers[0].name)}: {shown}; "
                "load without strict to allow that"
            )


class OrtExecutor(RowStates):
    """Buffers for one batch of streams: inputs and outputs on the host, states in the provider's memory.

    A step of fewer rows binds the beginning of the same buffers. The sets of state buffers alternate at each step, so
    a row at rest stays in the set that held its state when it last took part.
    """

    def __init__(self, session: Any, spec: Spec, batch: int, *, memory: str, device: int = 0) -> None:
        """Allocate the buffers and build both bindings.

        Args:
            session: The ONNX Runtime session.
            spec: The model's Spec.
            batch: The number of rows that there is room for.
            memory: Where states live, a device type of ONNX Runtime: cpu, cuda, dml, ...
            device: Which of several devices of that type.
        """
        self._session = session
        self._spec = spec
        self._batch = batch
        self._memory, self._device = memory, device
        self._current = 0
        self._options = onnxruntime.RunOptions()
        self._compute: Callable[[Any, Any], None] = session._sess.run_with_iobinding  # noqa: SLF001, the public wrapper costs 0.7 us a call
        self._inputs: dict[str, Array] = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.inputs}
        self._outputs: dict[str, Array] = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.outputs}
        self._values = {name: _ort_value(array, memory, device) for name, array in self._inputs.items()}
        self._uploads = [] if memory == "cpu" else [(self._values[name], array) for name, array in self._inputs.items()]
        arrays = tuple([state.initial_array(batch) for state in spec.states] for _ in range(2))
        self._arrays = arrays if memory == "cpu" else None
        self._states = tuple([_ort_value(array, memory, device) for array in side] for side in arrays)
        self._initial = [state.initial_array(1)[0] for state in spec.states]
        self._rows = batch
        self._sides = np.zeros(batch, np.int8)
        self._bound: dict[int, list[Any]] = {}
        self._bindings = self._bindings_of(batch)

    @property
    def batch(self) -> int:
        """The number of rows that there is room for."""
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
            EngineError: If ONNX Runtime fails; the state is then unchanged.
        """
        current = self._current
        try:
            for value, array in self._uploads:
                value.update_inplace(array)
            self._compute(self._bindings[current], self._options)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed in a step: {error}") from error
        self._current = 1 - current

    def resize(self, rows: int) -> None:
        """Let only the first `rows` rows take part in the steps that follow; the others rest, and keep their state.

        Raises:
            InputError: If there are not so many rows.
        """
        if not 1 <= rows <= self._batch:
            raise InputError(f"rows must lie in 1..{self._batch}, got {rows}")
        if rows > self._rows:
            self._wake(self._rows, rows)
        else:
            self._sides[rows : self._rows] = self._current
        self._rows = rows
        self._bindings = self._bindings_of(rows)

    def read_state(self) -> tuple[Array, ...]:
        """Return host copies of the current states."""
        self._wake(self._rows, self._batch)
        return self._read(self._current)

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the current states by copies of `arrays`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        check_states(self._spec, arrays, self._batch)
        self._write(self._current, arrays)
        self._sides[self._rows :] = self._current

    def reset_row(self, row: int) -> None:
        """Put one row back to its initial state."""
        if self._arrays is None:
            super().reset_row(row)
            return
        for array, initial in zip(self._arrays[self._side(row)], self._initial, strict=True):
            array[row] = initial

    def move_row(self, source: int, target: int) -> None:
        """Copy the state of row `source` over row `target`."""
        if self._arrays is None:
            super().move_row(source, target)
            return
        read, written = self._arrays[self._side(source)], self._arrays[self._side(target)]
        for here, there in zip(read, written, strict=True):
            there[target] = here[source]

    def read_row(self, row: int) -> tuple[Array, ...]:
        """Return copies of the states of one row, `[1, ...]`."""
        if self._arrays is None:
            return super().read_row(row)
        return tuple(array[row : row + 1].copy() for array in self._arrays[self._side(row)])

    def write_row(self, row: int, arrays: Sequence[Array]) -> None:
        """Replace the states of one row by copies of `arrays`, each `[1, ...]`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        if self._arrays is None:
            super().write_row(row, arrays)
            return
        check_states(self._spec, arrays, 1)
        for there, array in zip(self._arrays[self._side(row)], arrays, strict=True):
            there[row] = array[0]

    def _side(self, row: int) -> int:
        """Return which set of state buffers holds the state of a row."""
        return self._current if row < self._rows else int(self._sides[row])

    def _wake(self, start: int, stop: int) -> None:
        """Bring the states of rows at rest into the set that the next step reads."""
        away = np.flatnonzero(self._sides[start:stop] != self._current) + start
        if not away.size:
            return
        self._sides[away] = self._current
        if self._arrays is None:
            states = self._read(self._current)
            for there, here in zip(states, self._read(1 - self._current), strict=True):
                there[away] = here[away]
            self._write(self._current, states)
            return
        for there, here in zip(self._arrays[self._current], self._arrays[1 - self._current], strict=True):
            there[away] = here[away]

    def _read(self, side: int) -> tuple[Array, ...]:
        return tuple(np.array(value.numpy()) for value in self._states[side])

    def _write(self, side: int, arrays: Sequence[Array]) -> None:
        for value, array in zip(self._states[side], arrays, strict=True):
            value.update_inplace(np.ascontiguousarray(array))

    def _bindings_of(self, rows: int) -> list[Any]:
        """Return the two bindings of the first `rows` rows, made when they are first needed."""
        if rows not in self._bound:
            self._bound[rows] = [self._bind(rows, 0, 1), self._bind(rows, 1, 0)]
        return self._bound[rows]

    def _bind(self, rows: int, source: int, target: int) -> Any:
        """Return a binding of the first `rows` rows that reads one set of state buffers and writes the other."""
        binding = self._session.io_binding()
        device = self._memory, self._device
        for tensor in self._spec.inputs:
            pointer = self._values[tensor.name].data_ptr()
            binding.bind_input(tensor.name, *device, np.dtype(tensor.dtype).type, tensor.sized(rows), pointer)
        for tensor in self._spec.outputs:
            array = self._outputs[tensor.name]
            binding.bind_output(tensor.name, "cpu", 0, array.dtype.type, tensor.sized(rows), array.ctypes.data)
        for state, read, written in zip(self._spec.states, self._states[source], self._states[target], strict=True):
            dtype = np.dtype(state.dtype).type
            binding.bind_input(state.input, *device, dtype, state.sized(rows), read.data_ptr())
            binding.bind_output(state.output, *device, dtype, state.sized(rows), written.data_ptr())
        return binding._iobinding  # noqa: SLF001, what the public wrapper unwraps


def _ort_value(array: Array, memory: str, device: int) -> Any:
    """Return an OrtValue with the content of `array`; in host memory it is the array itself."""
    if memory == "cpu":
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, memory, device)
    value.update_inplace(array)
    return value


def _session(
    source: Path | bytes,
    name: str,
    providers: Sequence[Provider],
    *,
    threads: int,
    spinning: bool,
    trace: Path | None,
) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if trace is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(trace)
        if all(each == CPU for each in providers):
            options.optimized_model_filepath = f"{trace}.onnx"
    wanted: list[str | tuple[str, dict[str, str]]] = [(each.name, dict(each.options)) for each in providers]
    try:
        model = source if isinstance(source, bytes) else str(source)
        return onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as error:
        beyond_cpu = [short_name(each.name) for each in providers if each != CPU]
        if beyond_cpu and not isinstance(error, _MODEL_ERRORS):
            raise ProviderError(f"{', '.join(beyond_cpu)} could not start: {first_line(error)}") from error
        raise ModelFileError(f"{name} could not be loaded by ONNX Runtime: {first_line(error)}") from error


def _check_graph(spec: Spec, session: Any) -> None:
    """Raise a SpecError that names the first tensor in which Spec and graph differ."""
    inputs = [*((each.name, each.dtype, each.shape) for each in spec.inputs), *map(_read_side, spec.states)]
    outputs = [*((each.name, each.dtype, each.shape) for each in spec.outputs), *map(_written_side, spec.states)]
    for kind, wanted, found in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        graph = {each.name: (_ORT_TYPES.get(each.type, each.type), each.shape) for each in found}
        for name, dtype, shape in wanted:
            if name not in graph:
                raise SpecError(f"the Spec names the {kind} {name}, which the graph does not have")
            graph_dtype, graph_shape = graph.pop(name)
            if graph_dtype != dtype or not _same_shape(shape, graph_shape):
                raise SpecError(
                    f"the Spec says {name} is {dtype}{list(shape)}, but the graph's is {graph_dtype}{graph_shape}"
                )
        if graph:
            raise SpecError(f"the graph has the {kind} {min(graph)}, which the Spec does not name")


def _read_side(state: StateSpec) -> tuple[str, Dtype, tuple[Axis, ...]]:
    return state.input, state.dtype, state.shape


def _written_side(state: StateSpec) -> tuple[str, Dtype, tuple[Axis, ...]]:
    return state.output, state.dtype, state.shape


def _same_shape(wanted: Sequence[Axis], found: Sequence[Axis | None]) -> bool:
    """Whether the shapes agree; a dynamic axis of the graph may have any name, and only the batch is one."""
    if len(wanted) != len(found):
        return False
    pairs = zip(wanted, found, strict=True)
    return all(not isinstance(there, int) if here == BATCH else here == there for here, there in pairs)
