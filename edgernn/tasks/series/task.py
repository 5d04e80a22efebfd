"""The series task: forecasting with uncertainty."""

from typing import TYPE_CHECKING, cast

from edgernn.tasks.series.settings import SeriesSettings
from edgernn.tasks.task import Evaluation, Facts, Task
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.errors import RunError
from edgernn_runtime.spec_json import codec_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from edgernn.models.series import SeriesModel
    from edgernn.tasks.series.data import SeriesData
    from edgernn_export import StepModule


class SeriesTask(Task[SeriesSettings, "SeriesData", "SeriesModel"]):
    """A recurrent model of series: numbers over time, and what comes next."""

    name = "series"
    summary = "Numbers over time, and how certain the next ones are: forecasts."
    unit = "step"
    settings = SeriesSettings

    def read(self, settings: SeriesSettings) -> "SeriesData":
        from edgernn.tasks.series.data import SeriesData, load_series

        return SeriesData(load_series(settings), settings)

    def model(self, settings: SeriesSettings, facts: Facts) -> "SeriesModel":
        from edgernn.models.series import SeriesConfig, SeriesModel

        codec = _codec(facts)
        season = facts["season"]
        if not isinstance(season, int) or season < 1:
            raise RunError(f"the run's season must be a positive integer, got {season!r}")
        return SeriesModel(
            SeriesConfig(
                cell=settings.cell,
                hidden=settings.hidden,
                layers=settings.layers,
                season=season,
                means=codec.means,
                deviations=_scales(facts, "deviations", codec.size),
                changes=_scales(facts, "changes", codec.size),
                dropout=settings.dropout,
                distribution=settings.distribution,
                components=settings.components,
            )
        )

    def loss(
        self,
        model: "SeriesModel",
        data: "SeriesData",
        *,
        step: int,
        state: "tuple[Tensor, ...]",
        spent: float,  # noqa: ARG002, the loss of series is the same all along
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        from edgernn.tasks.series.objective import window_loss

        return window_loss(model, data.batch(step)), state

    def evaluate(self, model: "SeriesModel", data: "SeriesData") -> Evaluation:
        from edgernn.tasks.series.objective import evaluate

        return evaluate(model, data.held_out, data.naive_errors)

    def export(self, model: "SeriesModel", settings: SeriesSettings, facts: Facts) -> "StepModule":  # noqa: ARG002
        """Return the model in its one-step form, which takes NaN where a value is missing."""
        from edgernn.models.series import SeriesStep

        return SeriesStep(model, _codec(facts))


def _codec(facts: Facts) -> SeriesCodec:
    codec = codec_from_json(cast("dict[str, object]", facts["codec"]))
    if not isinstance(codec, SeriesCodec):
        raise RunError(f"the run's codec is {codec.kind}, and none of series")
    return codec


def _scales(facts: Facts, name: str, size: int) -> tuple[float, ...]:
    found = facts[name]
    numbers = tuple(each for each in found if isinstance(each, int | float)) if isinstance(found, list) else ()
    if len(numbers) != size or not all(number > 0 for number in numbers):
        raise RunError(f"the run's {name} must be {size} positive numbers, got {found!r}")
    return numbers
