"""What the trials of a search come to: the frontier, the choice, its figure, and when a trial is stopped."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

from edgernn.search.figure import frontier_figure
from edgernn.search.frontier import choice, default_of, frontier
from edgernn.search.halting import Halting
from edgernn.search.notes import Ending, Note, peers_of
from edgernn.search.plan import Plan
from edgernn.search.space import read_space
from edgernn.tasks import find_task
from edgernn.tasks.text.settings import TextSettings
from edgernn.training import Progress

SETTINGS = TextSettings(max_steps=10)
PLAN = Plan(find_task("text"), SETTINGS, read_space(SETTINGS, []), None, early=True, data_sha256="0", reference_us=20.0)


def note(number: int, loss: float, us: float, *, ending: Ending = "complete", default: bool = False) -> Note:
    values = {"hidden": 16}
    return Note(number, ending, default, values, loss, us, us, 100, "", "", "", {"25%": loss + 1})


NOTES = [
    note(0, 2.0, 20.0, default=True),
    note(1, 2.1, 10.0),
    note(2, 1.9, 30.0),
    note(3, 2.2, 15.0),
    note(4, 1.9, 40.0),
    note(5, 1.0, 5.0, ending="put back"),
    note(6, math.nan, 8.0, ending="stopped"),
]


def test_the_frontier_is_what_no_other_trial_beats() -> None:
    assert [1, 0, 2] == [each.number for each in frontier(NOTES)]


def test_the_choice_is_the_best_loss_that_is_fast_enough() -> None:
    chosen = {limit: choice(NOTES, limit) for limit in (None, 25.0, 10.0, 9.0)}
    assert [2, 0, 1, None] == [each and each.number for each in chosen.values()]


def test_the_default_is_known_once_it_is_complete() -> None:
    assert NOTES[0] == default_of(NOTES)
    assert default_of(NOTES[1:]) is None


def test_trials_are_compared_with_ended_ones_that_are_no_slower() -> None:
    assert [{"25%": 3.1}, {"25%": 3.2}] == peers_of(NOTES[:6], 9, 16.0)
    assert [{"25%": 3.1}] == peers_of(NOTES[:6], 3, 16.0)


def test_a_trial_behind_the_median_at_a_mark_is_stopped() -> None:
    recorded = []
    peers = [{"25%": loss} for loss in (1.0, 2.0, 3.0)]
    halting = Halting({}, lambda: peers, recorded.append)
    halting.see(Progress(1, 0.2, 0.0, 0.0, 9.0))
    assert not halting.reason
    halting.see(Progress(2, 0.25, 0.0, 0.0, math.inf))
    assert not halting.losses
    halting.see(Progress(3, 0.3, 0.0, 0.0, 2.5))
    assert "at 25% of its budget" in halting.reason
    assert [{"25%": 2.5}] == recorded


def test_a_trial_at_the_median_or_with_few_peers_goes_on() -> None:
    for peers, loss in (((1.0, 2.0, 3.0), 2.0), ((1.0, 2.0), 9.0)):
        halting = Halting({}, lambda peers=peers: [{"25%": each} for each in peers], lambda _: None)
        halting.see(Progress(3, 0.3, 0.0, 0.0, loss))
        assert not halting.reason


def test_the_figure_is_one_svg_with_a_dot_for_each_complete_trial() -> None:
    limited = replace(PLAN, max_step_us=25.0)
    for plan, legend in ((PLAN, 4), (limited, 4)):
        root = ET.fromstring(frontier_figure(NOTES, plan))  # noqa: S314, written just now
        dots = [each for each in root.iter() if each.tag.endswith("circle")]
        assert 5 + 1 + legend == len(dots)
        hints = [each.text for each in root.iter() if each.tag.endswith("title")]
        assert 5 == len(hints)
        assert "trial 0: 2.0000, 20.0 us; hidden 16" in hints
    assert "--max-step-us" in frontier_figure(NOTES, limited)
    assert "--max-step-us" not in frontier_figure(NOTES, PLAN)


def test_one_trial_alone_makes_a_figure() -> None:
    ET.fromstring(frontier_figure(NOTES[:1], PLAN))  # noqa: S314, likewise


def test_a_plan_reads_back() -> None:
    for plan in (PLAN, replace(PLAN, max_step_us=12.5, early=False)):
        assert plan == Plan.from_json(plan.to_json())
