"""The VAE task: pictures from a latent, by a recurrent encoder and decoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings
from edgernn.tasks.task import Evaluation, Facts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.vae import RowVAE
    from edgernn.tasks.vae.data import VaeData
    from edgernn_export import StagedModules


@dataclass(frozen=True, kw_only=True)
class VaeSettings(Settings):
    """What a VAE run is told."""

    data: Annotated[Path | None, Setting("A folder of pictures; without it, scikit-learn's handwritten digits.")] = None
    width: Annotated[int, Setting("Pixels in a row, that pictures are scaled to.", least=2, most=256)] = 8
    height: Annotated[int, Setting("Rows, that pictures are scaled to.", least=2, most=256)] = 8
    levels: Annotated[
        int, Setting("Greys that are told apart; more make the latent say more of a picture.", least=1, most=256)
    ] = 4
    latent: Annotated[int, Setting("Numbers in the latent.", least=1, most=4096)] = 12
    latent_at: Annotated[
        Literal["begin", "every"], Setting("The decoder takes the latent as its initial state, or at every step too.")
    ] = "every"
    kl_warmup: Annotated[
        float, Setting("Share of the budget in which the divergence comes to count fully.", least=0, most=1)
    ] = 0.2
    free_bits: Annotated[
        float, Setting("Nats of divergence that each number of the latent has for nothing.", least=0)
    ] = 0.02
    cell: CellName = "gru"
    hidden: int = 192
    layers: int = 1
    dropout: float = 0.0
    batch: int = 64
    learning_rate: float = 2e-3


class VaeTask(Task[VaeSettings, "VaeData", "RowVAE"]):
    """A variational autoencoder of pictures, recurrent over rows."""

    name = "vae"
    summary = "Grey pictures from a latent: encode, sample, interpolate, and draw row by row."
    unit = "picture"
    settings = VaeSettings

    def read(self, settings: VaeSettings) -> "VaeData":
        from edgernn.tasks.image.pictures import read_pictures
        from edgernn.tasks.vae.data import VaeData

        return VaeData(read_pictures(settings.data, width=settings.width, height=settings.height), settings)

    def model(self, settings: VaeSettings, facts: Facts) -> "RowVAE":  # noqa: ARG002, the settings say all
        from edgernn.models.vae import RowVAE, VaeConfig

        return RowVAE(
            VaeConfig(
                cell=settings.cell,
                width=settings.width,
                height=settings.height,
                latent=settings.latent,
                hidden=settings.hidden,
                layers=settings.layers,
                dropout=settings.dropout,
                every_step=settings.latent_at == "every",
            )
        )

    def loss(
        self, model: "RowVAE", data: "VaeData", *, step: int, state: "tuple[Tensor, ...]", spent: float
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.vae.objective import elbo_loss

        settings = data.settings
        weight = min(1.0, spent / settings.kl_warmup) if settings.kl_warmup else 1.0
        loss = elbo_loss(
            model, data.batch(step), levels=settings.levels, kl_weight=weight, free_bits=settings.free_bits
        )
        return loss, state

    def evaluate(self, model: "RowVAE", data: "VaeData") -> Evaluation:
        from edgernn.tasks.vae.objective import evaluate

        return evaluate(model, data.held_out(), levels=data.settings.levels)

    def export(self, model: "RowVAE", settings: VaeSettings, facts: Facts) -> "StagedModules":  # noqa: ARG002
        from edgernn.models.vae import stages

        return stages(model)
