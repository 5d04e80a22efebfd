"""Opening a model: a file in the engine that is asked for, a folder as the stages of a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import InputError, ModelFileError, ProviderError
from edgernn_runtime.providers import SHORT_NAMES, ProviderRequest, resolve

if TYPE_CHECKING:
    from edgernn_runtime.bundle_spec import BundleSpec

EngineName = Literal["onnxruntime", "native"]
"""What can compute the steps of a model."""

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)
MAX_THREADS: Final = 256

_LIBRARIES: Final = (".so", ".dylib", ".dll")
"""What the names of compiled libraries end with."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a model is opened.

    Attributes:
        engine: `onnxruntime`, or `native` for compiled code; None for what the file holds.
        providers: Execution providers in order of preference, as `load` takes them.
        threads: Threads inside one operator.
        spinning: Whether idle threads keep a core busy while they wait for the next step.
        strict: Whether it is an error if a node runs on a provider other than the first.

    Raises:
        InputError: If there is no such engine, or `threads` does not lie in 1..256.
    """

    engine: EngineName | None = None
    providers: str | Sequence[ProviderRequest] = ("cpu",)
    threads: int = 1
    spinning: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        """Check the settings that every engine has."""
        if self.engine not in (None, *ENGINES):
            raise InputError(f"engine must be {' or '.join(ENGINES)}, got {self.engine!r}")
        if not 1 <= self.threads <= MAX_THREADS:
            raise InputError(f"threads must lie in 1..{MAX_THREADS}, got {self.threads}")

    def check_native(self) -> None:
        """Check that nothing is asked for that compiled code does not have.

        Raises:
            ProviderError: If it is another execution provider.
            InputError: If it is more than one thread.
        """
        asked = [self.providers] if isinstance(self.providers, str) else list(self.providers)
        names = [each if isinstance(each, str) else each[0] for each in asked]
        if [SHORT_NAMES.get(name.lower(), name) for name in names] != [SHORT_NAMES["cpu"]]:
            raise ProviderError(f"compiled code runs on the cpu, got {', '.join(names)}; use engine='onnxruntime'")
        if self.threads != 1 or self.spinning:
            raise InputError(
                f"compiled code computes a step in one thread, got threads={self.threads}"
                f"{' and spinning' if self.spinning else ''}; use engine='onnxruntime'"
            )


def is_native(path: Path, engine: EngineName | None = None) -> bool:
    """Whether compiled code computes the steps of what `path` names; `engine` is as `Opening` has it."""
    return engine == "native" or path.suffix.lower() in _LIBRARIES


AS_IT_IS: Final = Opening()
"""By what a file holds: a library natively, an ONNX model in ONNX Runtime on the CPU, with one thread."""


def open_engine(path: Path, how: Opening = AS_IT_IS, *, model_id: str | None = None) -> Engine:
    """Return the engine of a model file, a compiled library, or a bundle's folder.

    Args:
        path: The file, or the folder.
        how: Which engine, and what it is asked for.
        model_id: The id of the model that the caller expects; None for any. No code of another library runs.

    Raises:
        ModelFileError, SpecError, ProviderError, EngineError, InputError: As `load` raises them.
    """
    if not path.is_dir():
        return _open_file(path, how, model_id=model_id)
    from edgernn_runtime.engines.staged import StagedEngine  # noqa: PLC0415, costs the cold start of a file 5 ms

    return _checked(path, StagedEngine(*open_stages(path, how)), model_id)


def open_stages(folder: Path, how: Opening = AS_IT_IS) -> "tuple[BundleSpec, Mapping[str, Engine]]":
    """Return what a bundle's folder says of itself, and the engine of each stage; else as `open_engine`."""
    from edgernn_runtime.bundle_spec import read_bundle  # noqa: PLC0415, likewise

    bundle = read_bundle(folder)
    return bundle, {name: _open_file(folder / stage.file, how, bundle=folder) for name, stage in bundle.stages.items()}


def _open_file(path: Path, how: Opening, *, model_id: str | None = None, bundle: Path | None = None) -> Engine:
    """Return the engine of a file, which may be that of a stage of a bundle."""
    if path.suffix.lower() not in (".onnx", *_LIBRARIES):
        from edgernn_runtime.engines.object_file import check_is_no_code  # noqa: PLC0415, no model's usual name

        check_is_no_code(path)
    if is_native(path, how.engine):
        return _open_natively(path, how, model_id, bundle)
    from edgernn_runtime.engines.ort import OrtEngine  # noqa: PLC0415, costs the cold start of a library 50 ms

    found = resolve(how.providers)
    engine = OrtEngine(path, found, threads=how.threads, spinning=how.spinning, strict=how.strict)
    return _checked(path, engine, model_id)


def _open_natively(path: Path, how: Opening, model_id: str | None, bundle: Path | None) -> Engine:
    """Return the engine of a library that is named, or that the cache has for a model file."""
    if is_native(path) and how.engine == "onnxruntime":
        raise InputError(f"{path} is a compiled library, which only engine='native' can run")
    how.check_native()
    if is_native(path):
        from edgernn_runtime.engines.library_file import read_library  # noqa: PLC0415, no need of ONNX models

        library = read_library(path)
    else:
        from edgernn_runtime.engines.library_cache import find_library  # noqa: PLC0415, nor of libraries that are named

        library = find_library(path, bundle)
    from edgernn_runtime.engines.native import NativeEngine  # noqa: PLC0415, no need of ONNX models

    _check_model_id(path, library.description.model_id, model_id)
    return NativeEngine(library)


def _checked(path: Path, engine: Engine, model_id: str | None) -> Engine:
    """Return an engine, if it has opened the model that is expected."""
    _check_model_id(path, engine.model_id, model_id)
    return engine


def _check_model_id(path: Path, found: str, expected: str | None) -> None:
    """Raise a ModelFileError if a model is not the one that the caller expects; None is any."""
    if expected is not None and found != expected:
        raise ModelFileError(f"{path} is model {found[:12]}, and model {expected[:12]} is expected")
