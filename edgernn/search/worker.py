"""Worker: carries out trials of a study, one after the other, until there are enough of them or time is spent."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import optuna
from optuna.storages import fail_stale_trials

from edgernn.search.notes import Note, read_notes
from edgernn.search.optuna import quiet
from edgernn.search.storage import put_back
from edgernn.search.trial import TrialFailedError, TrialInterruptedError, Trials

_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a worker does.

    Attributes:
        trials: Trials of the whole study, those of other workers included; None for any number.
        seconds: Seconds of this worker; a trial that would not end within them is not begun; None for no limit.
    """

    trials: int | None
    seconds: float | None


def work(study: optuna.Study, trials: Trials, budget: Budget) -> bool:
    """Carry out trials of a study; return whether the budget is spent, and not the search interrupted.

    A worker that finds enough trials done or under way waits for those of the others: one whose worker has died is
    begun again here.

    Raises:
        OutputError: If the folder cannot be written.
    """
    started, longest, waited = time.monotonic(), 0.0, False
    while not trials.watch.stop():
        with quiet():
            fail_stale_trials(study)
        notes = read_notes(study)
        begun = time.monotonic()
        if budget.seconds is not None and begun - started + longest > budget.seconds:
            trials.watch.say(f"no other trial would end within {budget.seconds:g} seconds")
            return True
        if budget.trials is not None and _counted(notes) >= budget.trials:
            if all(each.ending != "running" for each in notes):
                return True
            if not waited:
                trials.watch.say("waiting for the trials of other workers")
            waited = True
            time.sleep(_POLL_S)
            continue
        number = _one(study, trials)
        longest = max(longest, time.monotonic() - begun)
        _say_end(trials, study, number)
    return False


def _one(study: optuna.Study, trials: Trials) -> int | None:
    """Carry out one trial; return its number, None if it was taken from this worker."""
    numbers: list[int] = []

    taken: list[bool] = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        numbers.append(trial.number)
        try:
            return trials(trial)
        finally:
            taken.append(study.get_trials(deepcopy=False)[trial.number].state.is_finished())

    with quiet():
        try:
            study.optimize(objective, n_trials=1, catch=(TrialFailedError, TrialInterruptedError))
        except BaseException as error:
            if any(taken) and isinstance(error, ValueError | optuna.exceptions.UpdateFinishedTrialError):
                trials.watch.say("another worker took this trial for dead, and has begun it again")
                return None
            with contextlib.suppress(Exception):
                _put_back_unended(study, numbers)
            raise
        _put_back_unended(study, numbers)
    return numbers[0]


def _put_back_unended(study: optuna.Study, numbers: Sequence[int]) -> None:
    """Put back a trial that failed for nothing of its own."""
    for number in numbers:
        trial = study.get_trials()[number]
        if trial.state == optuna.trial.TrialState.FAIL and "ending" not in trial.user_attrs:
            put_back(study, trial)


def _counted(notes: Sequence[Note]) -> int:
    """Return how many trials are done or under way; one that was put back counts where it is begun again."""
    return sum(each.ending not in ("put back", "waiting") for each in notes)


def _say_end(trials: Trials, study: optuna.Study, number: int | None) -> None:
    if number is None:
        return
    note = read_notes(study)[number]
    if note.ending == "complete":
        trials.watch.say(f"trial {number}: validation loss {note.valid_loss:.4f}, {note.step_us:.1f} us a step")
    elif note.ending != "put back":
        trials.watch.say(f"trial {number}: {note.ending}: {note.reason}")
