"""Search: a folder, a study in a storage, and what they come to."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import optuna

from edgernn.search.answer import Answer, write_answer
from edgernn.search.figure import frontier_figure
from edgernn.search.frontier import choice, complete
from edgernn.search.latency import StepClock
from edgernn.search.notes import Note, read_notes
from edgernn.search.plan import Plan
from edgernn.search.record import to_record
from edgernn.search.space import Space
from edgernn.search.storage import DATABASE, create_study, file_storage, kept_reaching, open_study
from edgernn.search.trial import Trials, Watch
from edgernn.search.worker import Budget, work
from edgernn.tasks.settings import Settings
from edgernn.tasks.task import AnyTask
from edgernn_export.finite import finite
from edgernn_runtime.errors import (
    DataError,
    EdgeRNNError,
    GateError,
    InputError,
    OutputError,
    OutputExistsError,
    RunError,
    TrainingError,
)
from edgernn_runtime.files import make_folder, write_bytes

RECORD_FILE: Final = "search.json"
FIGURE_FILE: Final = "frontier.svg"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search lies.

    Attributes:
        folder: The folder of this worker.
        storage: The URL of the database that all workers share; None for a file in the folder.
        study: What the search is called in it.
    """

    folder: Path
    storage: str | None
    study: str

    @property
    def url(self) -> str:
        """The URL of the database."""
        return self.storage or file_storage(self.folder)

    def check_new(self) -> None:
        """Check that a search can begin in the folder.

        Raises:
            OutputExistsError: If it holds one.
            OutputError: If there is a file where the folder should be.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; name a folder for the search")
        for name in (DATABASE, "trials", RECORD_FILE, FIGURE_FILE, "model.onnx", "bundle"):
            if (self.folder / name).exists():
                raise OutputExistsError(
                    f"{self.folder / name} exists, and a search would replace it; go on with --resume, or name "
                    "another folder"
                )

    def make(self) -> None:
        """Make the folder; an OutputError if that fails."""
        make_folder(self.folder)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        plan: What it was told.
        notes: What is known of all trials.
        answer: What was exported; None if nothing could be.
        error: Why nothing could be.
        record: All of it as JSON.
    """

    plan: Plan
    notes: Sequence[Note]
    answer: Answer | None
    error: EdgeRNNError | None
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """A search as one worker has it.

    Attributes:
        place: Where it lies.
        study: The trials of all workers.
        plan: What it was told.
        clock: Times steps on this machine.
    """

    place: Place
    study: optuna.Study
    plan: Plan
    clock: StepClock

    def work(self, budget: Budget, watch: Watch) -> bool:
        """Carry out trials; return whether the budget is spent, and not the search interrupted.

        Raises:
            RunError: If the storage is lost.
            OutputError: If the folder cannot be written.
        """
        with kept_reaching(self.place.url):
            return work(self.study, Trials(self.plan, self.place.folder, self.clock, watch), budget)

    def finish(self) -> Found:
        """Write the figure, the answer's models and the record into the folder, and return what was found.

        Raises:
            TrainingError: If no trial came to its end.
            RunError: If the storage is lost.
            OutputError: If the folder cannot be written.
        """
        with kept_reaching(self.place.url):
            notes = read_notes(self.study)
        if not complete(notes):
            reason = next((f": {each.reason}" for each in reversed(notes) if each.reason), "")
            raise TrainingError(f"no trial came to its end{reason}")
        answer, error = self._answer(notes)
        folder, record = self.place.folder, to_record(self.place.folder, self.plan, notes, answer)
        figure = frontier_figure(notes, self.plan)
        write_bytes(folder / FIGURE_FILE, figure.encode(), overwrite=True)
        content = json.dumps(finite(record), indent=1, ensure_ascii=False) + "\n"
        write_bytes(folder / RECORD_FILE, content.encode(), overwrite=True)
        return Found(self.plan, notes, answer, error, record)

    def _answer(self, notes: Sequence[Note]) -> tuple[Answer | None, EdgeRNNError | None]:
        limit = self.plan.max_step_us
        chosen = choice(notes, limit)
        if chosen is None:
            fastest = min(each.step_us for each in complete(notes))
            return None, GateError(f"no trial's step takes at most {limit:g} us; the fastest takes {fastest:.1f} us")
        try:
            return write_answer(chosen, self.place.folder, self.plan, self.clock), None
        except RunError as error:
            return None, error


def begin(
    place: Place, task: AnyTask, settings: Settings, space: Space, *, max_step_us: float | None, early: bool
) -> Search:
    """Return a new search.

    Args:
        place: Where it lies.
        task: What the models are trained for.
        settings: The defaults, with the budget of a trial.
        space: What is searched.
        max_step_us: The longest that a step may take, in microseconds; None for no limit.
        early: Whether trials that fall behind stop early.

    Raises:
        OutputExistsError: If there is a search already.
        InputError, DataError: If the settings make no model, or the data cannot be used.
        ExportError: If the task's model does not step by itself.
        RunError: If the storage cannot be reached; nothing is left in the folder.
    """
    place.check_new()
    data = task.read(settings)
    clock = StepClock(task, settings, data.facts)
    plan = Plan(task, settings, space, max_step_us, early, data.sha256, clock.reference_us())
    existed = place.folder.exists()
    if place.storage is None:
        place.make()
    try:
        study = create_study(place.url, place.study, plan)
        place.make()
    except EdgeRNNError:
        if place.storage is None:
            (place.folder / DATABASE).unlink(missing_ok=True)
        if place.storage is None and not existed:
            with contextlib.suppress(OSError):
                place.folder.rmdir()
        raise
    return Search(place, study, plan, clock)


def join(place: Place, task: AnyTask, *, max_step_us: float | None = None) -> Search:
    """Return a search that was begun before, to go on with it, or as one more of its workers.

    Args:
        place: Where it lies.
        task: What it is for.
        max_step_us: The longest that a step may take from now on, for this worker; None for what the search was told.

    Raises:
        RunError: If the storage cannot be reached, or holds no such search.
        InputError: If it is of another task.
        DataError: If the data are not those that it began with.
    """
    if place.storage is None and not (place.folder / DATABASE).is_file():
        raise RunError(f"{place.folder} holds no search (no {DATABASE}); begin one without --resume, or say --storage")
    study, plan = open_study(place.url, place.study)
    if plan.task.name != task.name:
        raise InputError(f"this is a search of the task {plan.task.name}; go on with: edgernn search {plan.task.name}")
    data = task.read(plan.settings)
    if data.sha256 != plan.data_sha256:
        raise DataError(f"{plan.settings.data or 'the data of the task'} is not what the search began with")
    place.make()
    plan = plan if max_step_us is None else replace(plan, max_step_us=max_step_us)
    return Search(place, study, plan, StepClock(task, plan.settings, data.facts))
