"""How much stack code takes: what the compiler says of each function, added along the longest chain of calls."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from edgernn_export.compile.elf import Elf


def read_frames(folder: Path) -> dict[str, int]:
    """Return the bytes of stack of each function, from the `.su` files anywhere under `folder`."""
    frames: dict[str, int] = {}
    for path in folder.rglob("*.su"):
        for line in path.read_text(errors="replace").splitlines():
            place, size, _ = line.split("\t")
            name = place.rpartition(":")[2]
            frames[name] = max(int(size), frames.get(name, 0))
    return frames


def longest_chain(elf: Elf, frames: Mapping[str, int]) -> int:
    """Return the bytes of stack of the deepest chain of calls inside an object file.

    Args:
        elf: An object file with a section for each function, so that every call is a relocation.
        frames: The bytes of stack of each function.
    """
    own: dict[int, int] = defaultdict(int)
    for section, name in elf.functions():
        own[section] = max(own[section], _frame(name, frames))
    callees: dict[int, set[int]] = defaultdict(set)
    for caller, callee in elf.references():
        if caller != callee and callee in own:
            callees[caller].add(callee)

    depths: dict[int, int] = {}

    def depth(section: int) -> int:
        if section not in depths:
            depths[section] = own[section]  # a call back into a chain is counted once
            depths[section] += max(map(depth, callees[section]), default=0)
        return depths[section]

    return max(map(depth, list(own)), default=0)


def _frame(name: str, frames: Mapping[str, int]) -> int:
    """Return a function's frame; a compiler's copies of it, as `f.constprop.0`, may go by its plain name."""
    return frames.get(name, frames.get(name.partition(".")[0], 0))
