"""Plan: what a search is told, the same for all of its workers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from edgernn.search.space import Space, Value, read_dimensions
from edgernn.tasks.registry import find_task
from edgernn.tasks.settings import Settings
from edgernn.tasks.task import AnyTask
from edgernn_runtime.errors import EdgeRNNError, InputError, RunError

PLAN_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search is told.

    Attributes:
        task: What the models are trained for.
        settings: The defaults: those of the task, those that were given, and the budget of a trial.
        space: What is searched.
        max_step_us: The longest that a step may take, in microseconds; None if there is no limit.
        early: Whether trials that fall behind stop early.
        data_sha256: SHA-256 of the data.
        reference_us: What a step of the default int8 model took when the search began, in microseconds.
    """

    task: AnyTask
    settings: Settings
    space: Space
    max_step_us: float | None
    early: bool
    data_sha256: str
    reference_us: float

    def with_values(self, values: Mapping[str, Value]) -> Settings:
        """Return the settings of a trial; an InputError if they do not go together."""
        return replace(self.settings, **values)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            "version": PLAN_VERSION,
            "task": self.task.name,
            "settings": self.settings.to_json(),
            "space": [str(each) for each in self.space.dimensions],
            "max_step_us": self.max_step_us,
            "early": self.early,
            "data_sha256": self.data_sha256,
            "reference_us": self.reference_us,
        }

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Return the plan that `to_json` described.

        Raises:
            RunError: If it describes none, or one of another version.
        """
        try:
            assert isinstance(content, dict)  # noqa: S101, anything else is told below
            if content["version"] != PLAN_VERSION:
                raise InputError(f"it has version {content['version']!r}, this edgernn reads {PLAN_VERSION}")
            task = find_task(content["task"])
            settings = task.settings.from_json(content["settings"])
            limit = content["max_step_us"]
            return cls(
                task=task,
                settings=settings,
                space=read_dimensions(settings, content["space"]),
                max_step_us=None if limit is None else float(limit),
                early=bool(content["early"]),
                data_sha256=str(content["data_sha256"]),
                reference_us=float(content["reference_us"]),
            )
        except EdgeRNNError as error:
            raise RunError(f"the search cannot go on: {error}") from error
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise RunError("the study is no search of edgernn; name another with --study") from error
