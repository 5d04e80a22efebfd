"""Loops in C: one statement for every store, and variables for what is called or used twice."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from edgernn_export.compile.literals import literal
from edgernn_export.compile.program import (
    C_TYPES,
    Affine,
    Buffer,
    Loop,
    Pointwise,
    Tensor,
    own_indices,
    read_buffers,
)

_LONGEST: Final = 40
"""Characters of an expression before a part of it becomes a variable."""
_LINE: Final = 84
"""Characters of a whole expression."""

_NAMES: Final = {1: ("unit",), 2: ("row", "column"), 3: ("plane", "row", "column")}
_SIMPLE: Final = re.compile(r"[\w.]+(->\w+)?(\[[^][]*\])?")


def loop_lines(loop: Loop, arrays: frozenset[Buffer], taken: frozenset[str]) -> list[str]:
    """Return the lines of a loop.

    Args:
        loop: The loop.
        arrays: The scratch buffers that lie in memory; what is in others stays in variables.
        taken: Names that variables may not have.
    """
    axes = _merged(loop)
    names = _NAMES.get(len(axes)) or tuple(f"index_{i}" for i in range(len(axes)))
    body = _Body(loop, axes, names, arrays, taken).lines()
    if not axes and len(body) > 1:
        return ["{", *(f"    {line}" for line in body), "}"]
    lines, indent = [], ""
    for (_, size), name in zip(axes, names, strict=True):
        lines.append(f"{indent}for (int {name} = 0; {name} < {size}; ++{name}) {{")
        indent += "    "
    lines += [indent + line for line in body]
    lines += ["    " * depth + "}" for depth in reversed(range(len(axes)))]
    return lines


def address(tensor: Tensor) -> str:
    """Return a pointer to the first element of a tensor that lies in order in a buffer."""
    source, offset = tensor.source, tensor.places[0].offset
    assert isinstance(source, Buffer)  # noqa: S101, kernels take what is in memory
    if source.kind == "value":
        return f"&{source.name}"
    return f"{source.reference} + {offset}" if offset else source.reference


def _merged(loop: Loop) -> list[tuple[tuple[int, ...], int]]:
    """Return the axes to loop over, neighbours merged where memory lies so."""
    places = [place for store in loop.stores for side in store for _, place in read_buffers(side)]
    axes: list[tuple[tuple[int, ...], int]] = []
    for axis, size in enumerate(loop.shape):
        last = axes[-1][0][-1] if axes else None
        if last is not None and all(place.steps[last] == place.steps[axis] * size for place in places):
            axes[-1] = ((*axes[-1][0], axis), axes[-1][1] * size)
        else:
            axes.append(((axis,), size))
    return axes


class _Body:
    """The statements inside a loop. Mutable while they are written."""

    def __init__(
        self,
        loop: Loop,
        axes: Sequence[tuple[tuple[int, ...], int]],
        names: Sequence[str],
        arrays: frozenset[Buffer],
        taken: frozenset[str],
    ) -> None:
        self._loop = loop
        self._variables = {group[-1]: name for (group, _), name in zip(axes, names, strict=True)}
        self._arrays = arrays
        targets = {buffer for there, _ in loop.stores for buffer, _ in read_buffers(there)}
        inner = {each.name for each in targets if each.kind == "scratch" and each not in arrays}
        self._taken = (set(taken) - inner) | set(names)
        self._known: dict[tuple[object, ...], str] = {}
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        stores = self._loop.stores
        for i, (target, value) in enumerate(stores):
            text = self._text(value, own_indices(value.shape))
            buffer, place = read_buffers(target)[0]
            assert isinstance(buffer, Buffer)  # noqa: S101, a loop writes into memory
            again = any((buffer, place) in read_buffers(later) for _, later in stores[i + 1 :])
            if again:
                written = [there for later, _ in stores[i + 1 :] for there, _ in read_buffers(later)]
                fades = any(text.startswith(f"{each.reference}[") for each in written if isinstance(each, Buffer))
                if fades or not _SIMPLE.fullmatch(text):
                    name = f"next_{buffer.name}" if buffer.kind == "state" else buffer.name
                    text = self._variable(name, buffer.dtype, text)
                self._known[buffer, place] = text
            if buffer.kind != "scratch" or buffer in self._arrays:
                self._lines.append(f"{self._element(buffer, place)} = {text};")
        return self._lines

    def _text(self, tensor: Tensor, indices: Sequence[Affine]) -> str:
        """Return the expression of a tensor's element at indices that are affine in the loop's."""
        places = tuple(place.at(indices) for place in tensor.places)
        source = tensor.source
        if isinstance(source, Buffer):
            return self._known.get((source, places[0])) or self._element(source, places[0])
        key = (source, *places)
        if key not in self._known:
            self._known[key] = self._expression(source, places)
        return self._known[key]

    def _expression(self, source: Pointwise, places: Sequence[Affine]) -> str:
        texts = [self._text(operand, places) for operand in source.operands]
        for i, text in enumerate(texts):
            repeated = source.template.count(f"{{{i}}}") > 1
            if (repeated or len(text) > _LONGEST) and not _SIMPLE.fullmatch(text):
                texts[i] = self._named(source.operands[i], places, text)
        text = "".join(_filled(source.template, texts))
        while len(text) > _LINE:
            longest = max(range(len(texts)), key=lambda i: len(texts[i]))
            if texts[longest].isidentifier():
                break
            texts[longest] = self._named(source.operands[longest], places, texts[longest])
            text = "".join(_filled(source.template, texts))
        return self._variable(source.name, source.dtype, text) if source.is_call else text

    def _named(self, operand: Tensor, indices: Sequence[Affine], text: str) -> str:
        """Return a variable that holds an operand from here on."""
        name = self._variable(operand.source.name, operand.dtype, text)
        self._known[operand.source, *(place.at(indices) for place in operand.places)] = name
        return name

    def _variable(self, base: str, dtype: str, text: str) -> str:
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        self._lines.append(f"const {C_TYPES[dtype]} {name} = {text};")
        return name

    def _element(self, buffer: Buffer, place: Affine) -> str:
        if buffer.kind == "value":
            return buffer.name
        if buffer.array is not None and buffer.size == 1:
            return literal(buffer.array.reshape(-1)[0])
        return f"{buffer.reference}[{self._index(place)}]"

    def _index(self, place: Affine) -> str:
        terms = [
            name if place.steps[axis] == 1 else f"{place.steps[axis]} * {name}"
            for axis, name in self._variables.items()
            if place.steps[axis]
        ]
        if place.offset or not terms:
            terms.append(str(place.offset))
        return " + ".join(terms).replace("+ -", "- ")


def _filled(template: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield the pieces of an expression, what is put in between brackets where it needs them."""
    end = 0
    for found in re.finditer(r"\{(\d)\}", template):
        before, text = template[end : found.start()], texts[int(found[1])]
        yield before
        argument = template[: found.start()].endswith(("(", ", ")) and template[found.end() :].startswith((")", ","))
        whole = template == found[0]
        yield text if whole or argument or _SIMPLE.fullmatch(text) else f"({text})"
        end = found.end()
    yield template[end:]
