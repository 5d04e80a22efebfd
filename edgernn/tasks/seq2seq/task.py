"""The sequence-to-sequence task: words to phonemes, or other pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from edgernn.tasks.seq2seq.settings import Seq2SeqSettings
from edgernn.tasks.task import Evaluation, Facts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.seq2seq import Seq2Seq
    from edgernn.tasks.seq2seq.data import Seq2SeqData
    from edgernn_export import StagedModules
    from edgernn_runtime.codecs import SymbolCodec


class Seq2SeqTask(Task[Seq2SeqSettings, "Seq2SeqData", "Seq2Seq"]):
    """A recurrent encoder and decoder of pairs, such as words and their phonemes."""

    name = "seq2seq"
    summary = "Words to phonemes, or other pairs: an encoder, an initial state, and a decoder."
    unit = "symbol"
    settings = Seq2SeqSettings

    def read(self, settings: Seq2SeqSettings) -> "Seq2SeqData":
        from edgernn.tasks.seq2seq.data import Seq2SeqData
        from edgernn.tasks.seq2seq.pairs import read_pairs

        return Seq2SeqData(read_pairs(settings.data), settings)

    def model(self, settings: Seq2SeqSettings, facts: Facts) -> "Seq2Seq":
        from edgernn.models.seq2seq import Seq2Seq, Seq2SeqConfig

        return Seq2Seq(
            Seq2SeqConfig(
                cell=settings.cell,
                source=_codec(facts, "source"),
                target=_codec(facts, "target"),
                hidden=settings.hidden,
                layers=settings.layers,
                embedding=settings.embedding,
                places=settings.places,
                features=settings.features,
                dropout=settings.dropout,
            )
        )

    def loss(
        self,
        model: "Seq2Seq",
        data: "Seq2SeqData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, nothing depends on it
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.seq2seq.objective import nats

        return nats(model, data.batch(step)), state

    def evaluate(self, model: "Seq2Seq", data: "Seq2SeqData") -> Evaluation:
        from edgernn.tasks.seq2seq.objective import evaluate

        return evaluate(model, data)

    def export(self, model: "Seq2Seq", settings: Seq2SeqSettings, facts: Facts) -> "StagedModules":  # noqa: ARG002
        from edgernn.models.seq2seq import stages

        return stages(model)


def _codec(facts: Facts, name: str) -> "SymbolCodec":
    from edgernn_runtime.codecs import SymbolCodec
    from edgernn_runtime.errors import InputError
    from edgernn_runtime.spec_json import codec_from_json

    found = codec_from_json(cast("Mapping[str, object]", facts[name]))
    if not isinstance(found, SymbolCodec):
        raise InputError(f"{name} must be a codec of symbols, got one of {found.kind}")
    return found
