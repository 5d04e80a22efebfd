"""Functions: the statements of a program by layer, each with the arrays that it needs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgernn_export.compile.arranging import buffers_in_memory, reads_of, writes_of
from edgernn_export.compile.program import C_TYPES, Buffer, Call, Program, Statement, label_of
from edgernn_export.compile.writing.loops import address, loop_lines


@dataclass(frozen=True, slots=True)
class Function:
    """A part of a step.

    Attributes:
        name: Its name in C.
        statements: What it computes.
        arguments: The buffers that it shares with others, in the order of its parameters.
        arrays: Those that only it uses.
        state: Whether it reads or writes states.
    """

    name: str
    statements: tuple[Statement, ...]
    arguments: tuple[Buffer, ...]
    arrays: tuple[Buffer, ...]
    state: bool

    @property
    def stack_bytes(self) -> int:
        """The bytes of its arrays, and of the kernel that takes most."""
        kernels = [each.scratch_bytes for each in self.statements if isinstance(each, Call)]
        return sum(bytes_of(each) for each in self.arrays) + max(kernels, default=0)


def functions_of(program: Program) -> tuple[Function, ...]:
    """Return the functions of a step, in the order in which it calls them."""
    groups = _grouped(program.statements)
    arrays = buffers_in_memory(program)
    users = Counter(buffer for _, statements in groups for buffer in set(_buffers(statements)))
    functions: dict[str, Function] = {}
    for label, statements in groups:
        name, count = label, 1
        while name in functions:
            count += 1
            name = f"{label}_{count}"
        buffers = list(dict.fromkeys(_buffers(statements)))
        scratch = [each for each in buffers if each in arrays]
        shared = [each for each in buffers if each.kind in ("input", "value", "output")]
        functions[name] = Function(
            name,
            tuple(statements),
            tuple(shared + [each for each in scratch if users[each] > 1]),
            tuple(each for each in scratch if users[each] == 1),
            any(each.kind == "state" for each in buffers),
        )
    return tuple(functions.values())


def function_lines(function: Function, arrays: frozenset[Buffer], prefix: str) -> list[str]:
    """Return the lines of a function's definition; `arrays` are the scratch buffers that lie in memory."""
    lines = [f"static void {prefix}_{function.name}({_parameters(function, prefix)}) {{"]
    lines += [f"    {declaration(each)};" for each in function.arrays]
    taken = frozenset(each.name for statement in function.statements for each in _buffers([statement]))
    for statement in function.statements:
        lines += [f"    {line}" for line in statement_lines(statement, arrays, taken)]
    return [*lines, "}"]


def statement_lines(statement: Statement, arrays: frozenset[Buffer], taken: frozenset[str]) -> list[str]:
    """Return the lines of a statement."""
    if not isinstance(statement, Call):
        return loop_lines(statement, arrays, taken)
    addresses = {name: address(each) for name, each in statement.operands.items()}
    return statement.template.format(**addresses).splitlines()


def call_line(function: Function, prefix: str) -> str:
    """Return the call of a function."""
    names = (["state"] if function.state else []) + [each.name for each in function.arguments]
    return f"{prefix}_{function.name}({', '.join(names)});"


def declaration(buffer: Buffer) -> str:
    """Return the declaration of an array."""
    return f"ALIGNED {C_TYPES[buffer.dtype]} {buffer.name}[{buffer.size}]"


def bytes_of(buffer: Buffer) -> int:
    """Return the bytes of a buffer."""
    return buffer.size * np.dtype(buffer.dtype).itemsize


def _parameters(function: Function, prefix: str) -> str:
    written = {buffer for each in function.statements for buffer, _ in writes_of(each)}
    parts = [f"{prefix}_state *state"] if function.state else []
    for each in function.arguments:
        kind = C_TYPES[each.dtype]
        if each.kind == "value":
            parts.append(f"{kind} {each.name}")
        else:
            parts.append(f"{'' if each in written else 'const '}{kind} *restrict {each.name}")
    return ", ".join(parts) or "void"


def _buffers(statements: Sequence[Statement]) -> list[Buffer]:
    return [buffer for each in statements for buffer, _ in (*reads_of(each), *writes_of(each))]


def _grouped(statements: Sequence[Statement]) -> list[tuple[str, list[Statement]]]:
    """Return statements by what they are for, in an order in which they can run that changes it least often."""
    labels = [label_of(each.place) for each in statements]
    waiting = _dependencies(statements)
    groups: list[tuple[str, list[Statement]]] = []
    while waiting:
        label = groups[-1][0] if groups else ""
        ready = [i for i, before in waiting.items() if not before]
        following = min(ready, key=lambda i: (labels[i] != "table", labels[i] != label))
        del waiting[following]
        for before in waiting.values():
            before.discard(following)
        if not groups or labels[following] != label:
            groups.append((labels[following], []))
        groups[-1][1].append(statements[following])
    return groups


def _dependencies(statements: Sequence[Statement]) -> dict[int, set[int]]:
    """Return for each statement those in front of it that must run first."""
    reads = [_names(reads_of(each)) for each in statements]
    writes = [_names(writes_of(each)) for each in statements]
    return {
        i: {j for j in range(i) if not (writes[j].isdisjoint(reads[i] | writes[i]) and reads[j].isdisjoint(writes[i]))}
        for i in range(len(statements))
    }


def _names(places: Sequence[tuple[Buffer, object]]) -> set[str]:
    """Return buffers by reference: a buffer that has become a state is that state."""
    return {buffer.reference for buffer, _ in places}
