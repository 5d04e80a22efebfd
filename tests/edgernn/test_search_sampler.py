"""Trials that are begun again: what others sample does not change, and a deadly one is given up with a reason."""

import optuna
import pytest
from optuna.trial import TrialState

from edgernn.search.notes import read_notes
from edgernn.search.sampler import STARTUP_TRIALS, NumberedSampler
from edgernn.search.storage import _died, put_back

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def study() -> optuna.Study:
    return new_study()


def new_study() -> optuna.Study:
    return optuna.create_study(directions=["minimize", "minimize"], sampler=NumberedSampler(3))


def tried(study: optuna.Study, *, cut: int | None) -> list[float]:
    """Return what trials try, the one of number `cut` failed once and put back."""
    found = []
    for number in range(STARTUP_TRIALS + 4):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        if number == cut:
            study.tell(trial, state=TrialState.FAIL)
            put_back(study, study.get_trials()[trial.number])
            trial = study.ask()
            assert value == trial.suggest_float("x", 0, 1)
        found.append(value)
        study.tell(trial, [(value - 0.3) ** 2, value])
    return found


@pytest.mark.parametrize("cut", [1, STARTUP_TRIALS + 1])
def test_an_interrupted_search_tries_what_an_uncut_one_does(study: optuna.Study, cut: int) -> None:
    assert tried(study, cut=None) == tried(new_study(), cut=cut)


def test_a_trial_whose_workers_die_is_begun_again_twice_and_then_has_failed(study: optuna.Study) -> None:
    for attempt in range(3):
        trial = study.ask()
        assert trial.suggest_float("x", 0, 1) == study.get_trials()[0].params["x"]
        study.tell(trial, state=TrialState.FAIL)
        if attempt == 1:
            put_back(study, study.get_trials()[trial.number])
            trial = study.ask()
            study.tell(trial, state=TrialState.FAIL)
        _died(study, study.get_trials()[trial.number])
    notes = read_notes(study)
    assert ["put back", "put back", "put back", "failed"] == [note.ending for note in notes]
    assert "worker died" in notes[-1].reason
    assert not any(notes[i].reason for i in range(3))
