"""BeginStep: the state that a decoder begins with, made of what an encoder computed; a stage that steps once."""

from typing import Protocol, cast

from torch import Tensor, nn

from edgernn.cells import State
from edgernn.cells.stack import Stack
from edgernn_runtime.spec import BATCH, Spec, TensorSpec


class Decoding(Protocol):
    """A model whose decoder begins with a state that is made of something given."""

    decoder: Stack

    def initial(self, given: Tensor) -> State:
        """Return the decoder's state at reset for what is given `[batch, ...]`."""


class BeginStep(nn.Module):
    """The decoder's initial state as a `StepModule`: `forward(given) -> states`."""

    def __init__(self, model: nn.Module, given: TensorSpec) -> None:
        """Wrap a model, which is `Decoding`; it is put into evaluation mode.

        Args:
            model: The model.
            given: What it makes the state of.
        """
        super().__init__()
        self.model = model.eval()
        self._given = given

    @property
    def spec(self) -> Spec:
        """The interface of the step; each state of the decoder is an output of its name."""
        decoder = cast("Decoding", self.model).decoder
        return Spec(
            inputs=(self._given,),
            outputs=tuple(
                TensorSpec(name, "float32", (BATCH, *tensor.shape[1:]), "params")
                for name, tensor in zip(decoder.state_names, decoder.init(1), strict=True)
            ),
            states=(),
        )

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """Return the states that the decoder begins with, for what is given `[batch, ...]`."""
        return cast("Decoding", self.model).initial(given)
