"""The vocoder task: the sound of one voice, sample by sample, from frames."""

from typing import TYPE_CHECKING

from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn.tasks.vocoder.settings import VocoderSettings

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.vocoder import Vocoder
    from edgernn.tasks.vocoder.data import VocoderData
    from edgernn_export import StagedModules


class VocoderTask(Task[VocoderSettings, "VocoderData", "Vocoder"]):
    """A recurrent vocoder."""

    name = "vocoder"
    summary = "The sound of a voice, sample by sample, from its spectrogram and pitch."
    unit = "sample"
    settings = VocoderSettings

    def read(self, settings: VocoderSettings) -> "VocoderData":
        from edgernn.speech.corpus import read_or_speak
        from edgernn.tasks.vocoder.data import VocoderData

        return VocoderData(read_or_speak(settings.data, settings.minutes, voice=settings.voice), settings)

    def model(self, settings: VocoderSettings, facts: Facts) -> "Vocoder":
        from edgernn.models.vocoder import Vocoder, VocoderConfig
        from edgernn.speech.facts import mel_codec, numbers

        return Vocoder(
            VocoderConfig(
                cell=settings.cell,
                hidden=settings.hidden,
                layers=settings.layers,
                head=settings.head,
                block=settings.block,
                codec=mel_codec(facts),
                mean=numbers(facts, "mean"),
                deviation=numbers(facts, "deviation"),
            )
        )

    def loss(
        self,
        model: "Vocoder",
        data: "VocoderData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.vocoder.objective import window_loss

        return window_loss(model, data.batch(step)), state

    def evaluate(self, model: "Vocoder", data: "VocoderData") -> Evaluation:
        from edgernn.tasks.vocoder.objective import evaluate

        return evaluate(model, data.held_out())

    def export(self, model: "Vocoder", settings: VocoderSettings, facts: Facts) -> "StagedModules":  # noqa: ARG002
        from edgernn.models.vocoder import stages

        return stages(model)
