"""The native engine: step models compiled to C, called through ctypes.

A library was judged by its trailer before it is opened here. All that it knows of a stream lies in memory that the
executor gives it, so the code is shared, and a snapshot is the same as ONNX Runtime's.
"""

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import NATIVE, Array, Executor, Placement, RowStates
from edgernn_runtime.engines.cpu import cpu_features
from edgernn_runtime.engines.library_file import ABI, LibraryFile
from edgernn_runtime.engines.object_file import own_kind
from edgernn_runtime.errors import EngineError, InputError, ModelFileError
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import check_states

_ALIGNMENT: Final = 64
_ALWAYS: Final = ("asimd", "fp", "sse", "sse2")
"""CPU features that every CPU of 64 bits has which runs such code, also where the system does not list them."""

_HELD_BYTES: Final = 1 << 20
"""The weights that a step reads, over all rows and frames, up to which it keeps the interpreter's lock.

Such a step takes some tens of microseconds at most. If it let go of the lock, other threads would gain no more than
that, and it would itself wait for whoever took the lock, up to `sys.getswitchinterval()`, 5 ms.
"""


class _Call(ctypes.Structure):
    """`edgernn_call`: the memory and the settings of one executor.

    Attributes:
        kept: The arrays that it points to, which live as long as it does.
    """

    kept: Sequence[Array]
    _fields_ = (
        ("states", ctypes.c_void_p),
        ("inputs", ctypes.POINTER(ctypes.c_void_p)),
        ("outputs", ctypes.POINTER(ctypes.c_void_p)),
        ("rows", ctypes.c_int32),
        ("top_k", ctypes.c_int32),
        ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("ranked", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class _Functions:
    """The functions of a library, as they are called while the interpreter's lock is kept, or let go.

    Attributes:
        reset: Writes the initial state to an address.
        run: Takes a `_Call`; one step.
        choose: Takes a `_Call`, a token and a uniform; None for models that generate no tokens.
    """

    reset: Callable[[int], object]
    run: Callable[[object], int]
    choose: Callable[[object, ctypes.c_int64, ctypes.c_float], int] | None


class NativeEngine:
    """A compiled step model."""

    def __init__(self, library: LibraryFile) -> None:
        """Load a library, if this machine can run it.

        Args:
            library: A library file that was found whole.

        Raises:
            EngineError: If it is for another machine, needs CPU features that are missing, the system cannot load it,
                or its file was written over while this process has another library loaded from it.
            ModelFileError: If its functions do not fit what it says of itself.
        """
        _check_machine(library)
        self._spec = library.description.spec
        self._model_id = library.description.model_id
        self._code = _opened(library)
        self._state_bytes, self._offsets = _layout(library, self._code)

    @property
    def spec(self) -> Spec:
        """The model's Spec."""
        return self._spec

    @property
    def model_id(self) -> str:
        """The id of the model that was compiled."""
        return self._model_id

    @property
    def providers(self) -> tuple[str, ...]:
        """`native`."""
        return (NATIVE,)

    def executor(self, batch: int) -> Executor:
        """Return a new executor for `batch` rows, at the initial state."""
        held = self._spec.weight_bytes * self._spec.frames_per_step * batch <= _HELD_BYTES
        functions = _functions(self._code, self._spec, held=held)
        return NativeExecutor(self._spec, functions, self._state_bytes, self._offsets, batch)

    def placement(self) -> tuple[Placement, ...]:
        """Return nothing: there is no graph to place."""
        return ()


class NativeExecutor(RowStates):
    """Buffers for one batch of streams: the state of a row is one piece of memory, and states are views into it."""

    def __init__(self, spec: Spec, functions: _Functions, state_bytes: int, offsets: Sequence[int], batch: int) -> None:
        """Allocate the buffers.

        Args:
            spec: The model's Spec.
            functions: The library's.
            state_bytes: Bytes of a row's state.
            offsets: Where in them each state of the Spec lies, in bytes.
            batch: The number of rows that there is room for.
        """
        self._spec = spec
        self._batch = batch
        self._inputs: dict[str, Array] = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.inputs}
        self._outputs: dict[str, Array] = {each.name: np.zeros(each.sized(batch), each.dtype) for each in spec.outputs}
        self._memory = _aligned(batch, state_bytes)
        self._states = [
            _view(self._memory, state.sized(batch), np.dtype(state.dtype), offset)
            for state, offset in zip(spec.states, offsets, strict=True)
        ]
        self._functions = functions
        self._address, self._row_bytes = self._memory.ctypes.data, state_bytes
        for row in range(batch):
            self.reset_row(row)
        pointers = [_pointers(arrays.values()) for arrays in (self._inputs, self._outputs)]
        self._call = _Call(self._address, *pointers, batch, 0, 0.0, 1.0, 0)
        self._call.kept = [self._memory, *self._inputs.values(), *self._outputs.values()]
        self._reference = ctypes.byref(self._call)
        self._run = functions.run

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
            EngineError: If an integer input is out of range; nothing has changed then.
        """
        if self._run(self._reference):
            raise EngineError(f"the native engine failed in a step: {self._out_of_range()}")

    def chooser(self, sampler: Sampler) -> Callable[[int, float], int]:
        """Return what feeds a token to row 0, takes one step, and chooses the next token, as `Choosing` says."""
        function, call, reference = self._functions.choose, self._call, self._reference
        assert function is not None  # noqa: S101, only streams of tokens ask
        call.temperature, call.top_p = sampler.temperature, sampler.top_p
        call.top_k = min(sampler.top_k, self._spec.vocabulary)
        call.ranked = sampler.filters  # a top_p that rounds to 1 rules nothing out, but ranks
        first, second = ctypes.c_int64(), ctypes.c_float()  # new ones for each call would take as long as the call

        def choose(token: int, uniform: float) -> int:
            first.value, second.value = token, uniform
            return function(reference, first, second)

        return choose

    def resize(self, rows: int) -> None:
        """Let only the first `rows` rows take part in the steps that follow; the others rest, and keep their state.

        Raises:
            InputError: If there are not so many rows.
        """
        if not 1 <= rows <= self._batch:
            raise InputError(f"rows must lie in 1..{self._batch}, got {rows}")
        self._call.rows = rows

    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the current states `[batch, ...]`."""
        return tuple(state.copy() for state in self._states)

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the current states by copies of `arrays`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        check_states(self._spec, arrays, self._batch)
        for state, array in zip(self._states, arrays, strict=True):
            state[...] = array

    def reset_row(self, row: int) -> None:
        """Put one row back to its initial state."""
        self._functions.reset(self._address + row * self._row_bytes)

    def move_row(self, source: int, target: int) -> None:
        """Copy the state of row `source` over row `target`."""
        self._memory[target] = self._memory[source]

    def read_row(self, row: int) -> tuple[Array, ...]:
        """Return copies of the states of one row, `[1, ...]`."""
        return tuple(state[row : row + 1].copy() for state in self._states)

    def write_row(self, row: int, arrays: Sequence[Array]) -> None:
        """Replace the states of one row by copies of `arrays`, each `[1, ...]`.

        Raises:
            StateError: If an array has another dtype or shape; the states are then unchanged.
        """
        check_states(self._spec, arrays, 1)
        for state, array in zip(self._states, arrays, strict=True):
            state[row] = array[0]

    def _out_of_range(self) -> str:
        """Return which integer input is to blame."""
        main = self._spec.main_input
        for tensor in self._spec.inputs:
            size = tensor.size or ((self._spec.vocabulary or None) if tensor == main else None)
            values: list[int] = self._inputs[tensor.name][: self._call.rows].ravel().tolist()
            outside = [value for value in values if size is not None and not 0 <= value < size]
            if size is not None and outside:
                return f"{tensor.name} must lie in 0..{size - 1}, got {outside[0]}"
        return "an integer input is out of range"


_opened_libraries: Final[dict[bytes, ctypes.CDLL]] = {}
_opened_files: Final[set[tuple[int, int]]] = set()
"""The devices and the inodes of the files of these, which stay theirs while the system has them in memory."""

_opening: Final = Lock()


def _opened(library: LibraryFile) -> ctypes.CDLL:
    """Return a library's code, opened once in a process.

    The system takes a library of a name that it knows for the one that it has, even if the file was replaced. So a
    second one of a name is opened under another spelling of its path. And it reads code and weights from the file as
    they are needed, so that of two libraries in one file the first is spoiled, and the second would share its memory.

    Raises:
        EngineError: If the file holds another library than the one that was opened from it, or cannot be loaded.
    """
    with _opening:
        found = _opened_libraries.get(library.sha256)
        if found is None:
            path = library.path.absolute()
            again = sum(Path(each._name) == path for each in _opened_libraries.values())  # noqa: SLF001, its path
            spelling = "/".join([str(path.parent), *["."] * again, path.name])
            try:
                status = path.stat()
                file = status.st_dev, status.st_ino
                if file in _opened_files:
                    raise EngineError(
                        f"{library.path} was written over while this process has its former code loaded; "
                        "start the process again, and replace a library by renaming a new file to its name"
                    )
                found = ctypes.CDLL(spelling)
            except OSError as error:
                raise EngineError(f"{library.path} could not be loaded by the system: {error}") from error
            _opened_libraries[library.sha256] = found
            _opened_files.add(file)
        return found


def _check_machine(library: LibraryFile) -> None:
    """Raise an EngineError if this machine cannot run a library's code."""
    own, found = own_kind(), library.kind
    if own is not None and found is not None and found != own:
        raise EngineError(f"{library.path} is {found}, this process runs {own}; compile the model for this machine")
    needed = [name for name in library.description.cpu if name not in _ALWAYS]
    features = cpu_features() if needed else frozenset[str]()
    if features is None:
        raise EngineError(
            f"{library.path} needs a CPU with {', '.join(needed)}, and this system does not say what its CPU has; "
            "compile the model without them"
        )
    missing = [name for name in needed if name not in features]
    if missing:
        raise EngineError(
            f"{library.path} needs a CPU with {', '.join(missing)}, which this one lacks; "
            "compile the model on this machine, or for a CPU without them"
        )


def _layout(library: LibraryFile, code: ctypes.CDLL) -> tuple[int, tuple[int, ...]]:
    """Return the bytes of a row's state, and where each state lies in them; checked against the Spec."""
    spec = library.description.spec
    try:
        abi, state_bytes, offset = (code[f"edgernn_{name}"] for name in ("abi", "state_bytes", "state_offset"))
        names = ("edgernn_reset", "edgernn_run", *(["edgernn_choose"] if spec.draws_tokens else []))
        for name in names:
            code[name]
    except AttributeError as error:
        raise ModelFileError(f"{library.path} is no compiled step model: {error}") from error
    for function in (abi, state_bytes, offset):
        function.restype = ctypes.c_uint32
    offset.argtypes = (ctypes.c_uint32,)
    if abi() != ABI:
        raise ModelFileError(f"{library.path} has code of ABI {abi()}, this edgernn runs ABI {ABI}; compile it again")
    size, offsets = int(state_bytes()), tuple(int(offset(i)) for i in range(len(spec.states)))
    end = 0
    for state, start in zip(spec.states, offsets, strict=True):
        dtype = np.dtype(state.dtype)
        if start < end or start % dtype.itemsize:
            raise ModelFileError(f"{library.path} keeps {state.input} where its Spec does not; compile it again")
        end = start + dtype.itemsize * int(np.prod(state.sized(1)))
    if end > size or size % _ALIGNMENT:
        raise ModelFileError(f"{library.path} has {size} bytes of state, its Spec needs {end}; compile it again")
    return size, offsets


def _functions(code: ctypes.CDLL, spec: Spec, *, held: bool) -> _Functions:
    """Return a library's functions; with `held`, calls keep the interpreter's lock."""
    library = ctypes.PyDLL(code._name, handle=code._handle) if held else code  # noqa: SLF001, the same code
    reset, run = library["edgernn_reset"], library["edgernn_run"]
    reset.restype, reset.argtypes = None, (ctypes.c_void_p,)
    run.restype = ctypes.c_int32  # without argtypes, as is `choose`: what is of C's types is passed on as it is
    choose = None
    if spec.draws_tokens:
        choose = library["edgernn_choose"]
        choose.restype = ctypes.c_int32
    return _Functions(reset, run, cast("Callable[[object, ctypes.c_int64, ctypes.c_float], int] | None", choose))


def _aligned(rows: int, size: int) -> NDArray[np.uint8]:
    """Return zeros `[rows, size]` that begin at a multiple of 64 bytes."""
    memory = np.zeros(rows * size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + rows * size].reshape(rows, size)


def _view(memory: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[np.generic], offset: int) -> Array:
    """Return the state of all rows that lies at an offset of each row's memory, `shape` with the rows first."""
    inner = np.empty((1, *shape[1:]), dtype).strides[1:]
    return np.ndarray(shape, dtype, memory, offset, (memory.strides[0], *inner))


def _pointers(arrays: Collection[Array]) -> "ctypes.Array[ctypes.c_void_p]":
    """Return the addresses of arrays."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
