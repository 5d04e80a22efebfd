"""The figures of a profile, each an SVG element drawn by hand, so that a page needs nothing else."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.artefacts.profile_report import DriftCurve, ProfileReport
from edgernn.artefacts.svg import WIDTH, Scale, area, axes, box, dot, drawing, line, number, text, widened
from edgernn_runtime.profiling import OperatorTime, Soak, Variant

COLORS: Final = ("#3d6fd6", "#e0782f", "#1f9d78", "#a44fc4", "#d03f62", "#7f8c1f", "#1ba1bd", "#8c6a52")
BINS: Final = 90
WINDOWS: Final = 60
MOST_PLACES: Final = 18

_LEFT, _RIGHT, _TOP, _BOTTOM = 72, WIDTH - 34, 16, 262
_HEIGHT: Final = _BOTTOM + 46
_NAME_CHARACTERS: Final = 26
_CHARACTER: Final = 6.4
_APART: Final = 36
_NEAR: Final = 4
"""A deadline so many times beyond the slowest step is not drawn where it is, which would leave no room for steps."""

_ROW_APART: Final = 11
_LABELLED: Final = 4
"""More models than that leave no room for numbers at their bars."""

Reports = Sequence[ProfileReport]


def color_of(index: int) -> str:
    """Return the colour of a model, or of what comes after all models, by its place."""
    return COLORS[index % len(COLORS)]


def histogram(reports: Reports) -> str:
    """Draw how many steps took how long, both axes logarithmic, with percentiles and deadlines."""
    ends = [value for each in reports for value in _ends(each)]
    deadlines = _deadlines(reports)
    near = [value for value in deadlines if min(ends) / _NEAR < value < max(ends) * _NEAR]
    low, high = widened([*ends, *near], factor=1.08)
    edges = np.geomspace(low, high, BINS + 1)
    counts = [np.histogram(each.profile.durations_us, edges)[0] for each in reports]
    x = Scale(low, high, _LEFT, _RIGHT, log=True)
    y = Scale(0.7, max(1.5 * max(int(each.max()) for each in counts), 11), _BOTTOM, _TOP, log=True)
    marks = axes(x, y, x_label="time of a step, us", y_label="steps")
    for i, count in enumerate(counts):
        outline = _outline(x, y, edges, count)
        marks += [area(outline, "fill", color=color_of(i)), line(outline[1:-1], "thin", color=color_of(i))]
    for i, each in enumerate(reports):
        latency = each.profile.step_us
        marks.append(line([(x.at(latency.p50), _BOTTOM), (x.at(latency.p50), _TOP)], "thin", color=color_of(i)))
        marks.append(line([(x.at(latency.p99), _BOTTOM), (x.at(latency.p99), _TOP)], "dashed", color=color_of(i)))
    marks += _deadline_lines(x, deadlines)
    return drawing(_HEIGHT, marks, "How many steps took how long")


def timeline(reports: Reports) -> str:
    """Draw p50 and p99 of each window of the run."""
    curves = [_windows(each.profile.durations_us) for each in reports]
    low, high = widened(value for _, p50, p99 in curves for value in (*p50, *p99))
    x = Scale(0, max(each.profile.steps for each in reports), _LEFT, _RIGHT)
    y = Scale(low, high, _BOTTOM, _TOP, log=True)
    marks = axes(x, y, x_label="step", y_label="time of a step, us")
    for i, (middles, p50, p99) in enumerate(curves):
        typical, slow = _points(x, y, middles, p50), _points(x, y, middles, p99)
        marks.append(area([*slow, *reversed(typical)], "haze", color=color_of(i)))
        marks += [line(slow, "light", color=color_of(i)), line(typical, "thick", color=color_of(i))]
        if len(typical) == 1:
            marks += [dot(*typical[0], "dot", color=color_of(i)), dot(*slow[0], "hollow", color=color_of(i))]
    return drawing(_HEIGHT, marks, "p50 and p99 along the run")


def operator_bars(reports: Reports) -> str:
    """Draw the time of each place in a step, a bar for each model, the part that is tracing's own pale."""
    places, left_out = _places(reports)
    thick = 11 if len(reports) > 1 else 15
    rows = {
        place: [(i, *_sum(each.operators, place)) for i, each in enumerate(reports) if _has(each, place)]
        for place in places
    }
    bottom = _TOP + sum(thick * len(bars) + _ROW_APART for bars in rows.values())
    left = 36 + _CHARACTER * max((len(_shortened(place)) for place in places), default=1)
    longest = max((traced for bars in rows.values() for _, traced, _, _ in bars), default=0.0)
    x = Scale(0, longest * 1.08 or 1, left, _RIGHT)
    note = f" ({left_out} smaller ones are in the table)" if left_out else ""
    marks = [line([(x.at(value), bottom), (x.at(value), _TOP)], "grid") for value in x.ticks()]
    marks += [text(x.at(value), bottom + 18, number(value), "tick", anchor="middle") for value in x.ticks()]
    marks.append(text((left + _RIGHT) / 2, bottom + 38, f"time in a step, us{note}", "label", anchor="middle"))
    top = _TOP + _ROW_APART / 2
    for place, bars in rows.items():
        marks.append(text(left - 10, top + thick * len(bars) / 2 + 4, _shortened(place), "tick", anchor="end"))
        for i, traced, untraced, share in bars:
            hint = f"{reports[i].name}, {place}: {untraced:.1f} us, {traced:.1f} us traced, {share:.1%}"
            for width, style in ((traced, "pale"), (untraced, "solid")):
                marks.append(box(left, top, x.at(width) - left, thick - 2, style, color=color_of(i), hint=hint))
            if len(reports) <= _LABELLED:
                marks.append(text(x.at(traced) + 5, top + thick - 3, f"{share:.0%}", "small"))
            top += thick
        top += _ROW_APART
    return drawing(bottom + 46, marks, "Time of each place in a step")


