"""Building a program: what the operators use to turn nodes into statements."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NoReturn

import numpy as np
import onnx

from edgernn_export.compile.identifiers import identifier
from edgernn_export.compile.kernels import KERNEL_FUNCTIONS
from edgernn_export.compile.program import (
    C_TYPES,
    Array,
    Buffer,
    Call,
    Kind,
    Loop,
    Pointwise,
    Program,
    Shape,
    Tensor,
    label_of,
    of_expression,
    read_buffers,
    whole,
)
from edgernn_export.compile.views import expanded, reshaped
from edgernn_runtime.errors import CompileError


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph.

    Attributes:
        name: Its name.
        operator: Its type, with the domain in front where it is not ONNX's own.
        inputs: The names of its inputs; empty for one that is left out.
        outputs: Those of its outputs.
        attributes: Its attributes.
        place: What it is for, as `operations` says.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]
    place: str

    @classmethod
    def of(cls, node: onnx.NodeProto, place: str) -> "Node":
        """Return a node of a graph."""
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        return cls(node.name, operator, tuple(node.input), tuple(node.output), attributes, place)

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an attribute that is an integer."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            self.refuse(f"needs the integer {name}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        value = self.attributes.get(name, default)
        return float(value)  # type: ignore[arg-type]  # ONNX's checker has seen to it

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of integers."""
        value = self.attributes.get(name, default)
        return [int(each) for each in value]  # type: ignore[attr-defined]  # likewise

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a string."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    @property
    def described(self) -> str:
        """What errors call it: its operator, place and name."""
        return f"{self.operator} of the {self.place} (node {self.name or self.outputs[0]})"

    def refuse(self, why: str) -> NoReturn:
        """Raise a CompileError that says where the node stands and what it needs."""
        raise CompileError(f"{self.described} {why}")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """What a name's numbers were before they left their grid: `(code - zero_point) * scale`.

    Attributes:
        codes: The integers, a tensor or a constant.
        scales: float32, one or several.
        zero_points: As many integers.
        axis: Along which axis of the codes several scales lie.
    """

    codes: Tensor | Array
    scales: Array
    zero_points: Array
    axis: int


