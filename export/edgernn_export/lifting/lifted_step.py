"""LiftedStep: the step that lifting made, and how it is compared with its original."""

from typing import cast

from torch import Tensor, fx, nn

from edgernn_export.lifting.proof import Proof
from edgernn_runtime.spec import Spec


class LiftedStep(nn.Module):
    """One step of a module over sequences, with its state explicit.

    A `StepModule`: `forward(*inputs, *states) -> (*outputs, *states)`, in the order of the Spec.

    Attributes:
        spec: Its interface.
        proof: How it is compared with the original.
    """

    def __init__(self, step: fx.GraphModule, spec: Spec, proof: Proof) -> None:
        """Join a step with what it was lifted from."""
        super().__init__()
        self.step = step
        self.spec = spec
        self.proof = proof

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute one step."""
        return cast("tuple[Tensor, ...]", self.step(*tensors))
