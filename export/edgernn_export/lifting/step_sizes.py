"""Sizes among the arguments of operators: those that follow the batch are the step's."""

from typing import Final, cast

from torch import Tensor, fx

from edgernn_export.lifting.step_graph import StepGraph, aten

_SHAPED: Final = (aten.reshape.default, aten.expand.default)


def batch_sizes(step: StepGraph, node: fx.Node, args: tuple[object, ...], sample: Tensor) -> tuple[object, ...]:
    """Return the arguments of an operator without time, with sizes that follow the batch."""
    if node.target in _SHAPED:
        return (args[0], [step.rows(size) for size in sample.shape])
    if node.target is aten.repeat.default:
        return (args[0], [step.rows(size) for size in cast("list[int]", args[1])])
    return args
