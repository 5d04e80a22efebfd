"""edgernn without a runtime: the exported step model compiled to C, through the same public runtime."""

from pathlib import Path
from typing import ClassVar

from edgernn.bench.case import Case, Material, Precision
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.step_model import model_file, open_step
from edgernn_export.compile import build_library, compile_model, find_compiler, find_target
from edgernn_runtime.errors import CompileError


class NativePeer(Peer):
    """The files of `edgernn`, compiled for this machine by the C compiler that is found."""

    name: ClassVar[str] = "edgernn-native"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "int8", "int4")

    def missing(self, case: Case, precision: Precision) -> str | None:
        if case.threads > 1:
            return "compiled models have one thread"
        try:
            find_compiler(find_target("host"))
        except CompileError as error:
            return str(error)
        return super().missing(case, precision)

    def open(self, material: Material, precision: Precision) -> Step:
        return open_step(library_file(model_file(material, precision)), material.case)


def library_file(model: Path) -> Path:
    """Return the library of a model file, built if it is not there yet."""
    path = model.with_suffix(".so")
    if path.exists():
        return path
    compiled = compile_model(model, model.parent, overwrite=True)
    build_library(compiled.source, find_target("host"), path, model_id=compiled.model_id, spec=compiled.spec)
    return path
