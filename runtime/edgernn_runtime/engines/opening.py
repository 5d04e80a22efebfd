"""Opening a model: a file in ONNX Runtime, a folder as the stages of a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.providers import CPU, Provider

if TYPE_CHECKING:
    from edgernn_runtime.bundle_spec import BundleSpec


def open_engine(
    path: Path,
    providers: Sequence[Provider] = (CPU,),
    *,
    threads: int = 1,
    spinning: bool = False,
    strict: bool = False,
) -> Engine:
    """Return the engine of a model file, or of a bundle's folder; arguments and errors as in `OrtEngine`."""
    if not path.is_dir():
        return OrtEngine(path, providers, threads=threads, spinning=spinning, strict=strict)
    from edgernn_runtime.engines.staged import StagedEngine  # noqa: PLC0415, costs the cold start of a file 5 ms

    return StagedEngine(*open_stages(path, providers, threads=threads, spinning=spinning, strict=strict))


def open_stages(
    folder: Path,
    providers: Sequence[Provider] = (CPU,),
    *,
    threads: int = 1,
    spinning: bool = False,
    strict: bool = False,
) -> "tuple[BundleSpec, Mapping[str, Engine]]":
    """Return what a bundle's folder says of itself, and the engine of each stage; else as `open_engine`."""
    from edgernn_runtime.bundle_spec import read_bundle  # noqa: PLC0415, likewise

    bundle = read_bundle(folder)
    return bundle, {
        name: OrtEngine(folder / stage.file, providers, threads=threads, spinning=spinning, strict=strict)
        for name, stage in bundle.stages.items()
    }
