"""The page of a drift report: the figure and its numbers in one HTML file that loads nothing."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from edgernn_export.drift.free_running import FreeRunning
from edgernn_export.drift.report import VerifyReport

_STYLE: Final = """
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: 0.5em 0 2em }
th, td { padding: 0.25em 0.8em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
caption { text-align: left; font-weight: bold; padding-bottom: 0.3em }
"""

Reports = Mapping[str, VerifyReport]


def drift_page(reports: Reports, svg: str) -> str:
    """Return the page, HTML with the figure inside.

    Args:
        reports: What was measured of each candidate, by the name to show.
        svg: The figure, an SVG file.
    """
    tables = [_outputs(reports), _states(reports), _free_running(reports), _distances(reports)]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Drift</title>',
            f"<style>{_STYLE}</style></head><body>",
            "<h1>Drift</h1>",
            svg[svg.index("<svg") :],
            *tables,
            "</body></html>\n",
        ]
    )


def _outputs(reports: Reports) -> str:
    rows = []
    for name, report in reports.items():
        forced = report.teacher_forced
        limit = "none" if report.tolerance is None else f"{report.tolerance:g}"
        verdict = "-" if report.tolerance is None else "passed" if report.passed else "failed"
        kl = _number(forced.kl_nats)
        rows.append([name, f"{report.steps:,}", _number(forced.max_abs), _number(forced.mean_abs), kl, limit, verdict])
    columns = ["candidate", "steps", "largest difference", "mean difference", "KL, nats a step", "limit", "verdict"]
    return _table("Outputs, both fed the same inputs", columns, rows)


def _states(reports: Reports) -> str:
    rows = [
        [
            name,
            state.name + (" (look here)" if state.name == report.teacher_forced.worst_state and state.max_abs else ""),
            _number(state.max_abs),
            _number(state.magnitude),
            _number(state.relative),
            "never" if state.diverged is None else f"{state.diverged:,}",
        ]
        for name, report in reports.items()
        for state in report.teacher_forced.states
    ]
    columns = ["candidate", "state", "largest difference", "largest value", "relative", "above the limit at step"]
    return _table("States", columns, rows)


def _free_running(reports: Reports) -> str:
    def row(name: str, way: str, run: FreeRunning) -> list[str]:
        parted = "never" if run.first_divergence is None else f"{run.first_divergence:,}"
        tokens = "-" if run.tokens is None else f"{run.tokens[0]} / {run.tokens[1]}"
        same = {True: "yes", False: "no", None: "-"}[run.same_distribution]
        return [name, way, parted, tokens, _number(run.margin), f"{run.agreement:.1%}", same]

    rows = [
        row(name, way, run)
        for name, report in reports.items()
        for way, run in (("greedy", report.greedy), ("sampled, shared noise", report.sampled))
        if run is not None
    ]
    columns = ["candidate", "decoding", "parts at step", "tokens there", "margin", "equal", "same distribution"]
    return _table("Free running", columns, rows)


def _distances(reports: Reports) -> str:
    rows = [
        [
            name,
            distance.title,
            _number(distance.candidate),
            _number(distance.yardstick),
            _number(distance.limit),
            {True: "yes", False: "no", None: "-"}[distance.within],
        ]
        for name, report in reports.items()
        if report.sampled is not None and report.sampled.likeness is not None
        for distance in report.sampled.likeness.distances
    ]
    columns = ["candidate", "distance", "from the source", "source, other seed", "limit", "within"]
    return _table("Sampled streams: distances from the source's", columns, rows)


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, nothing if it has no rows."""
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
