"""The acoustic task: how the phonemes of one voice sound, frame by frame, and how long each lasts."""

from typing import TYPE_CHECKING

from edgernn.tasks.acoustic.settings import AcousticSettings
from edgernn.tasks.task import Evaluation, Facts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.acoustic import AcousticModel
    from edgernn.tasks.acoustic.data import AcousticData
    from edgernn_export import StagedModules


class AcousticTask(Task[AcousticSettings, "AcousticData", "AcousticModel"]):
    """A recurrent acoustic model with durations."""

    name = "acoustic"
    summary = "How phonemes sound and how long they last: spectrogram and pitch of a voice."
    quantity = "deviations"
    unit = "frame"
    settings = AcousticSettings

    def read(self, settings: AcousticSettings) -> "AcousticData":
        from edgernn.speech.corpus import read_or_speak
        from edgernn.tasks.acoustic.data import AcousticData

        return AcousticData(read_or_speak(settings.data, settings.minutes, voice=settings.voice), settings)

    def model(self, settings: AcousticSettings, facts: Facts) -> "AcousticModel":
        from edgernn.models.acoustic import AcousticConfig, AcousticModel
        from edgernn.speech.facts import numbers, symbol_codec

        return AcousticModel(
            AcousticConfig(
                cell=settings.cell,
                hidden=settings.hidden,
                layers=settings.layers,
                phonemes=symbol_codec(facts).size,
                mean=numbers(facts, "mean"),
                deviation=numbers(facts, "deviation"),
                dropout=settings.dropout,
            )
        )

    def loss(
        self,
        model: "AcousticModel",
        data: "AcousticData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.acoustic.objective import batch_loss

        return batch_loss(model, data.batch(step)), state

    def evaluate(self, model: "AcousticModel", data: "AcousticData") -> Evaluation:
        from edgernn.tasks.acoustic.objective import evaluate

        return evaluate(model, data.held_out())

    def export(self, model: "AcousticModel", settings: AcousticSettings, facts: Facts) -> "StagedModules":  # noqa: ARG002
        from edgernn.models.acoustic import stages
        from edgernn.speech.facts import mel_codec, symbol_codec

        return stages(model, symbol_codec(facts), mel_codec(facts))
