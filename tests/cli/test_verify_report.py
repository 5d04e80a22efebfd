"""`edgernn verify --report`: the files, the options that guard them, and what is printed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Edgernn = Callable[..., Any]

FILES = {"drift.png", "drift.html", "drift.json"}


@pytest.fixture
def arguments(tmp_path: Path, tiny_path: Callable[..., Path]) -> list[object]:
    """Return the command that compares an int8 model with its source on a text."""
    text = tmp_path / "text.txt"
    text.write_text("a black cat, a noble élan. " * 20, encoding="utf-8")
    return ["verify", tiny_path("lstm", "int8"), "--against", tiny_path("lstm"), "--data", text, "--steps", 200]


def test_a_report_is_written_and_stdout_stays_one_object(
    tmp_path: Path, arguments: list[object], edgernn: Edgernn
) -> None:
    folder = tmp_path / "made" / "report"
    outcome = edgernn(*arguments, "--report", folder, "--json")
    assert FILES == {path.name for path in folder.iterdir()}
    record = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    assert record["candidates"] == {"lstm.int8.onnx": outcome.json}
    assert str(folder) in outcome.err
    assert outcome.json.keys() >= {"steps", "teacher_forced", "free_running", "worst_state", "passed"}
    assert outcome.json["free_running"].keys() >= {"first_divergence", "agreement", "greedy", "sampled"}
    assert len(outcome.json["teacher_forced"]["growth"]["mean"]) == 200


def test_text_says_whether_the_streams_are_of_one_distribution(arguments: list[object], edgernn: Edgernn) -> None:
    outcome = edgernn(*arguments)
    assert outcome.code == 0
    assert "of its largest value" in outcome.out
    assert "3-grams, nats" in outcome.out
    assert "as alike as two of the source" in outcome.out


def test_a_failed_gate_leaves_its_report_and_names_the_state(
    tmp_path: Path, arguments: list[object], edgernn: Edgernn
) -> None:
    outcome = edgernn(*arguments, "--max-drift", 1e-9, "--report", tmp_path / "report")
    assert outcome.code == 3
    assert "of its largest value apart" in outcome.err
    assert FILES == {path.name for path in (tmp_path / "report").iterdir()}


def test_existing_files_are_kept_unless_forced(tmp_path: Path, arguments: list[object], edgernn: Edgernn) -> None:
    (tmp_path / "drift.html").write_text("mine")
    outcome = edgernn("verify", "missing.onnx", "--against", "missing.onnx", "--report", tmp_path)
    assert (outcome.code, outcome.out) == (1, "")
    assert "drift.html exists" in outcome.err
    assert edgernn(*arguments, "--report", tmp_path, "--force").code == 0
    assert (tmp_path / "drift.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_bad_reports_are_refused_before_the_models_are_read(
    tmp_path: Path, edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    verify = ["verify", "missing.onnx", "--against", "missing.onnx", "--report"]
    outcome = edgernn(*verify, file)
    assert outcome.code == 1
    assert "is a file" in outcome.err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = edgernn(*verify, tmp_path / "report")
    assert (outcome.code, outcome.out) == (1, "")
    assert "install edgernn[report]" in outcome.err
    assert not (tmp_path / "report").exists()
