"""From a module to the ATen graph of one call, at fixed sizes."""

import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from edgernn_export.graph import quiet_exporter
from edgernn_export.lifting.nodes import mapped, operands, overload
from edgernn_export.lifting.simplify import simplify
from edgernn_export.lifting.step_graph import aten
from edgernn_runtime.errors import LiftError, first_line

Sample = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """What a module computes in one call, as ATen operators on tensors of fixed sizes.

    Attributes:
        graph: Operators; placeholders are the constants and then the arguments.
        constants: Parameters, buffers and other fixed tensors, by placeholder.
        arguments: The placeholders of the arguments, in order.
        outputs: The nodes of the outputs, in order.
        tree: How the outputs nest.
    """

    graph: fx.Graph
    constants: Mapping[fx.Node, Tensor]
    arguments: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    tree: pytree.TreeSpec

    def sizes(self) -> set[int]:
        """Return every integer above 1 that occurs as a size or an argument of an operator."""
        return {abs(number) for node in self.graph.nodes for number in _integers(node) if abs(number) > 1}

    def samples(self, tensors: Sequence[Tensor]) -> dict[fx.Node, Sample]:
        """Return what each node computes for `tensors`, one per argument."""
        known: dict[fx.Node, Sample] = dict(self.constants)
        known.update(zip(self.arguments, tensors, strict=True))
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.op == "call_function":
                    args, kwargs = mapped(node, known.__getitem__)
                    result = overload(node)(*args, **kwargs)
                    known[node] = tuple(result) if isinstance(result, list) else cast("Sample", result)
        return known


def capture(module: nn.Module, arguments: Mapping[str, object]) -> Program:
    """Return the program of `module` called with `arguments`.

    Raises:
        LiftError: If torch cannot trace the module.
    """
    try:
        with quiet_exporter(), torch.no_grad():
            exported = torch.export.export(module, (), dict(arguments), strict=False)
            return program_of(exported.run_decompositions({aten.diff.default: _diff}))
    except LiftError:
        raise
    except Exception as error:
        raise LiftError(_reason(module, error)) from error


def program_of(exported: torch.export.ExportedProgram) -> Program:
    """Return the program that torch exported, simplified.

    Raises:
        LiftError: If it writes to its buffers, or returns what is no tensor.
    """
    signature = exported.graph_signature
    written = [each.target for each in signature.output_specs if each.kind != OutputKind.USER_OUTPUT]
    if written:
        raise LiftError(f"the module writes to {written[0]} in a way that cannot be followed; return it as a state")
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.output(graph.graph_copy(exported.graph, copies))
    kinds = {each.arg.name: each for each in signature.input_specs}
    constants: dict[fx.Node, Tensor] = {}
    arguments: list[fx.Node] = []
    for old, new in copies.items():
        if old.op == "placeholder":
            kind = kinds[old.name]
            if kind.kind == InputKind.USER_INPUT:
                arguments.append(new)
            else:
                constants[new] = _constant(exported, str(kind.target))
    simplify(graph)
    outputs = next(iter(reversed(graph.nodes))).args[0]
    if not all(isinstance(output, fx.Node) for output in cast("tuple[object, ...]", outputs)):
        raise LiftError("the module must return tensors alone")
    tree = exported.call_spec.out_spec
    assert tree is not None  # noqa: S101, every exported program has one
    return Program(graph, constants, tuple(arguments), tuple(operands(outputs)), tree)


def _constant(exported: torch.export.ExportedProgram, name: str) -> Tensor:
    tensors = exported.constants if name in exported.constants else exported.state_dict
    return cast("Tensor", tensors[name]).detach()


def _diff(x: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """Return `torch.diff` in operators that streams know."""
    parts = [part for part in (prepend, x, append) if part is not None]
    x = torch.cat(parts, dim) if len(parts) > 1 else x
    for _ in range(n):
        length = x.shape[dim]
        x = x.narrow(dim, 1, length - 1) - x.narrow(dim, 0, length - 1)
    return x


def _integers(node: fx.Node) -> Iterator[int]:
    for leaf in pytree.tree_leaves((node.args, node.kwargs)):
        if isinstance(leaf, int | float) and math.isfinite(leaf) and leaf == int(leaf):
            yield int(leaf)
    for value in pytree.tree_leaves(node.meta.get("val")):
        if isinstance(value, Tensor):
            yield from (int(size) for size in value.shape)


def _reason(module: nn.Module, error: Exception) -> str:
    """Return why torch could not trace a module, and what to do where that is known."""
    name, text = type(module).__name__, first_line(error)
    if "DataDependent" in type(error).__name__ or "data-dependent" in str(error):
        return (
            f"{name} decides in Python by the value of a tensor, which a graph cannot hold; compute both sides and "
            f"choose with torch.where ({text})"
        )
    if _met(error, PackedSequence):
        return (
            f"{name} packs its sequences, which mixes time with batch; a stream has no padding, so call the layer on "
            "the tensor itself"
        )
    return f"torch cannot trace {name}: {text}"


def _met(error: BaseException, kind: type) -> bool:
    """Return whether a value of some type was at hand where an error arose."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    if any(isinstance(value, kind) for frame in frames for value in frame.f_locals.values()):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and _met(cause, kind)