class Builder:
    """The program so far, and what each name of the graph stands for. Mutable."""

    def __init__(self, uses: Mapping[str, int]) -> None:
        """Begin without statements; `uses` says how many nodes and outputs read each name."""
        self.program = Program([], [], [])
        self.place = ""
        self.node = ""
        self.grids: dict[str, Grid] = {}
        self._uses = uses
        self._tensors: dict[str, Tensor] = {}
        self._constants: dict[str, Array] = {}
        self._stored: dict[str, Buffer] = {}
        self._names: Counter[str] = Counter()
        self._places: dict[str, str] = {}

    def bind(self, name: str, tensor: Tensor) -> None:
        """Let a name stand for a tensor; what several nodes read, and is no view of memory, is put there first."""
        if isinstance(tensor.source, Pointwise) and self._uses.get(name, 0) > 1:
            tensor = self.stored(tensor)
        self._tensors[name] = tensor
        self._places[name] = self.place

    def bind_constant(self, name: str, array: Array) -> None:
        """Let a name stand for a constant."""
        self._constants[name] = array

    def tensor(self, name: str, what: str = "values") -> Tensor:
        """Return what a name stands for; a constant becomes one of the program, called `what`."""
        if name not in self._tensors:
            array = self._constants[name]
            self._tensors[name] = whole(self.constant_buffer(array, what), array.shape)
        return self._tensors[name]

    def constant(self, name: str) -> Array | None:
        """Return the content of a constant; None for what is none, or a name that is empty."""
        return self._constants.get(name)

    def knows(self, name: str) -> bool:
        """Whether a name stands for something by now."""
        return name in self._tensors or name in self._constants

    def place_of(self, name: str) -> str:
        """Return what the node that made a name is for; empty for an input."""
        return self._places.get(name, "")

    def shape(self, name: str) -> Shape:
        """Return the shape of what a name stands for."""
        constant = self._constants.get(name)
        return self._tensors[name].shape if constant is None else constant.shape

    def constant_buffer(self, array: Array, what: str) -> Buffer:
        """Return the buffer of a constant, called after the layer that it is for; equal ones share it."""
        key = f"{array.dtype}{hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"
        if key not in self._stored:
            name = f"{label_of(self.place)}_{what}"
            self._stored[key] = self._buffer(name, str(array.dtype), array.size, "constant", array)
        return self._stored[key]

    def fixed(self, array: Array, what: str) -> Tensor:
        """Return a constant as a tensor of its shape."""
        return whole(self.constant_buffer(array, what), array.shape)

    def scratch(self, shape: Shape, dtype: str, name: str = "value") -> Tensor:
        """Return a new array for what is computed on the way."""
        return whole(self._buffer(name, dtype, prod(shape), "scratch"), shape)

    def argument(self, name: str, dtype: str, shape: Shape, kind: Kind) -> Tensor:
        """Return a buffer of the interface."""
        return whole(self._buffer(name, dtype, prod(shape), kind), shape)

    def pointwise(self, template: str, *operands: Tensor, dtype: str, name: str) -> Tensor:
        """Return an expression of tensors that broadcast to one shape."""
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
        size = prod(shape)
        fitted = tuple(expanded(self.stored(each) if each.size < size else each, shape) for each in operands)
        return of_expression(Pointwise(name, template, fitted, dtype, shape))

    def stored(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """Return a tensor that is in order in a buffer: itself, or a copy."""
        if tensor.contiguous:
            return tensor
        source = tensor.source.name
        target = self.scratch(tensor.shape, tensor.dtype, name or source)
        self.store(tensor, target)
        return target

    def reshaped(self, tensor: Tensor, shape: Shape) -> Tensor:
        """Return a tensor in another shape: a view where one can be had, else one of a copy."""
        view = reshaped(tensor, shape) or reshaped(self.stored(tensor), shape)
        assert view is not None  # noqa: S101, what lies in order has every shape
        return view

    def store(self, tensor: Tensor, target: Tensor) -> None:
        """Write a tensor into a view of a buffer, of the same shape."""
        if not tensor.size:
            return
        shape = tuple(size for size in tensor.shape if size > 1)
        there, value = reshaped(target, shape), reshaped(tensor, shape)
        assert there is not None  # noqa: S101, axes of size one can always be left out
        assert value is not None  # noqa: S101, likewise
        self.program.statements.append(Loop(shape, [(there, value)], self.place))

    def call(
        self,
        template: str,
        operands: dict[str, Tensor],
        *,
        writes: Sequence[str],
        kernels: Sequence[str],
        dtypes: Mapping[str, str] | None = None,
        scratch_bytes: int = 0,
    ) -> None:
        """Call a kernel; see `Call`. Operands must be in order in buffers.

        `dtypes` names the operands that are not float32, and what they are; empty for any dtype.
        """
        for name, operand in operands.items():
            wanted = (dtypes or {}).get(name, "float32")
            if wanted not in ("", operand.dtype):
                raise CompileError(
                    f"{self.node} takes {wanted}, got {operand.dtype}; export the model with {wanted} there"
                )
        if not all(operands[name].size for name in writes):
            return
        call = Call(template, operands, tuple(writes), tuple(kernels), self.place, scratch_bytes)
        self.program.statements.append(call)

    def bound(self, tensor: Tensor, size: int, *, least: int) -> None:
        """Note that the integers of an input, if a tensor is all of one, lie from `least` to `size - 1`."""
        reads = read_buffers(tensor)
        if len(reads) != 1 or reads[0][0].kind not in ("input", "value") or not _is_cast(tensor):
            return
        buffer = reads[0][0]
        if tensor.size == buffer.size:
            known = self.program.bounds.get(buffer.name, (least, size))
            self.program.bounds[buffer.name] = max(least, known[0]), min(size, known[1])

    def _buffer(self, name: str, dtype: str, size: int, kind: Kind, array: Array | None = None) -> Buffer:
        if dtype not in C_TYPES:
            raise CompileError(f"{name} is {dtype}, which compiled models cannot hold; they have {', '.join(C_TYPES)}")
        plain = identifier(name)
        if plain in KERNEL_FUNCTIONS:
            plain = f"{plain}_value"
        unused = plain
        while unused in self._names:
            self._names[plain] += 1
            unused = f"{plain}_{self._names[plain]}"
        self._names[unused] = 1
        return Buffer(unused, dtype, size, kind, array)


Operator = Callable[[Builder, Node], None]
"""Reads the inputs of a node from the builder, and binds its outputs."""


def _is_cast(tensor: Tensor) -> bool:
    """Whether a tensor is a buffer's elements, as they are or of another integer type."""
    while isinstance(tensor.source, Pointwise):
        if not re.fullmatch(r"\(int\d+_t\)\{0\}", tensor.source.template):
            return False
        tensor = tensor.source.operands[0]
    return True
