"""The page of a profile: figures and numbers in one HTML file that loads nothing."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from edgernn.artefacts import profile_figure as figure
from edgernn.artefacts.profile_report import DriftCurve, ProfileReport
from edgernn_runtime.profiling import copies

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f7fa; --ink: #1c2230; --soft: #5b6475; --rule: #e2e6ee;
        --alarm: #c2253b }
@media (prefers-color-scheme: dark) { :root { --paper: #14171f; --card: #1d222d; --ink: #e8ebf2; --soft: #a2abbd;
        --rule: #303747; --alarm: #ff7185 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 1180px; margin: 0 auto;
       padding: 2.2em 1.5em 4em; color: var(--ink); background: var(--paper) }
h1 { font-size: 1.9em; margin: 0 } h2 { font-size: 1.08em; margin: 0 }
p { margin: 0.3em 0; color: var(--soft) } .machine { margin-bottom: 1.6em }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 14px; margin-bottom: 26px }
.card { background: var(--card); border-top: 4px solid; border-radius: 6px; padding: 12px 16px; min-width: 0 }
.card b { display: block; overflow-wrap: anywhere } .card .big { font-size: 2em; line-height: 1.3 }
.card .big small { font-size: 0.5em; color: var(--soft) } .card .bad { color: var(--alarm) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(520px, 100%), 1fr)); gap: 26px }
figure { margin: 0; min-width: 0 } figcaption p { font-size: 0.88em; min-height: 2.9em }
figure svg { width: 100%; height: auto; display: block }
.keys { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 0.82em; color: var(--soft); margin: 4px 0 }
.keys i { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px; margin-right: 6px }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: 0.4em 0; font-size: 0.88em;
       font-variant-numeric: tabular-nums }
th, td { padding: 0.28em 0.85em; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap }
th:first-child, td:first-child, .words td:nth-child(2), .words th:nth-child(2) { text-align: left }
caption { text-align: left; font-weight: 600; padding: 1.4em 0 0.3em; white-space: nowrap }
details { margin-top: 0.8em } summary { cursor: pointer; font-weight: 600 }
svg text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink) }
svg .tick { fill: var(--soft); font-size: 12.5px } svg .small { fill: var(--soft); font-size: 10.5px }
svg .value { font-weight: 600 } svg .alarm { fill: var(--alarm); font-size: 12px }
svg .grid { stroke: var(--rule); fill: none } svg .axis { stroke: var(--soft); fill: none }
svg .thin, svg .light, svg .thick, svg .dashed, svg .faint, svg .deadline { fill: none; stroke-linejoin: round }
svg .thin { stroke-width: 1.2 } svg .light { stroke-width: 1; opacity: 0.6 } svg .thick { stroke-width: 2.4 }
svg .dashed { stroke-width: 1.4; stroke-dasharray: 5 4 }
svg .faint { stroke-width: 1; opacity: 0.45 }
svg .deadline { stroke: var(--alarm); stroke-width: 1.5; stroke-dasharray: 2 3 }
svg .fill { opacity: 0.22 } svg .haze { opacity: 0.13 } svg .pale { opacity: 0.28 }
svg .hollow { fill: var(--paper); stroke-width: 2 } svg .ring { fill-opacity: 0.35 }
"""

Reports = Sequence[ProfileReport]
Words = Sequence[str]


def profile_page(reports: Reports, *, machine: str, drift: Sequence[DriftCurve] = ()) -> str:
    """Return the page, HTML with the figures inside.

    Args:
        reports: What was measured of each model, in the order of their colours.
        machine: A line that says where.
        drift: How far candidates lie from their source.
    """
    names = [each.name for each in reports]
    parts = [_figure(*each, names) for each in _figures(reports)]
    if drift:
        said = "The largest difference in each window of one long stream, both models fed the same inputs."
        drawn = figure.drift_lines(drift, first=len(reports))
        parts.append(_figure("drift", "Drift", said, drawn, [*map(_drift_name, drift)], first=len(reports)))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Profile</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body>",
            f'<h1>Profile</h1><p class="machine">{escape(machine)}</p>',
            f'<div class="cards">{"".join(_card(i, each) for i, each in enumerate(reports))}</div>',
            f'<div class="figures">{"".join(parts)}</div>',
            *_tables(reports, drift),
            "</body></html>\n",
        ]
    )