def roofline(reports: Reports) -> str:
    """Draw operations a second over operations a byte: what each model reaches, and what reading alone allows."""
    drawn = [(i, each) for i, each in enumerate(reports) if each.macs and each.profile.weight_bytes]
    if not drawn:
        return ""
    points = [(i, each, (each.macs or 0) / each.profile.weight_bytes) for i, each in drawn]
    rates = [rate for _, each in drawn for rate in _rates(each)]
    low, high = widened([*(intensity for _, _, intensity in points)], factor=2.2)
    x = Scale(low, high, _LEFT, _RIGHT, log=True)
    y = Scale(*widened(rates, factor=1.9), _BOTTOM, _TOP, log=True)
    marks = axes(x, y, x_label="operations (multiply and add) for each byte read", y_label="10⁹ operations/s")
    for i, each, intensity in points:
        marks += _roof(x, y, _rates(each)[1] / intensity, color_of(i))
    taken: list[float] = []
    for i, each, intensity in sorted(points, key=lambda point: point[2]):
        place = x.at(intensity)
        while any(abs(place - other) < _APART for other in taken):
            place += _APART
        taken.append(place)
        marks += _reached(place, y, each, color_of(i))
    return drawing(_HEIGHT, marks, "Operations a second over operations a byte")


def thread_sweep(reports: Reports) -> str:
    """Draw p50 over threads, spinning dashed; the best of each model is ringed."""
    drawn = [(i, each.variants) for i, each in enumerate(reports) if each.variants]
    if not drawn:
        return ""
    most = max(variant.threads for _, variants in drawn for variant in variants)
    highest = max(variant.p50_us for _, variants in drawn for variant in variants)
    x = Scale(0.8, max(most, 2) * 1.15, _LEFT, _RIGHT, log=True)
    y = Scale(0, highest * 1.12, _BOTTOM, _TOP)
    threads = sorted({variant.threads for _, variants in drawn for variant in variants})
    marks = axes(x, y, x_label="threads", y_label="p50 of a step, us", x_ticks=threads)
    for i, variants in drawn:
        marks += _lines_of(x, y, variants, color_of(i))
    return drawing(_HEIGHT, marks, "p50 over threads")


