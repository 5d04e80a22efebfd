"""Notes: what a trial says of itself in the storage, for the workers of a search and for its answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from edgernn.search.halting import Losses
from edgernn.search.space import Value

_DIED: Final = "its worker died, and so did those that began it again"

Ending = Literal["complete", "stopped", "too slow", "failed", "put back", "running", "waiting"]


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a trial.

    Attributes:
        number: Its number.
        ending: How it ended: `complete`; `stopped` early; `too slow` to be trained; `failed`; `put back`, to be begun
            again under another number; or `running` or `waiting` still.
        default: Whether it has the default settings.
        values: The values of what is searched.
        valid_loss: The best validation loss, in nats; NaN before the end.
        step_us: What a step of its int8 model takes, in microseconds; NaN before it was measured.
        p50_us: What was measured, before it was scaled by the default's step beside it.
        bytes: The size of its int8 files.
        folder: The folder of its run; empty without one.
        host: The machine that the folder lies on.
        reason: Why it has not come to its end.
        losses: The best validation loss at each mark.
    """

    number: int
    ending: Ending
    default: bool
    values: dict[str, Value]
    valid_loss: float
    step_us: float
    p50_us: float
    bytes: int
    folder: str
    host: str
    reason: str
    losses: Losses = field(default_factory=dict)


def read_notes(study: Study) -> list[Note]:
    """Return what is known of all trials, in their order."""
    trials = study.get_trials(deepcopy=False)
    again = {number for trial in trials for number in begun_before(trial)}
    return [_note(trial, begun_again=trial.number in again) for trial in trials]


def begun_before(trial: FrozenTrial) -> list[int]:
    """Return the numbers of the trials that one goes on with, the first one first; none for one that is new."""
    return list(trial.system_attrs.get("retry_history", []))  # as RetryHeartbeatStaleTrialCallback notes it


def peers_of(notes: Sequence[Note], number: int, step_us: float) -> list[Losses]:
    """Return the losses of the trials that have come to an end and are no slower than one."""
    ended = (each for each in notes if each.ending in ("complete", "stopped") and each.number != number)
    return [each.losses for each in ended if each.step_us <= step_us]


def _note(trial: FrozenTrial, *, begun_again: bool) -> Note:
    said: dict[str, Any] = trial.user_attrs
    return Note(
        number=trial.number,
        ending=_ending(trial, begun_again=begun_again),
        default=bool(said.get("default", False)),
        values=dict(said.get("values", {})),
        valid_loss=trial.values[0] if trial.state == TrialState.COMPLETE else math.nan,
        step_us=float(said.get("step_us", math.nan)),
        p50_us=float(said.get("p50_us", math.nan)),
        bytes=int(said.get("bytes", 0)),
        folder=str(said.get("folder", "")),
        host=str(said.get("host", "")),
        reason=str(said.get("reason", "" if begun_again or trial.state != TrialState.FAIL else _DIED)),
        losses=dict(said.get("losses", {})),
    )


def _ending(trial: FrozenTrial, *, begun_again: bool) -> Ending:
    ending = trial.user_attrs.get("ending", "put back" if begun_again else "failed")
    known: dict[TrialState, Ending] = {
        TrialState.COMPLETE: "complete",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    return known.get(trial.state, cast("Ending", ending))
