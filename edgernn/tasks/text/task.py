"""The text task: a recurrent language model of characters or bytes."""

from typing import TYPE_CHECKING, cast

from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn.tasks.text.settings import TextSettings
from edgernn_runtime.codecs import ByteCodec, CharacterCodec
from edgernn_runtime.errors import RunError
from edgernn_runtime.spec_json import codec_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models import RecurrentLM
    from edgernn.tasks.text.data import TextData
    from edgernn_export import StepModule


class TextTask(Task[TextSettings, "TextData", "RecurrentLM"]):
    """A recurrent language model of characters or bytes."""

    name = "text"
    summary = "Characters or bytes, one after the other: a language model."
    unit = "token"
    settings = TextSettings

    def read(self, settings: TextSettings) -> "TextData":
        from edgernn.tasks.text.corpus import builtin_text, read_text
        from edgernn.tasks.text.data import TextData

        return TextData(builtin_text() if settings.data is None else read_text(settings.data), settings)

    def model(self, settings: TextSettings, facts: Facts) -> "RecurrentLM":
        from edgernn.models import ModelConfig, RecurrentLM

        return RecurrentLM(
            ModelConfig(
                cell=settings.cell,
                vocabulary=_codec(facts).size,
                hidden=settings.hidden,
                layers=settings.layers,
                dropout=settings.dropout,
            )
        )

    def begin(self, model: "RecurrentLM", settings: TextSettings) -> "tuple[Tensor, ...]":
        return model.init(settings.batch)

    def loss(
        self,
        model: "RecurrentLM",
        data: "TextData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss of text is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.text.objective import segment_loss

        return segment_loss(model, data.batch(step), state)

    def evaluate(self, model: "RecurrentLM", data: "TextData") -> Evaluation:
        from edgernn.tasks.text.objective import evaluate

        return evaluate(model, data.corpus.valid)

    def export(self, model: "RecurrentLM", settings: TextSettings, facts: Facts) -> "StepModule":  # noqa: ARG002
        """Return the model in its one-step form; a stream starts with a line break."""
        from edgernn.models import RecurrentLMStep

        codec = _codec(facts)
        tokens, unknown = codec.encode_lossy("\n")
        return RecurrentLMStep(model, codec=codec, start=None if unknown else int(tokens[0]))


def _codec(facts: Facts) -> CharacterCodec | ByteCodec:
    codec = codec_from_json(cast("dict[str, object]", facts["codec"]))
    if not isinstance(codec, CharacterCodec | ByteCodec):
        raise RunError(f"the run's codec is {codec.kind}, and none of text")
    return codec