def memory(reports: Reports) -> str:
    """Draw how resident memory grew from the first sample on, and the line through it."""
    drawn = [(i, each.soak) for i, each in enumerate(reports) if each.soak is not None and each.soak.rss]
    if not drawn:
        return ""
    grown = {i: [(value - soak.rss[0]) / 1024 for value in soak.rss] for i, soak in drawn}
    high = max(max(map(max, grown.values())) * 1.1, 16)
    low = min(min(map(min, grown.values())) * 1.1, -high / 20)
    x = Scale(0, max(soak.steps for _, soak in drawn), _LEFT, _RIGHT)
    y = Scale(low, high, _BOTTOM, _TOP)
    marks = axes(x, y, x_label="step after the warmup", y_label="grown by, KiB")
    for i, soak in drawn:
        marks.append(line(_points(x, y, soak.sampled, grown[i]), "thick", color=color_of(i)))
        marks.append(line(_points(x, y, soak.sampled, _fitted(soak)), "dashed", color=color_of(i)))
    return drawing(_HEIGHT, marks, "Resident memory along a long run")


def drift_lines(curves: Sequence[DriftCurve], *, first: int = 0) -> str:
    """Draw the largest difference of each window of the stream; where all is equal, nothing is drawn.

    Args:
        curves: What was measured of each candidate.
        first: The place of the first one's colour.
    """
    values = [value for curve in curves for value in curve.largest if value]
    low, high = widened(values)
    x = Scale(0, max((curve.steps for curve in curves), default=1), _LEFT, _RIGHT)
    y = Scale(low, high, _BOTTOM, _TOP, log=True)
    marks = axes(x, y, x_label="step", y_label="difference of outputs")
    for i, curve in enumerate(curves, start=first):
        found = [(n * curve.window + curve.window / 2, value) for n, value in enumerate(curve.largest) if value]
        points = [(x.at(step), y.at(value)) for step, value in found]
        marks.append(line(points, "thick", color=color_of(i)))
        if len(points) == 1:
            marks.append(dot(*points[0], "dot", color=color_of(i)))
    if not values:
        marks.append(text((_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2, "no difference", "label", anchor="middle"))
    return drawing(_HEIGHT, marks, "Difference of outputs along the stream")


def _ends(report: ProfileReport) -> tuple[float, float]:
    durations = report.profile.durations_us
    return float(durations.min()), float(durations.max())


def _deadlines(reports: Reports) -> list[float]:
    return sorted({each.profile.deadline.us for each in reports if each.profile.deadline is not None})


def _deadline_lines(x: Scale, deadlines: Iterable[float]) -> list[str]:
    marks = []
    for i, value in enumerate(deadlines):
        place = x.at(value)
        label = f"deadline {number(value)} us"
        beyond = f"{label} →" if value > x.high else f"← {label}" if value < x.low else label
        late = place > (x.start + x.end) / 2
        if beyond == label:
            marks.append(line([(place, _BOTTOM), (place, _TOP)], "deadline"))
        marks.append(
            text(place + (-6 if late else 6), _TOP + 10 + 15 * i, beyond, "alarm", anchor="end" if late else "start")
        )
    return marks


def _outline(x: Scale, y: Scale, edges: NDArray[np.float64], counts: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Return the corners of a histogram, which begin and end on the axis."""
    tops = [(x.at(edge), y.at(count)) for i, count in enumerate(counts) for edge in edges[i : i + 2]]
    return [(x.at(edges[0]), y.start), *tops, (x.at(edges[-1]), y.start)]


def _windows(durations_us: NDArray[np.float64]) -> tuple[list[float], list[float], list[float]]:
    """Return the middles of windows of equal length, and p50 and p99 of each."""
    size = max(20, -(-len(durations_us) // WINDOWS))
    parts = np.split(durations_us, range(size, len(durations_us), size))
    parts = parts[:-1] if len(parts) > 1 and len(parts[-1]) < size / 2 else parts
    middles = [size * i + len(part) / 2 for i, part in enumerate(parts)]
    typical, slow = ([float(np.percentile(part, percent)) for part in parts] for percent in (50, 99))
    return middles, typical, slow


def _points(x: Scale, y: Scale, across: Iterable[float], up: Iterable[float]) -> list[tuple[float, float]]:
    return [(x.at(here), y.at(there)) for here, there in zip(across, up, strict=True)]


def _places(reports: Reports) -> tuple[list[str], int]:
    """Return the places that take the most time, in the order of a step, and how many are left out."""
    order = list(dict.fromkeys(row.what for each in reports for row in each.operators))
    longest = {place: max(_sum(each.operators, place)[0] for each in reports) for place in order}
    kept = set(sorted(order, key=lambda place: -longest[place])[:MOST_PLACES])
    return [place for place in order if place in kept], len(order) - len(kept)


def _sum(rows: Iterable[OperatorTime], place: str) -> tuple[float, float, float]:
    """Return the time of a place, its time without the tracing, and its share."""
    there = [row for row in rows if row.what == place]
    return sum(row.us for row in there), sum(row.untraced_us for row in there), sum(row.share for row in there)


def _has(report: ProfileReport, place: str) -> bool:
    return any(row.what == place for row in report.operators)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else "…" + name[-_NAME_CHARACTERS + 1 :]


def _rates(report: ProfileReport) -> tuple[float, float]:
    """Return billions of operations a second at the measured step, and at the floor."""
    macs = (report.macs or 0) / 1e3
    return macs / report.profile.step_us.p50, macs / report.profile.floor_us


def _roof(x: Scale, y: Scale, slope: float, color: str) -> list[str]:
    """Draw the line of one reading speed as far as it lies in the figure."""
    first, last = max(x.low, y.low / slope), min(x.high, y.high / slope)
    if first >= last:
        return []
    ends = [(x.at(value), y.at(slope * value)) for value in (first, last)]
    return [line(ends, "faint", color=color)]


def _reached(place: float, y: Scale, report: ProfileReport, color: str) -> list[str]:
    """Draw what a model reaches below what reading alone allows, and how far it is."""
    measured, allowed = _rates(report)
    ratio = report.profile.floor_ratio
    hint = f"{report.name}: {measured:.2f} of {allowed:.2f} billion operations/s"
    return [
        line([(place, y.at(measured)), (place, y.at(allowed))], "thin", color=color),
        dot(place, y.at(allowed), "hollow", color=color, hint=hint),
        dot(place, y.at(measured), "dot", color=color, radius=6, hint=hint),
        text(place, y.at(min(measured, allowed)) + 22, f"{ratio:.1f}x", "value", anchor="middle", color=color),
    ]


def _lines_of(x: Scale, y: Scale, variants: Sequence[Variant], color: str) -> list[str]:
    marks = []
    for spinning in (False, True):
        found = [variant for variant in variants if variant.spinning == spinning or variant.threads == 1]
        points = [(x.at(variant.threads), y.at(variant.p50_us)) for variant in found]
        marks.append(line(points, "dashed" if spinning else "thin", color=color))
    for variant in variants:
        place = x.at(variant.threads), y.at(variant.p50_us)
        hint = f"{variant.threads} threads{', spinning' * variant.spinning}: {variant.p50_us:.1f} us"
        if variant.best:
            marks.append(dot(*place, "ring", color=color, radius=9))
        marks.append(dot(*place, "hollow" if variant.spinning else "dot", color=color, hint=hint))
    return marks


def _fitted(soak: Soak) -> list[float]:
    """Return the line of least squares at each sample, in KiB above the first sample."""
    steps, slope = np.array(soak.sampled), (soak.slope or 0.0) / 1e6
    middle = float(np.mean(soak.rss)) - slope * float(steps.mean())
    fitted = [(middle + slope * step - soak.rss[0]) / 1024 for step in soak.sampled]
    return [value if math.isfinite(value) else 0.0 for value in fitted]
