"""Sources of whole sequences: what a step model is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgernn_export.lifting.example import Example
from edgernn_export.lifting.sequence import Source


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A torch module, called with whole sequences."""

    module: nn.Module
    example: Example

    @property
    def name(self) -> str:
        """The module's class."""
        return type(self.module).__name__

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs for one tensor per argument."""
        with torch.no_grad():
            result = self.module(**self.example.call(tensors))
        return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


@dataclass(frozen=True, slots=True)
class StepSource:
    """A source that is one step already, called step by step; its arguments have time as axis 0.

    Attributes:
        step: What computes one step.
        states: Positions of the states among the arguments, and of the outputs that they become.
    """

    step: Source
    states: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """The name of what computes one step."""
        return self.step.name

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of all steps, stacked along axis 0."""
        carried = dict(self.states)
        state = {position: tensors[position] for position in carried}
        made: list[list[Tensor]] = []
        for step in range(next(len(tensor) for i, tensor in enumerate(tensors) if i not in carried)):
            made.append(self.step.run([state[i] if i in carried else each[step] for i, each in enumerate(tensors)]))
            state = {position: made[-1][output] for position, output in self.states}
        return [torch.stack(each) for each in zip(*made, strict=True)]
