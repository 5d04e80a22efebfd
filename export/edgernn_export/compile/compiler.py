"""Compile: a step model as one C source and one header."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgernn_export.compile.identifiers import prefix
from edgernn_export.compile.program import Program
from edgernn_export.compile.translation import translate
from edgernn_export.compile.writing.functions import bytes_of, functions_of
from edgernn_export.compile.writing.interface import Interface, header
from edgernn_export.compile.writing.source import constants_of, source
from edgernn_export.metadata import read_model
from edgernn_export.operations import macs_per_step
from edgernn_runtime.files import check_targets, make_folder, write_bytes
from edgernn_runtime.spec import Spec


@dataclass(frozen=True, slots=True)
class Compiled:
    """A step model in C.

    Attributes:
        source: The source that was written.
        header: Its header.
        name: What its functions begin with.
        spec: What the model says of itself.
        model_id: Its id.
        constant_bytes: Bytes of weights and tables.
        state_bytes: Bytes of a state.
        stack_bytes: Bytes of arrays that a step has on the stack at most.
        macs_per_step: Multiplications with an addition in one step.
    """

    source: Path
    header: Path
    name: str
    spec: Spec
    model_id: str
    constant_bytes: int
    state_bytes: int
    stack_bytes: int
    macs_per_step: int | None


def compile_model(
    model: str | Path, folder: str | Path, *, name: str | None = None, overwrite: bool = False
) -> Compiled:
    """Write the C source and the header of a step model.

    Args:
        model: A `.onnx` file that edgernn exported.
        folder: Where to write; it is made if it is missing.
        name: What files and functions are called; None for the model file's name.
        overwrite: Whether existing files may be replaced.

    Raises:
        ModelFileError: If the file is missing, damaged, or no ONNX model.
        SpecError: If it has no Spec.
        CompileError: If an operator or a shape of it cannot be compiled.
        OutputError: If `folder` is none, or cannot be written to.
        OutputExistsError: If a file exists and `overwrite` is false.
    """
    path = Path(model)
    proto, spec, model_id = read_model(path)
    called = prefix(name or path.stem)
    files = Path(folder) / f"{called}.c", Path(folder) / f"{called}.h"
    check_targets(Path(folder), files, overwrite=overwrite)
    interface = Interface(called, model_id, spec, translate(proto, spec))
    make_folder(Path(folder))
    for file, text in zip(files, (source(interface), header(interface)), strict=True):
        write_bytes(file, text.encode(), overwrite=overwrite)
    return _compiled(files, interface, proto)


def _compiled(files: tuple[Path, Path], interface: Interface, proto: onnx.ModelProto) -> Compiled:
    program = interface.program
    return Compiled(
        source=files[0],
        header=files[1],
        name=interface.name,
        spec=interface.spec,
        model_id=interface.model_id,
        constant_bytes=sum(bytes_of(each) for each in constants_of(program)),
        state_bytes=sum(bytes_of(each) for each in program.states),
        stack_bytes=_stack_bytes(program),
        macs_per_step=macs_per_step(proto),
    )


def _stack_bytes(program: Program) -> int:
    """Return the bytes of a step's own arrays, and of the function that takes most."""
    functions = functions_of(program)
    shared = {each for function in functions for each in function.arguments if each.kind == "scratch"}
    return sum(map(bytes_of, shared)) + max((each.stack_bytes for each in functions), default=0)
