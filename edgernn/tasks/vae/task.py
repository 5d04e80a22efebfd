"""The VAE task: pictures from a latent, by a recurrent encoder and decoder."""

from typing import TYPE_CHECKING

from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn.tasks.vae.settings import VaeSettings

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.vae import RowVAE
    from edgernn.tasks.vae.data import VaeData
    from edgernn_export import StagedModules


class VaeTask(Task[VaeSettings, "VaeData", "RowVAE"]):
    """A variational autoencoder of pictures, recurrent over rows."""

    name = "vae"
    summary = "Grey pictures from a latent: encode, sample, interpolate, and draw row by row."
    unit = "picture"
    settings = VaeSettings

    def read(self, settings: VaeSettings) -> "VaeData":
        from edgernn.tasks.pictures import read_pictures
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
            model,
            data.batch(step),
            levels=settings.levels,
            kl_weight=weight,
            free_bits=settings.free_bits,
            share=data.share,
        )
        return loss, state

    def evaluate(self, model: "RowVAE", data: "VaeData") -> Evaluation:
        from edgernn.tasks.vae.objective import evaluate

        return evaluate(model, data.held_out(), levels=data.settings.levels)

    def export(self, model: "RowVAE", settings: VaeSettings, facts: Facts) -> "StagedModules":  # noqa: ARG002
        from edgernn.models.vae import stages

        return stages(model)
