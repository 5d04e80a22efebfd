"""The image task: grey pictures, drawn pixel by pixel, of a class that is asked for."""

from typing import TYPE_CHECKING, cast

from edgernn.tasks.image.settings import ImageSettings
from edgernn.tasks.task import Evaluation, Facts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.pixels import PixelModel
    from edgernn.models.rows import RowModel
    from edgernn.tasks.image.data import ImageData
    from edgernn_export import StagedModules, StepModule


class ImageTask(Task[ImageSettings, "ImageData", "PixelModel | RowModel"]):
    """Grey pictures, pixel by pixel."""

    name = "image"
    summary = "Grey pictures, pixel by pixel or at two rates, of a class that is asked for."
    unit = "pixel"
    settings = ImageSettings

    def read(self, settings: ImageSettings) -> "ImageData":
        from edgernn.tasks.image.data import ImageData
        from edgernn.tasks.pictures import read_pictures

        return ImageData(read_pictures(settings.data, width=settings.width, height=settings.height), settings)

    def model(self, settings: ImageSettings, facts: Facts) -> "PixelModel | RowModel":
        from edgernn.models.picture import PictureConfig
        from edgernn.models.pixels import PixelModel
        from edgernn.models.rows import RowModel

        config = PictureConfig(
            cell=settings.cell,
            width=settings.width,
            height=settings.height,
            levels=settings.levels,
            classes=len(cast("list[str]", facts["labels"])),
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
        )
        return PixelModel(config) if settings.order == "pixels" else RowModel(config)

    def loss(
        self,
        model: "PixelModel | RowModel",
        data: "ImageData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss of pictures is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.image.objective import pixel_loss

        return pixel_loss(model, *data.batch(step)), state

    def evaluate(self, model: "PixelModel | RowModel", data: "ImageData") -> Evaluation:
        from edgernn.tasks.image.objective import evaluate

        return evaluate(model, data)

    def export(
        self,
        model: "PixelModel | RowModel",
        settings: ImageSettings,  # noqa: ARG002, the model knows
        facts: Facts,  # noqa: ARG002, the model knows
    ) -> "StepModule | StagedModules":
        from edgernn.models.pixels import PixelModel, PixelStep
        from edgernn.models.rows import stages

        return PixelStep(model) if isinstance(model, PixelModel) else stages(model)
