"""Arranging a program: fewer loops, fewer arrays, and states that are written where they are read."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgernn_export.compile.program import (
    Affine,
    Buffer,
    Call,
    Loop,
    Program,
    Statement,
    Tensor,
    label_of,
    read_buffers,
)

Place = tuple[Buffer, Affine]


def arrange(program: Program) -> None:
    """Merge loops, write outputs and states in place, and drop what nothing reads. Changes the program."""
    _drop_unread(program)
    merge_loops(program)
    _write_in_place(program)
    _drop_unread(program)


def reads_of(statement: Statement) -> list[Place]:
    """Return the places that a statement reads; of a kernel's operands, the whole of them."""
    if isinstance(statement, Loop):
        return [read for _, value in statement.stores for read in read_buffers(value)]
    names = [name for name in statement.operands if name not in statement.writes]
    return [read for name in names for read in read_buffers(statement.operands[name])]


def writes_of(statement: Statement) -> list[Place]:
    """Return the places that a statement writes."""
    if isinstance(statement, Loop):
        return [write for target, _ in statement.stores for write in read_buffers(target)]
    return [write for name in statement.writes for write in read_buffers(statement.operands[name])]


def buffers_in_memory(program: Program) -> frozenset[Buffer]:
    """Return the scratch buffers that kernels use, or of which a loop reads what it has not just written.

    What a loop has just written of others is a variable.
    """
    found: set[Buffer] = set()
    for statement in program.statements:
        if isinstance(statement, Loop):
            written: set[Place] = set()
            for target, value in statement.stores:
                found.update(buffer for buffer, place in read_buffers(value) if (buffer, place) not in written)
                written.update(read_buffers(target))
        else:
            found.update(buffer for buffer, _ in (*reads_of(statement), *writes_of(statement)))
    return frozenset(each for each in found if each.kind == "scratch")


@dataclass(slots=True)
class _Footprint:
    """A statement with the places that it reads and writes. Mutable: loops grow.

    Attributes:
        statement: The statement.
        reads: The places that it reads.
        writes: Those that it writes.
    """

    statement: Statement
    reads: set[Place]
    writes: set[Place]

    @classmethod
    def of(cls, statement: Statement) -> "_Footprint":
        """Return the footprint of a statement."""
        return cls(statement, set(reads_of(statement)), set(writes_of(statement)))


def merge_loops(program: Program) -> None:
    """Move each loop up to an earlier one of its shape, where nothing between them stands in the way."""
    merged: list[_Footprint] = []
    for statement in program.statements:
        here = _Footprint.of(statement)
        target = _mergeable(merged, here)
        if target is None or isinstance(target.statement, Call) or isinstance(statement, Call):
            merged.append(here)
        else:
            target.statement.stores += statement.stores
            target.reads |= here.reads
            target.writes |= here.writes
    program.statements = [each.statement for each in merged]


def _mergeable(earlier: list[_Footprint], here: _Footprint) -> _Footprint | None:
    """Return the loop among earlier statements that a loop can become part of."""
    loop = here.statement
    if not isinstance(loop, Loop):
        return None
    for before in reversed(earlier):
        other = before.statement
        if isinstance(other, Loop) and other.shape == loop.shape and label_of(other.place) == label_of(loop.place):
            return before if _same_elements(before, here) else None
        if _meet(before.writes, here.reads | here.writes) or _meet(before.reads, here.writes):
            return None
    return None


def _same_elements(first: _Footprint, second: _Footprint) -> bool:
    """Whether what the second reads of the first is the element of the same index."""
    written = {buffer for buffer, _ in first.writes}
    shared = {place for place in second.reads | second.writes if place[0] in written}
    return shared <= first.writes and not _meet(first.reads, second.writes)


def _meet(first: Iterable[Place], second: Iterable[Place]) -> bool:
    return not {buffer for buffer, _ in first}.isdisjoint(buffer for buffer, _ in second)


def _write_in_place(program: Program) -> None:
    """Let what becomes an output or a state be computed there, in place of a copy at the end."""
    for target in (*program.outputs, *program.states):
        copy = _copy_into(program, target)
        if copy is None:
            continue
        source = copy[1].source
        assert isinstance(source, Buffer)  # noqa: S101, _copy_into saw to it
        if target.kind == "state" and not _is_replaced(program, source, target):
            continue
        for statement in program.statements:
            if isinstance(statement, Loop):
                statement.stores = [store for store in statement.stores if store is not copy]
        source.name, source.kind = target.name, target.kind


def _copy_into(program: Program, target: Buffer) -> tuple[Tensor, Tensor] | None:
    """Return the store that copies all of a scratch buffer into a target; None if it is made in another way."""
    stores = [store for each in program.statements if isinstance(each, Loop) for store in each.stores]
    found = [store for store in stores if store[0].source is target]
    if len(found) != 1:
        return None
    there, value = found[0]
    source = value.source
    if not isinstance(source, Buffer) or source.kind != "scratch" or source.dtype != target.dtype:
        return None
    return found[0] if source.size == target.size and value.contiguous and there.contiguous else None


def _is_replaced(program: Program, source: Buffer, target: Buffer) -> bool:
    """Whether one statement writes a source, and none reads the target afterwards."""
    written = False
    for statement in program.statements:
        reads = any(buffer is target for buffer, _ in reads_of(statement))
        if any(buffer is source for buffer, _ in writes_of(statement)):
            if written or (reads and not _reads_before(statement, source, target)):
                return False
            written = True
        elif written and reads:
            return False
    return written


def _reads_before(statement: Statement, source: Buffer, target: Buffer) -> bool:
    """Whether a loop reads of a target only the element that it then writes of a source."""
    if not isinstance(statement, Loop):
        return False
    places = [place for buffer, place in writes_of(statement) if buffer is source]
    reads = [[place for buffer, place in read_buffers(value) if buffer is target] for _, value in statement.stores]
    last = max(i for i, (there, _) in enumerate(statement.stores) if there.source is source)
    return (
        len(places) == 1 and all(place == places[0] for each in reads for place in each) and not any(reads[last + 1 :])
    )


def _drop_unread(program: Program) -> None:
    """Drop what only fills scratch buffers that nothing reads."""
    while True:
        memory = buffers_in_memory(program)
        read = {buffer for statement in program.statements for buffer, _ in reads_of(statement)}
        before = sum(_stores(statement) for statement in program.statements)
        for statement in program.statements:
            if isinstance(statement, Loop):
                own = set(reads_of(statement))
                statement.stores = [
                    (target, value)
                    for target, value in statement.stores
                    if any(
                        buffer.kind != "scratch" or buffer in memory or (buffer, place) in own
                        for buffer, place in read_buffers(target)
                    )
                ]
        program.statements = [
            each
            for each in program.statements
            if (
                each.stores
                if isinstance(each, Loop)
                else any(buffer.kind != "scratch" or buffer in read for buffer, _ in writes_of(each))
            )
        ]
        if sum(_stores(statement) for statement in program.statements) == before:
            return


def _stores(statement: Statement) -> int:
    return len(statement.stores) if isinstance(statement, Loop) else 1
