"""`edgernn profile`: what it prints, keeps and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Edgernn = Callable[..., Any]


@pytest.fixture
def model(tiny_path: Callable[..., Path]) -> Path:
    return tiny_path("gru", "int8")


def test_operators_are_told_by_layer_and_gate(edgernn: Edgernn, model: Path) -> None:
    outcome = edgernn("profile", model, "--steps", 20, "--operators")
    assert (outcome.code, outcome.err) == (0, "")
    for place in ("table", "layer 0 product", "layer 1 gates", "head"):
        assert f"\n{place} " in outcome.out
    assert "us while it is traced" in outcome.out
    assert "nodes on cpu; 0 copies and casts" in outcome.out


def test_everything_that_is_measured_is_in_the_json(
    edgernn: Edgernn, model: Path, frame_path: Path, tmp_path: Path
) -> None:
    arguments = ("profile", model, frame_path, "--steps", 30, "--operators", "--sweep", "--soak", 300, "--json")
    token, frame = edgernn(*arguments).json["models"]
    assert token["macs_per_step"] == 3 * 24 * 24 * 3 + 24 * 22
    assert token["deadline"] is None
    assert frame["deadline"]["us"] == pytest.approx(10_000)
    for each in (token, frame):
        rows = each["operators"]["rows"]
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        assert sum(row["calls"] for row in rows) == sum(each["nodes"].values())
        assert each["operators"]["copies"] == []
        assert each["operators"]["traced_step_us"] > sum(row["us"] for row in rows)
        assert each["sweep"][0]["threads"] == 1
        assert 1 == sum(variant["best"] for variant in each["sweep"])
        assert each["soak"]["steps"] == 300
        assert len(each["soak"]["rss"]) == len(each["soak"]["sampled"])
    assert not list(tmp_path.iterdir())


def test_what_was_not_asked_for_is_null(edgernn: Edgernn, model: Path) -> None:
    (found,) = edgernn("profile", model, "--steps", 20, "--json").json["models"]
    assert [found[name] for name in ("operators", "sweep", "soak", "deadline")] == [None] * 4


def test_the_time_of_a_bundle_is_told_by_stage(edgernn: Edgernn, trained: Path) -> None:
    (found,) = edgernn("profile", trained / "vae" / "bundle", "--steps", 20, "--operators", "--json").json["models"]
    stages = {row["what"].partition(":")[0] for row in found["operators"]["rows"]}
    assert {"decode"} == stages  # what runs once, before the first step, is no part of one
    assert found["macs_per_step"] > 0


def test_the_fused_lowering_is_one_operator_a_layer(edgernn: Edgernn, trained: Path) -> None:
    (found,) = edgernn("profile", trained / "run" / "fused.onnx", "--steps", 20, "--operators", "--json").json["models"]
    rows = {row["operator"]: row for row in found["operators"]["rows"] if row["what"].endswith(row["operator"])}
    assert rows.keys() & {"LSTM", "GRU", "RNN"}


def test_a_trace_is_kept_whole(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "trace.json"
    assert edgernn("profile", model, "--steps", 20, "--trace", target).code == 0
    events = json.loads(target.read_bytes())
    assert {"ph", "ts", "dur", "pid", "tid", "name"} <= events[-1].keys()
    assert {"X"} == {event["ph"] for event in events}
    assert [target] == list(tmp_path.iterdir())

    refused = edgernn("profile", model, "--steps", 20, "--trace", target)
    assert (refused.code, refused.out) == (1, "")
    assert "trace.json exists" in refused.err
    assert edgernn("profile", model, model, "--steps", 20, "--trace", target, "--force").code == 0
    names = [event["args"]["name"] for event in json.loads(target.read_bytes()) if event["ph"] == "M"]
    assert [str(model)] * 2 == names


def test_misses_are_counted_and_are_a_gate(edgernn: Edgernn, model: Path, frame_path: Path) -> None:
    late = edgernn("profile", model, "--steps", 20, "--deadline-us", 0.5, "--max-misses", 0.1)
    assert late.code == 3
    assert "misses its deadline of 0.5 us in 100.000% of steps, above 10.000%" in late.err
    assert "100.000%" in late.out
    assert edgernn("profile", frame_path, "--steps", 20, "--max-misses", 1).code == 0
    needs = edgernn("profile", frame_path, model, "--steps", 20, "--max-misses", 0.1)
    assert needs.code == 1
    assert "has no rate; say it with --deadline-us" in needs.err


def test_a_page_needs_no_more_than_its_name(
    edgernn: Edgernn, model: Path, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a black cat, a noble élan. " * 20, encoding="utf-8")
    compared = edgernn("verify", model, "--against", tiny_path("gru"), "--data", text, "--steps", 100, "--json")
    drift = tmp_path / "drift.json"
    drift.write_text(compared.out, encoding="utf-8")
    page = tmp_path / "page.html"
    outcome = edgernn("profile", model, "--steps", 20, "--html", page, "--drift", drift, "--json")
    assert len(outcome.json["models"]) == 1
    assert str(page) in outcome.err
    assert '<figure id="drift">' in page.read_text(encoding="utf-8")
    assert {text, drift, page} == set(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--trace", "--html"])
def test_files_that_cannot_be_written_are_refused_before_anything_is_read(
    option: str, edgernn: Edgernn, tmp_path: Path
) -> None:
    existing = tmp_path / "mine.json"
    existing.write_text("mine")
    for target, message in (
        (existing, "mine.json exists"),
        (tmp_path, "is a folder"),
        (tmp_path / "gone" / "a.json", "does not exist; create it first"),
        (Path("/proc/a.json"), "could not be written"),
    ):
        outcome = edgernn("profile", "missing.onnx", option, target)
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.count("\n") == 1
        assert message in outcome.err
    assert existing.read_text() == "mine"
    assert [existing] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--deadline-us", 0], 1, "a deadline must be positive and finite, got 0 us"),
        (["--soak", 0], 1, "a soak needs 10 steps at least, got 0"),
        (["--steps", 0], 2, "--steps"),
        (["--max-misses", 2], 2, "--max-misses"),
        (["--trace", "a", "--html", "a"], 1, "must name two files, got a twice"),
        (["--drift", "absent.json"], 1, "--drift is drawn on the page; name one with --html"),
        (["--drift", "absent.json", "--html", "a"], 1, "absent.json could not be read"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(
    arguments: list[object], code: int, message: str, edgernn: Edgernn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = edgernn("profile", "missing.onnx", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "3", "[]", "{}", '{"teacher_forced": {"growth": 1}}', '{"candidates": [1]}'])
def test_a_drift_file_of_another_form_is_refused(content: str, edgernn: Edgernn, tmp_path: Path) -> None:
    (tmp_path / "drift.json").write_text(content)
    outcome = edgernn("profile", "missing.onnx", "--html", tmp_path / "a.html", "--drift", tmp_path / "drift.json")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "drift.json is no JSON" in outcome.err or "what `edgernn verify --json` prints" in outcome.err
    assert not (tmp_path / "a.html").exists()
