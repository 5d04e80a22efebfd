"""The program of a step: buffers, views of them, and the statements that fill them.

Every shape is known. What is computed element by element stays an expression until something needs it in memory, so
that a layer's gates become one loop.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Shape = tuple[int, ...]

C_TYPES: Final[Mapping[str, str]] = {
    "float32": "float",
    "float64": "double",
    "int64": "int64_t",
    "int32": "int32_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
}
"""The C type of an element, by dtype."""

READABLE: Final = 512
"""Elements up to which a constant is written as numbers; larger ones are bytes, which compile many times faster."""

Kind = Literal["constant", "input", "value", "output", "state", "scratch"]
"""What a buffer holds; `value` is an input that a function takes by value."""


@dataclass(slots=True, eq=False)
class Buffer:
    """An array of the C program. Its kind may still change from scratch to an output or a state.

    Attributes:
        name: Its name in C.
        dtype: The dtype of an element.
        size: The number of elements.
        kind: What it holds.
        array: The content of a constant; None for others.
    """

    name: str
    dtype: str
    size: int
    kind: Kind
    array: Array | None = None

    @property
    def reference(self) -> str:
        """How a function names it."""
        if self.kind == "constant" and self.size > READABLE:
            return f"{self.name}.values"
        return f"state->{self.name}" if self.kind == "state" else self.name


@dataclass(frozen=True, slots=True)
class Affine:
    """A place along one axis of a source: `offset + sum(steps[i] * index[i])`."""

    offset: int
    steps: tuple[int, ...]

    def at(self, indices: Sequence["Affine"]) -> "Affine":
        """Return the place where every index is itself affine in other indices."""
        count = len(indices[0].steps) if indices else 0
        offset = self.offset + sum(step * index.offset for step, index in zip(self.steps, indices, strict=True))
        steps = [
            sum(step * index.steps[axis] for step, index in zip(self.steps, indices, strict=True))
            for axis in range(count)
        ]
        return Affine(offset, tuple(steps))


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise:
    """What is computed element by element, and not yet in memory.

    Attributes:
        name: What a local variable of it is called.
        template: The C expression, with `{0}`, `{1}`, ... for the operands.
        operands: What it is made of, each of this shape.
        dtype: The dtype of the result.
        shape: The shape of the result.
    """

    name: str
    template: str
    operands: tuple["Tensor", ...]
    dtype: str
    shape: Shape

    @property
    def is_call(self) -> bool:
        """Whether it calls a function, and so is worth a variable."""
        return "f32(" in self.template or "f(" in self.template


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view: which element of a source each index means.

    Attributes:
        source: A buffer, which has one axis, or an expression, which has those of its shape.
        shape: The shape of the view.
        places: For each axis of the source, the place that the view's indices mean.
    """

    source: Buffer | Pointwise
    shape: Shape
    places: tuple[Affine, ...]

    @property
    def dtype(self) -> str:
        """The dtype of an element."""
        return self.source.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether it is a piece of a buffer, in order."""
        return isinstance(self.source, Buffer) and all(
            step == wanted or size == 1
            for step, wanted, size in zip(self.places[0].steps, row_major(self.shape), self.shape, strict=True)
        )

    @property
    def constant(self) -> Array | None:
        """The content, if it is a constant buffer in order; None otherwise."""
        if not isinstance(self.source, Buffer) or self.source.array is None or not self.contiguous:
            return None
        start = self.places[0].offset
        return self.source.array.reshape(-1)[start : start + self.size].reshape(self.shape)


@dataclass(slots=True)
class Loop:
    """Statements for every index of a shape, in order. Mutable: loops of one shape are merged.

    Attributes:
        shape: The shape.
        stores: What is written where; the targets are views of buffers.
        place: What the statement is for, as `operations` calls it.
    """

    shape: Shape
    stores: list[tuple[Tensor, Tensor]]
    place: str


@dataclass(slots=True)
class Call:
    """A call of a kernel.

    Attributes:
        template: The statement, with names in braces for the operands.
        operands: The operands by name, each in order in a buffer.
        writes: The names of those that it writes.
        kernels: The kernels that it needs, by the names of their files.
        place: What the statement is for.
        scratch_bytes: The bytes of stack that the kernel takes.
    """

    template: str
    operands: dict[str, Tensor]
    writes: tuple[str, ...]
    kernels: tuple[str, ...]
    place: str
    scratch_bytes: int = 0


Statement = Loop | Call


@dataclass(slots=True)
class Program:
    """What a step computes. Mutable while it is built and arranged.

    Attributes:
        inputs: The buffers of the inputs, in the order of the Spec.
        outputs: Those of the outputs.
        states: Those of the states.
        statements: What is computed, in order.
        bounds: Which integers inputs may hold, by the buffer's name: the least, and the first that is too large.
    """

    inputs: list[Buffer]
    outputs: list[Buffer]
    states: list[Buffer]
    statements: list[Statement] = field(default_factory=list)
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)


def row_major(shape: Shape) -> tuple[int, ...]:
    """Return the steps between neighbours along each axis of an array in order.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def whole(buffer: Buffer, shape: Shape) -> Tensor:
    """Return all of a buffer as a tensor of a shape."""
    return Tensor(buffer, shape, (Affine(0, row_major(shape)),))


def of_expression(expression: Pointwise) -> Tensor:
    """Return an expression as the tensor of its shape."""
    return Tensor(expression, expression.shape, tuple(own_indices(expression.shape)))


def read_buffers(tensor: Tensor) -> list[tuple[Buffer, Affine]]:
    """Return every buffer that a tensor is made of, with the place that is read, in the tensor's indices."""
    return _reads(tensor, own_indices(tensor.shape))


def own_indices(shape: Shape) -> list[Affine]:
    """Return each index of a shape as itself; along axes of size one it is always 0."""
    axes = range(len(shape))
    return [Affine(0, tuple(int(axis == other and shape[axis] > 1) for other in axes)) for axis in axes]


def _reads(tensor: Tensor, indices: Sequence[Affine]) -> list[tuple[Buffer, Affine]]:
    places = [place.at(indices) for place in tensor.places]
    if isinstance(tensor.source, Buffer):
        return [(tensor.source, places[0])]
    return [read for operand in tensor.source.operands for read in _reads(operand, places)]


def label_of(place: str) -> str:
    """Return what the function of a place is called in C.

    >>> label_of("layer 1 gates"), label_of("state cnn.0")
    ('layer_1', 'state_cnn_0')
    """
    words = place.split()
    return "_".join(words[:2]) if words[:1] == ["layer"] else re.sub(r"\W+", "_", place, flags=re.ASCII) or "pass_on"
