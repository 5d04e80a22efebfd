"""The GAN task: continuous series from noise, by a recurrent generator against a recurrent discriminator."""

from typing import TYPE_CHECKING, cast

from edgernn.tasks.gan.settings import GanSettings
from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.errors import RunError
from edgernn_runtime.spec_json import codec_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.gan import SeriesGan
    from edgernn.tasks.gan.data import GanData
    from edgernn_export import StepModule


class GanTask(Task[GanSettings, "GanData", "SeriesGan"]):
    """A generative adversarial network of series."""

    name = "gan"
    summary = "Series from noise: a recurrent generator that streams, trained against a recurrent discriminator."
    quantity = "deviations"
    unit = "window"
    betas = (0.0, 0.99)
    settings = GanSettings

    def read(self, settings: GanSettings) -> "GanData":
        from edgernn.tasks.gan.data import GanData
        from edgernn.tasks.gan.sources import load_recordings

        return GanData(load_recordings(settings), settings)

    def model(self, settings: GanSettings, facts: Facts) -> "SeriesGan":
        from edgernn.models.gan import GanConfig, SeriesGan

        codec = _codec(facts)
        return SeriesGan(
            GanConfig(
                cell=settings.cell,
                hidden=settings.hidden,
                layers=settings.layers,
                noise=settings.noise,
                latent=settings.latent_numbers,
                means=codec.means,
                deviations=_scales(facts, "deviations", codec.size),
                changes=_scales(facts, "changes", codec.size),
                compress=settings.compression,
                limit=_limit(facts) if settings.compression else 0.0,
            )
        )

    def begin(self, model: "SeriesGan", settings: GanSettings) -> "tuple[Tensor, ...]":
        from edgernn.tasks.gan.objective import new_streams

        return new_streams(model, settings.batch).tensors

    def loss(
        self,
        model: "SeriesGan",
        data: "GanData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the game is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        """Return the sum of both networks' losses, and the streams of the generator, some of which go on.

        The averaged weights follow those of the step before.
        """
        import torch

        from edgernn.models.gan import Streams
        from edgernn.tasks.gan.objective import bound_weights, draw_noise, game_loss, new_streams

        settings, real = data.settings, data.batch(step)
        time, batch, _ = real.shape
        model.follow(min(settings.average, (1 + step) / (10 + step)))
        if settings.stabiliser == "spectral":
            bound_weights(model.discriminator, settings.hidden)
        kept = data.share.draw(torch.rand, batch, axis=0) >= settings.restart
        streams = Streams.of(state).where(kept, new_streams(model, batch, data.share))
        made, after = streams.make(model.generator, draw_noise(model, time=time, batch=batch, share=data.share))
        loss = game_loss(model, real, made, penalty=settings.penalty_weight)
        return loss, after.tensors

    def evaluate(self, model: "SeriesGan", data: "GanData") -> Evaluation:
        from edgernn.tasks.gan.data import as_batch
        from edgernn.tasks.gan.likeness import evaluate

        return evaluate(model, as_batch(data.train), as_batch(data.held))

    def export(self, model: "SeriesGan", settings: GanSettings, facts: Facts) -> "StepModule":  # noqa: ARG002
        """Return the generator with its averaged weights, one step of it."""
        from edgernn.models.gan import GeneratorStep

        return GeneratorStep(model.averaged(), _codec(facts))


def _codec(facts: Facts) -> SeriesCodec:
    codec = codec_from_json(cast("dict[str, object]", facts["codec"]))
    if not isinstance(codec, SeriesCodec):
        raise RunError(f"the run's codec is {codec.kind}, and none of series")
    return codec


def _limit(facts: Facts) -> float:
    found = facts["limit"]
    if not isinstance(found, int | float) or not found > 0:
        raise RunError(f"the run's limit must be a positive number, got {found!r}")
    return float(found)


def _scales(facts: Facts, name: str, size: int) -> tuple[float, ...]:
    found = facts[name]
    numbers = tuple(each for each in found if isinstance(each, int | float)) if isinstance(found, list) else ()
    if len(numbers) != size or not all(number > 0 for number in numbers):
        raise RunError(f"the run's {name} must be {size} positive numbers, got {found!r}")
    return numbers
