"""The space of a search: what may be written, what is searched by itself, and what a trial is given."""

from dataclasses import replace

import optuna
import pytest

from edgernn.search.space import Dimension, Span, own_space, read_dimensions, read_space
from edgernn.tasks import find_task, task_names
from edgernn.tasks.settings import Settings
from edgernn.tasks.text.settings import TextSettings
from edgernn_runtime.errors import InputError

SETTINGS = TextSettings(max_steps=10)


def read_one(text: str) -> Dimension:
    return read_dimensions(SETTINGS, [text]).dimensions[0]


def test_a_range_a_step_and_single_values_are_read() -> None:
    assert Dimension("hidden", (), Span(64, 512, 32, whole=True)) == read_one("hidden=64..512/32")
    assert Dimension("learning_rate", (), Span(1e-3, 1e-2, None, whole=False)) == read_one("learning_rate=1e-3..1e-2")
    assert Dimension("cell", ("lstm", "gru"), None) == read_one("cell=lstm,gru")
    assert Dimension("l1", (0.0,), Span(1e-7, 1e-5, None, whole=False)) == read_one("--l1= 0, 1e-7..1e-5")
    assert Dimension("learning_rate", (0.5,), None) == read_one("learning-rate=0.5")


def test_a_range_above_zero_without_steps_is_logarithmic() -> None:
    log = {text: (read_one(text).span or Span(0, 1, None, whole=False)).log for text in
           ("learning_rate=1e-3..1e-2", "dropout=0..0.5", "dropout=0.1..0.5/0.1", "hidden=8..64")}  # fmt: skip
    assert [True, False, False, True] == list(log.values())


def test_a_range_ends_on_a_step() -> None:
    assert "hidden=10..58/16" == str(read_one("hidden=10..64/16"))
    assert "dropout=0..0.5/0.05" == str(read_one("dropout=0..0.52/0.05"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden", "does not say which values"),
        ("hidden=", "does not say which values"),
        ("hiden=1,2", "no setting hiden to try; there are cell, hidden"),
        ("max_steps=1,2", "give it with --trial-steps"),
        ("data=a,b", "data cannot be tried"),
        ("seed=1,2", "seed cannot be tried"),
        ("hidden=0..64", "hidden must be at least 1"),
        ("hidden=64..8", "hidden must be tried from a smaller to a larger"),
        ("hidden=8..8", "hidden must be tried from a smaller to a larger"),
        ("hidden=8..64/0", "step of hidden"),
        ("hidden=8..64/100", "step of hidden"),
        ("hidden=8..x", "hidden must be tried between integers"),
        ("hidden=1.5", "hidden must be an integer"),
        ("hidden=8,8", "hidden is tried with the same value twice"),
        ("hidden=8..16,32..64", "hidden has 2 ranges"),
        ("cell=lstm,tree", "cell must be one of"),
        ("cell=gru..lstm", "cell is no number"),
        ("learning_rate=nan..1", "learning_rate must be tried between numbers"),
        ("learning_rate=0..1", "learning_rate must be above 0"),
        ("dropout=0..1", "dropout must be at least 0 and below 1"),
        ("dropout=0,,1", "dropout must be a number"),
    ],
)
def test_what_cannot_be_tried_is_one_error_that_names_it(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_space(SETTINGS, [text])


def test_what_is_given_is_not_searched_and_cannot_be_tried() -> None:
    assert "cell" not in read_space(SETTINGS, [], fixed=["cell"]).names
    with pytest.raises(InputError, match="cell is given and tried"):
        read_space(SETTINGS, ["cell=gru"], fixed=["cell"])
    with pytest.raises(InputError, match="tried twice"):
        read_space(SETTINGS, ["hidden=8", "hidden=16"])
    with pytest.raises(InputError, match="nothing is left"):
        read_space(SETTINGS, [], fixed=[text.partition("=")[0] for text in own_space(SETTINGS)])


def test_what_is_tried_replaces_the_tasks_own_or_is_added() -> None:
    space = read_space(SETTINGS, ["hidden=8,16", "segment=16..64/16"])
    assert {"hidden=8,16", "segment=16..64/16"} <= {str(each) for each in space.dimensions}
    assert len(own_space(SETTINGS)) + 1 == len(space.dimensions)


@pytest.mark.parametrize("name", task_names())
def test_every_tasks_own_space_holds_its_defaults_and_reads_back(name: str) -> None:
    settings: Settings = find_task(name).settings()
    space = read_space(settings, [])
    missing = [each.name for each in space.dimensions if not each.holds(getattr(settings, each.name))]
    assert [] == [name for name in missing if name not in ("dropout", "l1", "l2")]
    assert space == read_dimensions(settings, [str(each) for each in space.dimensions])


def test_a_trial_can_be_told_to_have_any_settings_of_the_space() -> None:
    space = read_space(SETTINGS, [])
    wanted = replace(SETTINGS, cell="gru", hidden=96, layers=3, learning_rate=0.003, dropout=0.15, l1=2e-6, l2=0.0)
    trial = optuna.trial.FixedTrial(space.parameters(wanted))
    found = space.suggest(trial, SETTINGS, default=False)
    assert {name: getattr(wanted, name) for name in space.names} == found


def test_the_trial_of_the_defaults_keeps_what_the_space_lacks() -> None:
    space = read_space(SETTINGS, ["hidden=8..16", "cell=gru"])
    trial = optuna.trial.FixedTrial(space.parameters(SETTINGS))
    found = space.suggest(trial, SETTINGS, default=True)
    assert (256, "lstm", 0.1) == (found["hidden"], found["cell"], found["dropout"])


def test_zero_is_as_likely_as_the_range_beside_it() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    dimension = read_one("l1=0,1e-7..1e-5")
    values = [float(dimension.suggest(study.ask())) for _ in range(200)]
    assert 60 < values.count(0.0) < 140
    assert all(value == 0 or 1e-7 <= value <= 1e-5 for value in values)


def test_a_number_reads_back_exactly() -> None:
    for text in ("learning_rate=0.0012345678901..0.1", "hidden=1..65536/1", "l1=0,1e-07..1e-05"):
        assert text == str(read_one(text))
