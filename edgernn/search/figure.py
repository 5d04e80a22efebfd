"""The figure of a search: loss over the time of a step, a dot for each trial, and the frontier as a line."""

from collections.abc import Sequence
from typing import Final

from edgernn.artefacts.svg import WIDTH, Scale, axes, dot, drawing, line, text, widened
from edgernn.search.frontier import choice, complete, frontier
from edgernn.search.notes import Note
from edgernn.search.plan import Plan
from edgernn.search.space import in_words

_LEFT, _RIGHT, _TOP, _BOTTOM = 76, WIDTH - 24, 40, 360
_OTHERS, _BEST, _DEFAULT = "#9aa3b2", "#3d6fd6", "#e0782f"
_STYLE: Final = """<style>
text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1d2330 } .tick { fill: #5b6475 }
.grid { stroke: #e3e7ee; fill: none } .axis { stroke: #5b6475; fill: none } .value { font-weight: 600 }
.thick { fill: none; stroke-width: 2.2; stroke-linejoin: round } .hollow { fill: none; stroke-width: 2 }
.limit { fill: none; stroke: #c0392b; stroke-width: 1.5; stroke-dasharray: 5 4 }
</style><rect width="100%" height="100%" fill="#fff"/>"""
_LEAST_RANGE: Final = 0.01


def frontier_figure(notes: Sequence[Note], plan: Plan) -> str:
    """Return the figure as an SVG that needs nothing else; at least one trial has come to its end."""
    done, best = complete(notes), frontier(notes)
    limit = plan.max_step_us
    x = Scale(*widened([*(each.step_us for each in done), *([limit] if limit else [])]), _LEFT, _RIGHT, log=True)
    losses = [each.valid_loss for each in done]
    room = 0.08 * max(max(losses) - min(losses), _LEAST_RANGE)
    y = Scale(min(losses) - room, max(losses) + room, _BOTTOM, _TOP)
    marks = [_STYLE, *axes(x, y, x_label="step of the int8 model, us (p50)", y_label=_unit(plan))]
    if limit is not None:
        marks.append(line([(x.at(limit), _BOTTOM), (x.at(limit), _TOP)], "limit"))
    marks.append(line(_stairs([(x.at(each.step_us), y.at(each.valid_loss)) for each in best]), "thick", color=_BEST))
    for each in done:
        color = _DEFAULT if each.default else _BEST if each in best else _OTHERS
        hint = f"trial {each.number}: {each.valid_loss:.4f}, {each.step_us:.1f} us; {in_words(each.values)}"
        marks.append(dot(x.at(each.step_us), y.at(each.valid_loss), "dot", color=color, hint=hint))
    chosen = choice(notes, limit)
    if chosen is not None:
        marks.append(dot(x.at(chosen.step_us), y.at(chosen.valid_loss), "hollow", color=_BEST, radius=9))
    return drawing(_BOTTOM + 52, [*marks, *_legend(limit)], "Validation loss over the time of a step") + "\n"


def _unit(plan: Plan) -> str:
    return f"validation loss, {plan.task.loss_unit}"


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a line that goes down where the next point is reached, not before."""
    found: list[tuple[float, float]] = []
    for place, height in points:
        if found:
            found.append((place, found[-1][1]))
        found.append((place, height))
    return found


def _legend(limit: float | None) -> list[str]:
    entries = [("default", _DEFAULT), ("frontier", _BEST), ("other trials", _OTHERS)]
    marks: list[str] = []
    place = float(_LEFT)
    for name, color in entries:
        marks += [dot(place + 5, 20, "dot", color=color), text(place + 16, 24, name, "label")]
        place += 44 + 7 * len(name)
    marks += [dot(place + 8, 20, "hollow", color=_BEST, radius=7), text(place + 22, 24, "chosen", "label")]
    if limit is not None:
        place += 94
        marks += [line([(place, 20), (place + 22, 20)], "limit"), text(place + 30, 24, "--max-step-us", "label")]
    return marks
