"""The figure of a drift report: growth of the difference, of each state's, and how alike free-running streams are."""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from textwrap import fill
from typing import Final, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgernn_export.drift.curve import Curve
from edgernn_export.drift.free_running import FreeRunning
from edgernn_export.drift.likeness import FACTOR
from edgernn_export.drift.report import VerifyReport
from edgernn_export.drift.teacher_forced import StateDrift

_NAMELESS: Final = {"Creator": None, "Date": None, "Format": None, "Type": None}
_LINES: Final = ("-", "--", ":", "-.")
_COLORS: Final = tuple(f"C{i}" for i in range(10))  # those of matplotlib
_LEGEND_STATES: Final = 12
_TITLE: Final = 24  # characters of a line

Reports = Mapping[str, VerifyReport]


def drift_figure(reports: Reports) -> Figure:
    """Return the figure: panels of the outputs and of the states, and for generative models of free running.

    Args:
        reports: What was measured of each candidate, by the name to show, all against one source.
    """
    sampled = {name: report.sampled for name, report in reports.items() if report.sampled is not None}
    states = any(report.teacher_forced.states for report in reports.values())
    rows, count = 1 + states + bool(sampled), len(reports)
    figure = Figure(figsize=(8 + 1.5 * max(count, 2), 0.6 + 3 * rows), layout="constrained")
    figure.suptitle(f"Drift from the source over {max(report.steps for report in reports.values()):,} steps")
    grid = figure.add_gridspec(rows, 2 * count)
    _draw_outputs(figure.add_subplot(grid[0, :]), reports)
    if states:
        panels: list[Axes] = []
        for i in range(count):
            panels.append(figure.add_subplot(grid[1, 2 * i : 2 * i + 2], sharey=panels[0] if panels else None))
        _draw_states(panels, reports)
    if sampled:
        colors = dict(zip(reports, cycle(_COLORS), strict=False))
        _draw_agreement(figure.add_subplot(grid[-1, :count]), sampled, colors)
        _draw_distances(figure.add_subplot(grid[-1, count:]), sampled, colors)
    return figure