def _figures(reports: Reports) -> list[tuple[str, str, str, str]]:
    """Return the figures that there is something to show in: their ids, titles, explanations and drawings."""
    near = (
        "Hollow: what reading the weights once would allow (the floor). Full: what is reached, and how many floors a "
        "step takes. Models with as many operations for each byte stand side by side."
    )
    latency = "How many steps took how long. Upright lines: p50, and dashed p99."
    along = "Thick: p50 of a window of steps. Thin: its p99."
    threads = "Dashed: idle threads spin. The best of each model has a halo."
    memory = "Resident memory above the first sample, and the line of least squares."
    found = [
        ("latency", "Latency", latency, figure.histogram(reports)),
        ("timeline", "Along the run", along, figure.timeline(reports)),
        ("roofline", "How near to the floor", near, figure.roofline(reports)),
        ("threads", "Threads", threads, figure.thread_sweep(reports)),
        ("memory", "Memory along a long run", memory, figure.memory(reports)),
    ]
    if any(each.operators for each in reports):
        said = (
            "From ONNX Runtime's own trace, with shares of the traced step. Pale: what tracing itself costs, an "
            "estimate that takes it to be the same for each operator."
        )
        found.insert(2, ("operators", "Where a step goes", said, figure.operator_bars(reports)))
    return [each for each in found if each[-1]]


def _figure(name: str, title: str, said: str, svg: str, keys: Words, *, first: int = 0) -> str:
    marks = "".join(
        f'<span><i style="background:{figure.color_of(i)}"></i>{escape(key)}</span>'
        for i, key in enumerate(keys, start=first)
    )
    return (
        f'<figure id="{name}"><figcaption><h2>{escape(title)}</h2><p>{escape(said)}</p>'
        f'<div class="keys">{marks}</div></figcaption>{svg}</figure>\n'
    )


def _card(index: int, report: ProfileReport) -> str:
    measured = report.profile
    lines = [
        f"p99 {measured.step_us.p99:,.1f} us, {1e6 / measured.step_us.mean:,.0f} steps/s",
        f"{measured.floor_ratio:.2f} times the floor of {measured.floor_us:,.1f} us",
        f"cold start {measured.cold.total_ms:,.0f} ms, peak {measured.cold.peak_rss_bytes / 1e6:,.0f} MB",
    ]
    if measured.rtf is not None:
        lines.append(f"real-time factor {measured.rtf:.2g}")
    body = "".join(f"<p>{escape(each)}</p>" for each in lines)
    deadline = measured.deadline
    if deadline is not None:
        mood = ' class="bad"' if deadline.misses else ""
        body += f"<p{mood}>{deadline.misses:,} of {measured.steps:,} steps missed {deadline.us:,.0f} us</p>"
    return (
        f'<div class="card" style="border-color:{figure.color_of(index)}"><b>{escape(report.name)}</b>'
        f'<div class="big">{measured.step_us.p50:,.1f} <small>us a step, p50</small></div>{body}</div>'
    )


def _tables(reports: Reports, drift: Sequence[DriftCurve]) -> list[str]:
    return [
        _table(
            "Latency of a step, us", ["model", "p50", "p90", "p99", "p99.9", "max", "mean", "jitter"], _latency(reports)
        ),
        _table(
            "Reading and computing in a step",
            [
                "model",
                "weights read",
                "operations",
                "operations a byte",
                "floor",
                "read at",
                "measured p50",
                "p50/floor",
            ],
            _reading(reports),
        ),
        _table(
            "Start and place",
            ["model", "provider", "threads", "nodes", "copies", "cold start", "load", "first step", "peak memory"],
            _starts(reports),
        ),
        _table("Deadline", ["model", "deadline", "steps", "missed", "share", "most in a row"], _missed(reports)),
        _table(
            "Threads and spinning", ["model", "threads", "idle threads", "p50 us", "p99 us", "best"], _variants(reports)
        ),
        _table(
            "Memory along a long run", ["model", "steps", "bytes in a million steps", "standard error"], _soaks(reports)
        ),
        _table("Drift", ["candidate", "steps", "largest difference", "KL, nats a step"], _drifts(drift)),
        *(_operators(each) for each in reports if each.operators),
    ]


