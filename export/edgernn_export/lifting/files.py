"""Lifting files: sequence graphs in ONNX, and programs of `torch.export.save`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export.graph_signature import InputKind

from edgernn_export.lifting.example import Argument, Example, example_of
from edgernn_export.lifting.lifted_step import LiftedStep
from edgernn_export.lifting.lifter import DEFAULTS, LiftOptions, lift_source
from edgernn_export.lifting.onnx_graph.module import OnnxModule, Port, read_onnx
from edgernn_export.lifting.onnx_graph.source import OnnxSource
from edgernn_export.lifting.program import ProgramModule, read_program
from edgernn_export.lifting.sources import ModuleSource
from edgernn_runtime.errors import InputError, LiftError, first_line


def lift_onnx(
    path: str | Path,
    example: Sequence[str],
    options: LiftOptions = DEFAULTS,
    *,
    fixed: Mapping[str, NDArray[np.generic]] | None = None,
) -> LiftedStep:
    """Return one step of a sequence graph in ONNX, with its state explicit and proved equal to the file.

    The graph may keep the state of its LSTM, GRU and RNN operators inside, or take and return states
    under any names.

    Args:
        path: The file.
        example: Its inputs with batch and time named, as in `"x=float32[B,T,40]"`.
        options: How to lift it.
        fixed: Values of inputs that are not to stay inputs, such as a sample rate.

    Raises:
        ModelFileError: If the file is missing or no valid ONNX, or keeps data outside its folder.
        InputError: If the example is not the graph's.
        LiftError, ParityError: As `lift` does.
    """
    model = read_onnx(Path(path))
    values = dict(fixed or {})
    module = OnnxModule(model, values)
    known = example_of(_described(example), module)
    _check_ports(known, module.inputs, options)
    _prepare(module, known)
    source = OnnxSource(model, Path(path), [argument.name for argument in known.arguments], values)
    return lift_source(module, known, source, options, {})


def onnx_module(path: str | Path, fixed: Mapping[str, NDArray[np.generic]] | None = None) -> nn.Module:
    """Return an ONNX graph as a torch module, to be lifted as part of another one.

    It takes the graph's inputs by name, and returns a dict of its outputs.

    Args:
        path: The file.
        fixed: Values of inputs that are not to stay inputs, such as a sample rate.

    Raises:
        ModelFileError: If the file is missing or no valid ONNX, or keeps data outside its folder.
        LiftError: If it holds an operator that is not read.
    """
    return OnnxModule(read_onnx(Path(path)), dict(fixed or {}))


def lift_program(path: str | Path, example: Sequence[str], options: LiftOptions = DEFAULTS) -> LiftedStep:
    """Return one step of a program of `torch.export.save`, with its state explicit and proved equal.

    A program with recurrent layers takes sequences of one length only; it is lifted, and proved, at that. The
    length must be told from the sizes of its layers: a prime number such as 13 always is.

    Args:
        path: The file, ending in `.pt2`.
        example: Its inputs with batch and time named, as in `"x=float32[B,T,40]"`.
        options: How to lift it.

    Raises:
        ModelFileError: If the file is missing, no program, or holds more than tensors and operators.
        InputError: If the example is not the program's.
        LiftError, ParityError: As `lift` does.
    """
    program = read_program(Path(path))
    module = ProgramModule(program)
    known = example_of(list(example), module)
    frames = _program_frames(program, known, options)
    return lift_source(module, known, ModuleSource(module, known), options, {}, only_frames=frames)


def _program_frames(program: torch.export.ExportedProgram, example: Example, options: LiftOptions) -> int | None:
    """Return the number of frames that a program takes; None if it takes any."""
    found: int | None = None
    names = {each.arg.name for each in program.graph_signature.input_specs if each.kind == InputKind.USER_INPUT}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(nodes) != len(example.arguments):
        raise InputError(f"the program takes {len(nodes)} tensors, and the example describes {len(example.arguments)}")
    for argument, node in zip(example.arguments, nodes, strict=True):
        shape = node.meta["val"].shape
        fixed = [isinstance(size, int) for size in shape]
        same = len(shape) == len(argument.axes) and all(
            size == axis for size, axis in zip(shape, argument.axes, strict=True) if isinstance(axis, int)
        )
        if not same:
            raise InputError(f"{argument.name} is {list(map(str, shape))} in the program, and not as the example says")
        _check_batch(argument, shape, options)
        if argument.time is not None and fixed[argument.time]:
            found = int(shape[argument.time])
    return found


def _prepare(module: OnnxModule, example: Example) -> None:
    """Call the graph once outside of any trace, which makes its weights."""
    try:
        with torch.no_grad():
            module(**example.call(example.random(1, 64, seed=0)))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if isinstance(error, LiftError):
            raise
        lines = "; ".join(example.lines())
        raise LiftError(f"the graph fails for {lines}: {first_line(error)}") from error


def _described(lines: Sequence[str]) -> dict[str, str]:
    """Return descriptions by the names of inputs, which may hold dots."""
    described = {}
    for line in lines:
        name, separator, description = line.partition("=")
        if not separator:
            raise InputError(f"an example must read NAME=DTYPE[AXES], as in x=float32[B,T,40]; got {line!r}")
        if name.strip() in described:
            raise InputError(f"the example describes {name.strip()} twice")
        described[name.strip()] = description.strip()
    return described


def _check_ports(example: Example, inputs: Sequence[Port], options: LiftOptions) -> None:
    left = {port.name: port for port in inputs}
    for argument in example.arguments:
        port = left.pop(argument.name, None)
        if port is None:
            names = ", ".join(each.name for each in inputs)
            raise InputError(f"the graph has no input {argument.name}; it has {names}")
        same = len(port.axes) == len(argument.axes) and all(
            declared == axis or isinstance(declared, str) or declared == 0
            for declared, axis in zip(port.axes, argument.axes, strict=True)
            if isinstance(axis, int)
        )
        axes = ", ".join(map(str, port.axes))
        if port.dtype != argument.dtype or not same:
            raise InputError(f"{argument.name} is {port.dtype}[{axes}] in the graph, and not as the example says")
        if argument.time is not None and isinstance(port.axes[argument.time], int) and port.axes[argument.time]:
            raise InputError(
                f"{argument.name} is {port.dtype}[{axes}] in the graph, with a fixed length; export it with a dynamic "
                "one"
            )
        _check_batch(argument, port.axes, options)
    if left:
        port = next(iter(left.values()))
        axes = ",".join(map(str, port.axes))
        raise InputError(f"the example has no {port.name}, which is {port.dtype}[{axes}]; describe it, or fix it")


def _check_batch(argument: Argument, sizes: Sequence[object], options: LiftOptions) -> None:
    """Refuse a dynamic batch where the file has a fixed one."""
    size = sizes[argument.batch] if argument.batch is not None and sizes else None
    if isinstance(size, int) and size > 0 and options.batch == "dynamic":
        remedy = "take it with --batch 1 (batch=1)" if size == 1 else "export it with a dynamic batch, or one of 1"
        raise InputError(f"{argument.name} has a fixed batch of {size} in the file; {remedy}")