def picture(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """Return a figure as a PNG, or as an SVG that is the same for the same figure."""
    content = BytesIO()
    with rc_context({"svg.hashsalt": "drift"}):
        figure.savefig(content, format=form, dpi=100, metadata=_NAMELESS if form == "svg" else None)
    return content.getvalue()


def _draw_outputs(panel: Axes, reports: Reports) -> None:
    """Draw the largest difference and the mean divergence of each window."""
    for (name, report), color in zip(reports.items(), cycle(_COLORS), strict=False):
        forced = report.teacher_forced
        panel.plot(*_points(forced.growth, forced.growth.largest), color=color, label=name)
        if forced.kl_growth is not None:
            panel.plot(*_points(forced.kl_growth, forced.kl_growth.mean), color=color, linestyle="--", linewidth=1)
    tokens = any(report.teacher_forced.kl_growth is not None for report in reports.values())
    panel.plot([], [], color="black", label="largest difference")
    if tokens:
        panel.plot([], [], color="black", linestyle="--", linewidth=1, label="mean KL, nats")
    panel.set_title("Outputs, both fed the same inputs", fontsize="medium")
    panel.set_ylabel("difference of outputs; KL, nats" if tokens else "difference of outputs")
    _finish([panel], [report.teacher_forced.max_abs != 0 for report in reports.values()], reports)
    for limit in sorted({report.tolerance for report in reports.values() if report.tolerance}):
        panel.axhline(limit, color="gray", linestyle=":", label=f"limit {limit:g}")
    _add_legend(panel)


def _draw_states(panels: Sequence[Axes], reports: Reports) -> None:
    """Draw the largest relative difference of each state in each window, a panel for each candidate."""
    for panel, (name, report) in zip(panels, reports.items(), strict=True):
        forced = report.teacher_forced
        for i, state in enumerate(forced.states):
            panel.plot(
                *_points(state.growth, _relative(state)),
                color=_COLORS[i % len(_COLORS)],
                linestyle=_LINES[i // len(_COLORS) % len(_LINES)],
                linewidth=2 if state.max_abs and state == forced.worst else 1,
                label=state.name if i < _LEGEND_STATES else None,
            )
        worst = forced.worst
        look = f"\nlook at {worst.name}" if worst is not None and worst.max_abs else ""
        panel.set_title(fill(f"States, {name}", _TITLE) + look, fontsize="medium")
        panel.locator_params(axis="x", nbins=max(2, 8 // len(panels)))
        panel.tick_params(labelleft=panel is panels[0])
    panels[0].set_ylabel("largest difference /\nlargest value of the state")
    drift = [any(state.max_abs for state in report.teacher_forced.states) for report in reports.values()]
    _finish(panels, drift, reports)
    _add_legend(panels[-1])


def _draw_agreement(panel: Axes, sampled: Mapping[str, FreeRunning], colors: Mapping[str, str]) -> None:
    """Draw the share of equal tokens or frames in each window."""
    for name, run in sampled.items():
        shares = tuple(100 * share for share in run.agreements.mean)
        panel.plot(*_points(run.agreements, shares), color=colors[name])
        if run.first_divergence is not None:
            panel.axvline(run.first_divergence, color=colors[name], linestyle=":", linewidth=1)
    panel.set_title("Sampled with shared noise: agreement", fontsize="medium")
    panel.set_ylabel("equal, %")
    panel.set_xlabel("step (dotted: where the streams part)")
    panel.set_ylim(-4, 104)
    panel.set_xlim(0, max(run.steps for run in sampled.values()))
    panel.grid(alpha=0.3)


def _draw_distances(panel: Axes, sampled: Mapping[str, FreeRunning], colors: Mapping[str, str]) -> None:
    """Draw the distances of generated streams from the source's, beside the yardstick and the limit."""
    panel.set_title("Sampled streams: distance from the source's", fontsize="medium")
    measured = {name: run.likeness.distances for name, run in sampled.items() if run.likeness is not None}
    if not measured:
        _say(panel, "the streams never part")
        panel.set_xticks([])
        panel.set_yticks([])
        return
    first = next(iter(measured.values()))
    width = 0.8 / (len(measured) + 1)
    places = np.arange(len(first)) - 0.4 + width / 2
    for name, distances in measured.items():
        panel.bar(places, [distance.candidate for distance in distances], width, color=colors[name])
        for place, distance in zip(places, distances, strict=True):
            if distance.limit is not None:
                panel.hlines(distance.limit, place - width / 2, place + width / 2, color="black")
        places = places + width
    yardsticks = [distance.yardstick for distance in first if distance.yardstick is not None]
    if yardsticks:
        panel.bar(places, yardsticks, width, color="lightgray", label="source, other seed")
        panel.plot([], [], color="black", label=f"limit: {FACTOR:g} x + slack")
        _add_legend(panel)
    panel.set_xticks(range(len(first)), [distance.title.replace(", ", "\n") for distance in first])
    panel.set_ylim(bottom=0)


def _finish(panels: Sequence[Axes], drift: Sequence[bool], reports: Reports) -> None:
    """Give panels of growth their axes: a log one, where zeros are not drawn, if there is drift at all."""
    for panel in panels:
        panel.set_xlabel("step")
        panel.set_xlim(0, max(report.steps for report in reports.values()))
        panel.grid(alpha=0.3)
    if any(drift):
        panels[0].set_yscale("log", nonpositive="mask")
    else:
        panels[0].set_yticks([])
    for panel, drawn in zip(panels, drift if len(panels) > 1 else [any(drift)], strict=True):
        if not drawn:
            _say(panel, "no difference")


def _say(panel: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none"}
    panel.text(0.5, 0.5, text, ha="center", va="center", transform=panel.transAxes, bbox=box)


def _add_legend(panel: Axes) -> None:
    """Say on the right of a panel what its lines are."""
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _points(curve: Curve, values: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of a curve: each window's value at its middle."""
    return np.array(curve.starts) + (curve.window - 1) / 2, np.array(values)


def _relative(state: StateDrift) -> tuple[float, ...]:
    scale = state.magnitude or math.nan
    return tuple(value / scale for value in state.growth.largest)
