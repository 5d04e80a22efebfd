"""Explicit states: which arguments of a module it returns again."""

from collections.abc import Mapping

import torch
from torch import Tensor

from edgernn_export.lifting.capture import Program
from edgernn_export.lifting.example import Argument, Example
from edgernn_export.lifting.interface import Carried, output_names


def pair_states(example: Example, program: Program, initial: Mapping[str, Tensor | None]) -> tuple[Carried, ...]:
    """Return the arguments without time that have an output of their shape and dtype.

    An output of the same name comes first, else the last ones, in order: modules return their states last.

    Args:
        example: The arguments.
        program: What the module computes with them.
        initial: Initial values by argument, where they are not zero.
    """
    names = output_names(program)
    shapes = [(tuple(node.meta["val"].shape), node.meta["val"].dtype) for node in program.outputs]
    last = len(shapes)
    found: list[Carried] = []
    for position in reversed(range(len(example.arguments))):
        argument, value = example.arguments[position], program.arguments[position].meta["val"]
        if argument.time is not None or (not example.timed and position == 0):
            continue
        fits = [i for i, shape in enumerate(shapes) if shape == (tuple(value.shape), value.dtype)]
        named = [i for i in fits if names[i] == argument.name]
        behind = [i for i in fits if 0 < i < last]
        if named or behind:
            output = (named or behind)[-1]
            last = last if named else output
            found.append(Carried(position, output, _row(argument, initial.get(argument.name))))
    return tuple(reversed(found))


def _row(argument: Argument, initial: Tensor | None) -> Tensor:
    """Return a state's initial value for one row, without the batch."""
    sizes = argument.sized(1, 1)
    start = torch.zeros(sizes, dtype=getattr(torch, argument.dtype)) if initial is None else initial
    row = start.expand(sizes) if argument.batch is None else start.expand(sizes).squeeze(argument.batch)
    return row.detach().clone()
