"""Drift reports: what stands in the files, for every kind of model, and what is refused before anything is written."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgernn.artefacts.drift import DRIFT_FILES, check_drift_report, write_drift_report
from edgernn.artefacts.drift_figure import drift_figure
from edgernn_export import Recording, TorchEngine, VerifyReport, verify
from edgernn_export.drift.record import to_record
from edgernn_export.step import StepModule
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import InputError, MissingExtraError, OutputError, OutputExistsError


@pytest.fixture(scope="module")
def reports(tiny_path: Callable[..., Path], tiny_tokens: NDArray[np.int64]) -> dict[str, VerifyReport]:
    recording = Recording.of_tokens("token", tiny_tokens[:301])
    source = OrtEngine(tiny_path("lstm"))
    return {
        precision: verify(source, OrtEngine(tiny_path("lstm", precision)), recording, tolerance=0.5)
        for precision in ("int8", "int4", "float32")
    }


class Page(HTMLParser):
    """What a page loads, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "td":
            self.cells.append(data)


def test_a_report_holds_every_candidate(tmp_path: Path, reports: dict[str, VerifyReport]) -> None:
    folder = tmp_path / "a" / "b"
    write_drift_report(folder, reports, overwrite=False)
    assert set(DRIFT_FILES) == {path.name for path in folder.iterdir()}
    record = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    assert record == {"candidates": {name: to_record(report) for name, report in reports.items()}}
    assert min(Image.open(folder / "drift.png").size) > 600
    page = Page((folder / "drift.html").read_text(encoding="utf-8"))
    for name, report in reports.items():
        assert name in page.cells
        assert f"{report.teacher_forced.max_abs:.3g}" in page.cells
    assert "state.1.c" in page.cells


def test_a_page_loads_nothing(tmp_path: Path, reports: dict[str, VerifyReport]) -> None:
    write_drift_report(tmp_path, reports, overwrite=False)
    text = (tmp_path / "drift.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") == 1
    assert not {"script", "link", "img", "iframe", "image"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"} == set(
        re.findall(r"https?://[^\s\"<>]+", text)
    )
    assert len(re.findall(r"url\((?!#)", text)) == 0


def test_a_name_cannot_break_the_page(tmp_path: Path, reports: dict[str, VerifyReport]) -> None:
    name = '<b>&"int8" $x_1$ ☃'
    write_drift_report(tmp_path, {name: reports["int8"]}, overwrite=False)
    page = Page((tmp_path / "drift.html").read_text(encoding="utf-8"))
    assert name in page.cells
    assert "b" not in page.tags
    assert name in json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))["candidates"]


def test_the_figure_has_a_panel_of_states_for_each_candidate(reports: dict[str, VerifyReport]) -> None:
    figure = drift_figure(reports)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[0] == "Outputs, both fed the same inputs"
    assert [title.splitlines()[0] for title in titles[1:4]] == [f"States, {name}" for name in reports]
    assert "look at" not in titles[3]
    assert len(titles) == 6
    assert figure.axes[0].get_yscale() == figure.axes[1].get_yscale() == "log"
    drawn = np.asarray(figure.axes[0].get_lines()[0].get_ydata())
    assert drawn.tolist() == list(reports["int8"].teacher_forced.growth.largest)
    bars = [bar.get_height() for bar in figure.axes[5].patches]
    for name in ("int8", "int4"):
        run = reports[name].sampled
        assert run is not None
        assert run.likeness is not None
        assert all(distance.candidate in bars and distance.yardstick in bars for distance in run.likeness.distances)


def test_the_same_report_is_the_same_bytes(tmp_path: Path, reports: dict[str, VerifyReport]) -> None:
    write_drift_report(tmp_path / "one", reports, overwrite=False)
    write_drift_report(tmp_path / "two", reports, overwrite=False)
    for name in DRIFT_FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.filterwarnings("error")
def test_models_that_listen_agree_or_fail_are_drawn_too(
    tmp_path: Path, frame_step: StepModule, frames: NDArray[np.float32], reports: dict[str, VerifyReport]
) -> None:
    engine = TorchEngine(frame_step)
    listening = verify(engine, engine, Recording.of("frame", frames[:50]), tolerance=1e-3)
    assert listening.sampled is None
    assert len(drift_figure({"frames": listening}).axes) == 2
    forced = reports["int8"].teacher_forced
    nan = replace(forced.growth, largest=(float("nan"),) * len(forced.growth.largest))
    broken = replace(reports["int8"], teacher_forced=replace(forced, max_abs=float("nan"), growth=nan))
    stateless = replace(listening, teacher_forced=replace(listening.teacher_forced, states=()))
    for i, report in enumerate((listening, broken, stateless, reports["float32"])):
        write_drift_report(tmp_path / str(i), {"candidate": report}, overwrite=False)
        assert set(DRIFT_FILES) == {path.name for path in (tmp_path / str(i)).iterdir()}


@pytest.mark.parametrize("name", DRIFT_FILES)
def test_existing_files_are_kept(tmp_path: Path, reports: dict[str, VerifyReport], name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=re.escape(name)):
        write_drift_report(tmp_path, reports, overwrite=False)
    assert [name] == [path.name for path in tmp_path.iterdir()]
    assert (tmp_path / name).read_text() == "mine"
    write_drift_report(tmp_path, reports, overwrite=True)
    assert set(DRIFT_FILES) == {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / name).read_bytes() != b"mine"


def test_a_folder_that_is_a_file_or_lies_in_one_is_refused(tmp_path: Path, reports: dict[str, VerifyReport]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "report"):
        with pytest.raises(OutputError, match="is a file, so"):
            check_drift_report(folder, overwrite=True)
        with pytest.raises(OutputError, match="is a file, so"):
            write_drift_report(folder, reports, overwrite=True)
    (tmp_path / "drift.json").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_drift_report(tmp_path, overwrite=True)


def test_nothing_is_written_without_a_candidate_or_matplotlib(
    tmp_path: Path, reports: dict[str, VerifyReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="needs a candidate"):
        write_drift_report(tmp_path / "none", {}, overwrite=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=re.escape("edgernn[report]")):
        write_drift_report(tmp_path / "none", reports, overwrite=False)
    assert not (tmp_path / "none").exists()
