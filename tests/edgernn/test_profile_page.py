"""The page of a profile: what it says, that it loads nothing, and that a browser draws it."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgernn.artefacts.profile_figure import roofline
from edgernn.artefacts.profile_page import profile_page
from edgernn.artefacts.profile_report import DriftCurve, ProfileReport, drift_curves, short_names
from edgernn.artefacts.svg import Scale
from edgernn_runtime.errors import DataError
from edgernn_runtime.profiling import (
    ColdStart,
    Deadline,
    Latency,
    NodeTime,
    OperatorTime,
    Profile,
    Soak,
    TracedStep,
    Variant,
)

FIGURES = ("latency", "timeline", "operators", "roofline", "threads", "memory", "drift")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """<script>
const found = [...document.querySelectorAll('figure')].map(figure => {
  const box = figure.querySelector('svg').getBoundingClientRect();
  const texts = [...figure.querySelectorAll('svg text')].map(each => {
    const at = each.getBoundingClientRect();
    return [each.textContent, at.left, at.top, at.right, at.bottom];
  });
  return {id: figure.id, box: [box.left, box.top, box.right, box.bottom], texts};
});
const out = document.createElement('pre');
out.id = 'measured';
out.textContent = JSON.stringify({figures: found, wide: document.documentElement.scrollWidth});
document.body.append(out);
</script></body>"""


def report(seed: int, *, name: str = "a/model.onnx", us: float = 40.0, steps: int = 3000) -> ProfileReport:
    """Return a report with everything in it."""
    rng = np.random.default_rng(seed)
    taken = us * (1 + rng.gamma(1.5, 0.1, steps)) + (rng.random(steps) < 0.01) * us * 5
    latency = Latency.of(taken)
    rows = tuple(
        OperatorTime(place, operator, calls, traced, traced / 40, traced * 0.4)
        for place, operator, calls, traced in (
            ("table", "Gather", 1, 2),
            ("layer 0 product", "Gemm", 1, 12),
            ("layer 0 gates", "Sigmoid", 2, 6),
            ("layer 0 gates", "Mul", 3, 8),
            ("layer 1 product", "Gemm", 1, 10),
            ("head", "Gemm", 1, 2),
        )
    )
    sampled = tuple(range(50, 10_001, 50))
    return ProfileReport(
        name=name,
        profile=Profile(
            path=Path(name),
            provider="cpu",
            threads=1,
            steps=steps,
            step_us=latency,
            cold=ColdStart(180, 12, 0.6, 70_000_000),
            weight_bytes=800_000 * (1 + seed % 2 * 3),
            floor_us=us / (1.5 + seed),
            rtf=0.01,
            deadline=Deadline.of(taken, us * 3),
            nodes={"cpu": 20, "cuda": 3},
            durations_us=taken,
        ),
        macs=813_056,
        traced=TracedStep(90.0, (NodeTime("", "Memcpy", "MemcpyToHost", "cpu", 1, 3),)),
        operators=rows,
        soak=Soak(10_000, sampled, tuple(7 * 10**7 + 3 * step for step in sampled), 3e6, 120.0),
        variants=(
            Variant(1, spinning=False, p50_us=us, p99_us=us * 2, best=True),
            Variant(2, spinning=False, p50_us=us * 1.4, p99_us=us * 3),
            Variant(2, spinning=True, p50_us=us, p99_us=us),
        ),
    )


def curve(name: str, scale: float) -> DriftCurve:
    values = tuple(scale * (1 + i % 7) for i in range(100))
    return DriftCurve(name, 1000, 10, values, max(values), 0.002)


def page_of(count: int) -> str:
    names = [
        "lstm-256/model.onnx",
        "lstm-256/model.int8.onnx",
        "a-long-name-of-a-run/bundle",
        "gru-128/model.int4.onnx",
    ]
    reports = [report(i, name=name, us=20.0 * (1 + i)) for i, name in enumerate(names[:count])]
    return profile_page(reports, machine="here, 2 cores", drift=[curve("int8", 0.01), curve("int4", 0.2)])


class Page(HTMLParser):
    """The figures of a page, its cells, and whatever it could load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: list[str] = []
        self.cells: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "figure":
            self.figures.append(values["id"] or "")
        if tag in {"script", "link", "img", "iframe", "object", "embed"}:
            self.loads.append(tag)
        self.loads += [name for name in values if name in {"src", "href", "xlink:href", "srcset", "action", "data"}]
        if tag not in {"meta", "polyline", "polygon"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "polyline", "polygon"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.lasttag == "td":
            self.cells.append(data)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_page_has_every_figure_and_loads_nothing(count: int) -> None:
    text = page_of(count)
    page = Page(text)
    assert tuple(page.figures) == FIGURES
    assert [] == page.loads
    assert [] == page.open
    assert "url(" not in text
    assert "@import" not in text
    assert {"http://www.w3.org/2000/svg"} == set(re.findall(r"https?://[^\"' ]+", text))
    assert "nan" not in text.lower().replace("dominan", "")


def test_what_was_not_measured_is_not_on_the_page() -> None:
    bare = replace(report(0), traced=None, operators=(), soak=None, variants=(), macs=None)
    assert ["latency", "timeline"] == Page(profile_page([bare], machine="here")).figures
    silent = replace(report(0), soak=Soak(1000, (500, 1000), (), None, None))
    assert "memory" not in Page(profile_page([silent], machine="here")).figures


def test_the_numbers_are_in_tables_too() -> None:
    first = report(0)
    cells = Page(profile_page([first], machine="here", drift=[curve("int4", 0.1)])).cells
    latency = first.profile.step_us
    for expected in (f"{latency.p50:,.1f}", f"{latency.p99:,.1f}", "813,056", "20 on cpu, 3 on cuda", "1", "3,000,000"):
        assert expected in cells
    assert "best" in cells
    assert "0.7" in cells


def test_names_cannot_break_the_page() -> None:
    name = '<script>alert(1)</script>&".onnx'
    text = profile_page([report(0, name=name)], machine=name, drift=[curve(name, 1)])
    assert "<script>" not in text
    assert [] == Page(text).open


@pytest.mark.parametrize("steps", [1, 2, 19, 21])
def test_a_few_steps_are_drawn_too(steps: int) -> None:
    assert "latency" in Page(profile_page([report(0, steps=steps)], machine="here")).figures


def test_equal_outputs_are_drawn_as_no_difference() -> None:
    equal = DriftCurve("same", 10, 1, (0.0, 0.0, None), 0.0, None)
    assert "no difference" in profile_page([report(0)], machine="here", drift=[equal])


def test_a_deadline_far_away_leaves_room_for_the_steps() -> None:
    far = report(0)
    deadline = Deadline.of(far.profile.durations_us, 1e6)
    text = profile_page([replace(far, profile=replace(far.profile, deadline=deadline))], machine="here")
    assert "deadline 1,000,000 us →" in text


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6), st.booleans())
def test_ticks_are_few_and_lie_on_their_axis(low: float, factor: float, log: bool) -> None:  # noqa: FBT001, hypothesis
    scale = Scale(low, low * factor, 0, 100, log=log)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 10
    assert list(ticks) == sorted(set(ticks))
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)
    assert scale.at(low) == 0
    assert scale.at(low * factor) == pytest.approx(100)


