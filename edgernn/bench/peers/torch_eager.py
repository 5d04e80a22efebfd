"""torch eager: the faster of torch's cells and its sequence module, in inference mode."""

from typing import ClassVar

from edgernn.bench.case import Material, Precision
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.eager import eager_steps


class TorchEagerPeer(Peer):
    """The model's step as it is written in torch."""

    name: ClassVar[str] = "torch-eager"

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, it has one
        model = material.model
        return fastest([lambda: eager_steps(model)["cells"], lambda: eager_steps(model)["module"]], material.case.batch)