def _latency(reports: Reports) -> Iterable[Words]:
    for each in reports:
        step = each.profile.step_us
        values = (step.p50, step.p90, step.p99, step.p999, step.max, step.mean, each.profile.jitter_us)
        yield [each.name, *(f"{value:,.1f}" for value in values)]


def _reading(reports: Reports) -> Iterable[Words]:
    for each in reports:
        measured = each.profile
        known = each.macs is not None and measured.weight_bytes
        yield [
            each.name,
            f"{measured.weight_bytes:,} bytes",
            "-" if each.macs is None else f"{each.macs:,}",
            f"{(each.macs or 0) / measured.weight_bytes:.2f}" if known else "-",
            f"{measured.floor_us:,.1f} us",
            f"{measured.weight_bytes / measured.floor_us / 1e3:,.1f} GB/s",
            f"{measured.step_us.p50:,.1f} us",
            f"{measured.floor_ratio:.2f}",
        ]


def _starts(reports: Reports) -> Iterable[Words]:
    for each in reports:
        measured = each.profile
        placed = ", ".join(f"{count} on {name}" for name, count in measured.nodes.items()) or "-"
        moved = "-" if each.traced is None else f"{len(copies(each.traced.nodes))}"
        cold = measured.cold
        times = (cold.total_ms, cold.load_ms, cold.first_step_ms)
        memory = f"{cold.peak_rss_bytes / 1e6:,.0f} MB"
        took = [f"{value:,.1f} ms" for value in times]
        yield [each.name, measured.provider, str(measured.threads), placed, moved, *took, memory]


def _missed(reports: Reports) -> Iterable[Words]:
    for each in reports:
        deadline = each.profile.deadline
        if deadline is not None:
            counts = [f"{each.profile.steps:,}", f"{deadline.misses:,}", f"{deadline.share:.3%}"]
            yield [each.name, f"{deadline.us:,.1f} us", *counts, f"{deadline.longest_run:,}"]


def _variants(reports: Reports) -> Iterable[Words]:
    for each in reports:
        for variant in each.variants:
            idle = "-" if variant.threads == 1 else "spin" if variant.spinning else "sleep"
            times = [f"{variant.p50_us:,.1f}", f"{variant.p99_us:,.1f}"]
            yield [each.name, str(variant.threads), idle, *times, "best" if variant.best else ""]


def _soaks(reports: Reports) -> Iterable[Words]:
    for each in reports:
        if each.soak is not None:
            known = (each.soak.slope, each.soak.error)
            yield [each.name, f"{each.soak.steps:,}", *("-" if value is None else f"{value:,.0f}" for value in known)]


def _drifts(drift: Sequence[DriftCurve]) -> Iterable[Words]:
    for curve in drift:
        values = ["-" if value is None else f"{value:.3g}" for value in (curve.max_abs, curve.kl_nats)]
        yield [curve.name, f"{curve.steps:,}", *values]


def _drift_name(curve: DriftCurve) -> str:
    return curve.name if curve.max_abs is None else f"{curve.name}, at most {curve.max_abs:.2g}"


def _operators(report: ProfileReport) -> str:
    rows = [
        [row.what, row.operator, f"{row.calls:g}", f"{row.us:.1f}", f"{row.share:.1%}", f"{row.untraced_us:.1f}"]
        for row in report.operators
    ]
    traced = 0.0 if report.traced is None else report.traced.us
    columns = ["where", "operator", "calls a step", "us, traced", "share", "us, estimated"]
    said = f"{report.name}: a step takes {traced:,.1f} us while it is traced, {report.profile.step_us.p50:,.1f} us else"
    title = f"<summary>Operators of {escape(report.name)}</summary>"
    return f"<details>{title}{_table(said, columns, rows, 'words')}</details>"


def _table(caption: str, columns: Words, rows: Iterable[Words], style: str = "") -> str:
    """Return a table, nothing if it has no rows."""
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return (
        f'<div class="scroll"><table class="{style}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def machine_line(versions: Mapping[str, str], *, system: str, cores: int) -> str:
    """Return the line that says where something was measured.

    >>> machine_line({"onnxruntime": "1.30"}, system="Linux x86_64", cores=2)
    'Linux x86_64, 2 cores; onnxruntime 1.30'
    """
    return f"{system}, {cores} cores; " + ", ".join(f"{name} {version}" for name, version in versions.items())
