"""StepModule: what everything exportable is."""

import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from edgernn_runtime.errors import ExportError
from edgernn_runtime.spec import Spec


@runtime_checkable
class StepModule(Protocol):
    """A torch module that computes one step with its state made explicit.

    `forward(*inputs, *states) -> (*outputs, *states)`, in the order of the Spec. Every tensor has the
    batch as axis 0, and time is not in it. A StepModule is also an `nn.Module`.
    """

    @property
    def spec(self) -> Spec:
        """The interface: inputs, outputs, states, and what makes the model generative."""

    @property
    def forward(self) -> Callable[..., tuple[Tensor, ...]]:
        """The step: inputs and states in, outputs and next states out."""


def as_module(step: StepModule) -> nn.Module:
    """Return `step` as the torch module that it must also be.

    Raises:
        ExportError: If it is no `nn.Module`, or its `forward` cannot take the Spec's tensors.
    """
    if not isinstance(step, nn.Module):
        raise ExportError(f"a StepModule must be a torch.nn.Module, got {type(step).__name__}")
    count = len(step.spec.inputs) + len(step.spec.states)
    try:
        inspect.signature(step.forward).bind(*[None] * count)
    except TypeError as error:
        raise ExportError(f"{type(step).__name__}.forward cannot take the Spec's {count} tensors: {error}") from error
    return step
