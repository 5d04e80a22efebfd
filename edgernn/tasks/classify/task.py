"""The classify task: a running decision about a sequence, by a softmax or a sigmoid head."""

from typing import TYPE_CHECKING, cast

from edgernn.tasks.classify.settings import ClassifySettings
from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn_runtime.codecs import LabelCodec

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models import FrameModel
    from edgernn.tasks.classify.data import ClassifyData
    from edgernn.tasks.classify.series import LabelledSeries

_HELD_SHARE = 0.1


class ClassifyTask(Task[ClassifySettings, "ClassifyData", "FrameModel"]):
    """A running decision about a sequence."""

    name = "classify"
    summary = "Labelled sequences of frames: a decision at every step, by a softmax or a sigmoid."
    unit = "sequence"
    settings = ClassifySettings

    def read(self, settings: ClassifySettings) -> "ClassifyData":
        from edgernn.tasks.classify.data import ClassifyData

        return ClassifyData(*_parts(settings), settings)

    def model(self, settings: ClassifySettings, facts: Facts) -> "FrameModel":
        from edgernn.models import FrameModel

        labels = tuple(cast("list[str]", facts["labels"]))
        return FrameModel(
            settings.cell,
            mean=cast("list[float]", facts["mean"]),
            deviation=cast("list[float]", facts["deviation"]),
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
            output=(len(labels),),
            distribution="categorical" if settings.head == "softmax" else "bernoulli",
            codec=LabelCodec(labels),
        )

    def loss(
        self,
        model: "FrameModel",
        data: "ClassifyData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss of a label is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.classify.objective import batch_loss

        return batch_loss(model, data.batch(step), head=data.head, noise=data.noise, share=data.share), state

    def evaluate(self, model: "FrameModel", data: "ClassifyData") -> Evaluation:
        from edgernn.tasks.classify.objective import evaluate

        return evaluate(model, data.held.whole(), head=data.head)


def _parts(settings: ClassifySettings) -> "tuple[LabelledSeries, LabelledSeries]":
    """Return what a run trains on, and what it holds out."""
    from edgernn.tasks.classify.series import hold_out, read_series
    from edgernn.tasks.classify.sources import digits, vowels

    if settings.data is None:
        return vowels() if settings.dataset == "vowels" else digits()
    series = read_series(settings.data)
    if settings.test is not None:
        return series, read_series(settings.test)
    return hold_out(series, _HELD_SHARE, seed=settings.seed)
