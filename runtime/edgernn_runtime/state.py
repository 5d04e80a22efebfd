"""State: an immutable snapshot of one stream, and the file it is saved as."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import StateError
from edgernn_runtime.files import read_arrays, write_file
from edgernn_runtime.noise import SEED_LIMIT
from edgernn_runtime.sampling import GREEDY, REMEMBERED, Sampler
from edgernn_runtime.spec import Spec

STATE_VERSION: Final = 2
_READ: Final = (1, STATE_VERSION)
STEP_LIMIT: Final = 2**63
_HEADER: Final = "edgernn.state"
_PENDING: Final = "pending"
_DAMAGE: Final = (ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What reading a damaged `.npz` or a header of the wrong form can raise."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Everything that a stream needs to continue.

    Attributes:
        model_id: The model that the state belongs to.
        arrays: One read-only array per state of the Spec, in its order, batch first.
        step: Steps taken since the last reset; also the position in the noise.
        seed: The seed of the noise.
        sampler: How the next tokens are chosen.
        pending: A token or frame that was chosen or given, and not yet fed to the model.
        held: Bytes of an unfinished character that the codec holds back.
        inputs: What was set in the inputs beside the main one, in the order of the Spec, batch first;
            empty for zeros.
        recent: The last tokens, 64 at most, that the repetition penalty looks at.
    """

    model_id: str
    arrays: tuple[NDArray[np.generic], ...] = field(repr=False)
    step: int = 0
    seed: int = 0
    sampler: Sampler = GREEDY
    pending: int | NDArray[np.float32] | None = None
    held: bytes = b""
    inputs: tuple[NDArray[np.generic], ...] = field(default=(), repr=False)
    recent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers, and keep read-only copies of the arrays."""
        if not 0 <= self.seed < SEED_LIMIT or not 0 <= self.step < STEP_LIMIT:
            raise StateError(
                f"a state needs a seed in 0..2**64 - 1 and a step in 0..2**63 - 1, got {self.seed} and {self.step}"
            )
        for name in ("arrays", "inputs"):
            copies = tuple(np.array(array) for array in getattr(self, name))
            for array in copies:
                array.flags.writeable = False
            object.__setattr__(self, name, copies)
        if isinstance(self.pending, np.ndarray):
            frame = np.array(self.pending, np.float32)
            frame.flags.writeable = False
            object.__setattr__(self, "pending", frame)
        object.__setattr__(self, "recent", self.recent[-REMEMBERED:])

    @property
    def batch(self) -> int:
        """The number of rows in the arrays; 1 for a model without state."""
        return int(self.arrays[0].shape[0]) if self.arrays and self.arrays[0].ndim else 1

    def check(self, spec: Spec, model_id: str) -> None:
        """Check that the state fits a model.

        Args:
            spec: The model's Spec.
            model_id: The model's id.

        Raises:
            StateError: If it is another model's, or an array has another dtype or shape.
        """
        if self.model_id != model_id:
            raise StateError(
                f"the state belongs to model {self.model_id[:12]}, this is model {model_id[:12]}; "
                "a state continues only on the model that made it"
            )
        check_states(spec, self.arrays, self.batch)
        wanted = [(tensor.dtype, tensor.sized(self.batch)) for tensor in spec.side_inputs]
        if self.inputs and wanted != [(str(array.dtype), array.shape) for array in self.inputs]:
            raise StateError("the state's inputs are not those of the model; start from model.initial_state()")

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the state as an `.npz` file, whole or not at all.

        Args:
            path: The file to write.
            overwrite: Whether an existing file may be replaced.

        Raises:
            OutputExistsError: If the file exists and `overwrite` is false.
            OutputError: If the file cannot be written.
        """
        header = {
            "version": STATE_VERSION,
            "model_id": self.model_id,
            "step": self.step,
            "seed": self.seed,
            "sampler": asdict(self.sampler),
            "pending": self.pending if isinstance(self.pending, int) else None,
            "held": self.held.hex(),
            "recent": self.recent,
        }
        arrays = {str(i): array for i, array in enumerate(self.arrays)}
        arrays |= {f"input.{i}": array for i, array in enumerate(self.inputs)}
        if isinstance(self.pending, np.ndarray):
            arrays[_PENDING] = self.pending

        def write(file: BinaryIO) -> None:
            np.savez(file, allow_pickle=False, **{_HEADER: np.array(json.dumps(header))}, **arrays)

        write_file(Path(path), write, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "State":
        """Return the state that `save` wrote; nothing in the file is unpickled.

        Raises:
            StateError: If the file cannot be read, or holds no state.
        """
        try:
            header, arrays, inputs, frame = _read(Path(path))
            return cls(
                model_id=str(header["model_id"]),
                arrays=arrays,
                step=int(header["step"]),
                seed=int(header["seed"]),
                sampler=_sampler(header["sampler"]),
                pending=frame if header["pending"] is None else int(header["pending"]),
                held=bytes.fromhex(header["held"]),
                inputs=inputs,
                recent=tuple(int(token) for token in header.get("recent", ())),
            )
        except OSError as error:
            raise StateError(f"{path} could not be read: {error.strerror or error}") from error
        except StateError:
            raise
        except _DAMAGE as error:
            raise StateError(f"{path} holds no saved state, or is damaged") from error


def _sampler(fields: dict[str, Any]) -> Sampler:
    settings = dict(fields)
    allowed = settings.pop("allowed", None)
    return Sampler(**settings, allowed=None if allowed is None else tuple(allowed))


_Arrays = tuple[NDArray[np.generic], ...]


def _read(path: Path) -> tuple[dict[str, Any], _Arrays, _Arrays, NDArray[np.float32] | None]:
    """Return the header, the states, the inputs and a pending frame in a saved state."""
    content = read_arrays(path)
    header: dict[str, Any] = json.loads(str(content[_HEADER]))
    arrays = tuple(content[str(i)] for i in range(sum(name.isdecimal() for name in content)))
    inputs = tuple(content[f"input.{i}"] for i in range(sum(name.startswith("input.") for name in content)))
    frame = content[_PENDING].astype(np.float32) if _PENDING in content else None
    if header["version"] not in _READ:
        raise StateError(f"{path} has state version {header['version']!r}, this edgernn reads {STATE_VERSION}")
    return header, arrays, inputs, frame


def check_states(spec: Spec, arrays: Sequence[NDArray[np.generic]], batch: int) -> None:
    """Check that `arrays` are the states of a Spec for a batch of `batch`.

    Raises:
        StateError: If their number, a dtype or a shape differs; the message names the state.
    """
    if len(arrays) != len(spec.states):
        raise StateError(f"the model has {len(spec.states)} states, got {len(arrays)} arrays")
    for wanted, array in zip(spec.states, arrays, strict=True):
        shape = wanted.sized(batch)
        if array.dtype != wanted.dtype or array.shape != shape:
            raise StateError(
                f"{wanted.input} must be {wanted.dtype}{list(shape)}, got {array.dtype}{list(array.shape)}; "
                f"start from model.initial_state(batch={batch})"
            )