def test_models_of_one_intensity_stand_side_by_side() -> None:
    drawn = roofline([report(0), report(2), report(0)])
    places = sorted(float(place) for place in re.findall(r'class="dot"[^>]* cx="([0-9.]+)"', drawn))
    assert len(places) == 3
    assert min(np.diff(places)) > 30


def test_names_tell_paths_apart() -> None:
    paths = [Path("a/b/model.onnx"), Path("c/b/model.onnx"), Path("c/b/model.onnx")]
    assert ("a/b/model.onnx", "c/b/model.onnx (1)", "c/b/model.onnx (2)") == short_names(paths)
    assert ("one.onnx", "two.onnx") == short_names([Path("x/one.onnx"), Path("y/two.onnx")])


def test_both_forms_of_drift_are_read() -> None:
    growth = {"window": 2, "largest": [0.5, None], "mean": [0.1, None]}
    record: dict[str, Any] = {"steps": 4, "teacher_forced": {"max_abs": None, "kl_nats": 0.25, "growth": growth}}
    expected = DriftCurve("file", 4, 2, (0.5, None), None, 0.25)
    assert (expected,) == drift_curves("file", record)
    assert (replace(expected, name="int8"),) == drift_curves("file", {"candidates": {"int8": record}})
    with pytest.raises(DataError, match="file must hold what `edgernn verify --json` prints"):
        drift_curves("file", {"steps": 4})


def browse(*arguments: str) -> bytes:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


def overlap(one: list[Any], other: list[Any]) -> bool:
    """Return whether two texts lie on each other by more than a hair."""
    _, left, top, right, bottom = one
    return bool(min(right, other[3]) - max(left, other[1]) > 1 and min(bottom, other[4]) - max(top, other[2]) > 3)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no chromium, chromium-browser or google-chrome on PATH")
@pytest.mark.parametrize(("count", "width"), [(1, 1240), (2, 1240), (4, 1240), (4, 520)])
def test_a_browser_draws_every_figure(count: int, width: int, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page_of(count).replace("</body>", MEASURE), encoding="utf-8")
    window = (f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},6000")
    dom = browse(*window, "--dump-dom", file.as_uri()).decode()
    found = json.loads(re.findall(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL)[0])
    browse(*window, f"--screenshot={tmp_path / 'page.png'}", file.as_uri())
    picture = Image.open(tmp_path / "page.png").convert("RGB")

    assert list(FIGURES) == [figure["id"] for figure in found["figures"]]
    assert found["wide"] <= width
    for figure in found["figures"]:
        left, top, right, bottom = (round(value) for value in figure["box"])
        assert right - left > 0.8 * min(width, 560)
        assert bottom - top > 100
        pixels = np.asarray(picture.crop((left, top, right, bottom))).reshape(-1, 3)
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
        ink = 1 - counts.max() / len(pixels)
        assert 0.01 < ink < 0.6, figure["id"]
        assert (np.ptp(colors.astype(int), axis=1) > 60).sum() >= 1, figure["id"]
        texts = [each for each in figure["texts"] if each[0]]
        assert len(texts) > 6
        for i, text in enumerate(texts):
            assert left - 1 <= text[1], (figure["id"], text)
            assert text[3] <= right + 1, (figure["id"], text)
            clashes = [other[0] for other in texts[i + 1 :] if overlap(text, other)]
            assert not clashes, (figure["id"], text[0], clashes)
