"""`edgernn bench`: what it measures, prints, saves and draws, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Edgernn = Callable[..., Any]

SMALL = ("--hidden", "16", "--batch", "1", "--threads", "1", "--seconds-per-case", "0")
PEERS = ("edgernn", "torch-eager", "torch-ao", "onnxruntime", "openvino", "tract", "litert", "ncnn")
ABSENT = {
    peer
    for peer, package in {
        "openvino": "openvino", "tract": "tract", "litert": "ai_edge_litert", "ncnn": "ncnn"
    }.items()
    if find_spec(package) is None
}  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    """A run in a process of its own: what it saved, what it printed as JSON, and its messages."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    command = ["bench", *SMALL, "--peers", ",".join(PEERS), "-o", str(path), "--json"]
    done = subprocess.run([sys.executable, "-m", "edgernn", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return path, json.loads(done.stdout), done.stderr


def test_every_peer_of_every_case_is_measured_or_named(measured: tuple[Path, Any, str]) -> None:
    _, found, messages = measured
    assert messages == ""
    assert found.keys() == {"machine", "cases"}
    assert found["machine"].keys() == {"cpu", "cores", "platform", "python", "versions"}
    assert found["machine"]["cpu"]
    assert found["machine"]["cores"] > 0
    assert {"edgernn", "torch", "onnxruntime"} <= found["machine"]["versions"].keys()
    assert [(cell, 16, 1, 1, precision) for cell in ("lstm", "gru") for precision in ("float32", "int8", "int4")] == [
        (each["cell"], each["hidden"], each["batch"], each["threads"], each["precision"]) for each in found["cases"]
    ]
    for each in found["cases"]:
        assert each["steps"] == 50
        assert {} == each["failed"]
        assert each["results"].keys() == each["p99_us"].keys() == each["checked"].keys()
        assert all(0 < time <= each["p99_us"][peer] for peer, time in each["results"].items())
        assert all(0 <= error <= each["bound"] for error in each["checked"].values())
    plain, int8, int4 = found["cases"][:3]
    assert {"edgernn", "torch-eager", "onnxruntime"} == plain["results"].keys() - {
        "openvino",
        "tract",
        "litert",
        "ncnn",
    }
    assert {"edgernn", "torch-ao", "onnxruntime"} == int8["results"].keys() - {"openvino", "litert"}
    assert {"edgernn"} == int4["results"].keys() - {"litert"}


def test_peers_that_are_not_installed_are_named_and_left_out(measured: tuple[Path, Any, str], edgernn: Edgernn) -> None:
    path, found, _ = measured
    missing = found["cases"][0]["missing"]
    assert missing.keys() == ABSENT
    assert all(reason.endswith("not installed") for reason in missing.values())
    lines = edgernn("bench", "--from", path).out.splitlines()
    for peer in ABSENT:
        assert f"left out: {peer}: {missing[peer]}" in lines
    assert "left out: onnxruntime: quantize_dynamic leaves a GRU in float32" in lines


def test_the_table_marks_the_fastest_of_each_row(measured: tuple[Path, Any, str], edgernn: Edgernn) -> None:
    path, found, _ = measured
    outcome = edgernn("bench", "--from", path)
    assert (outcome.code, outcome.err) == (0, "")
    header, *rows = outcome.out.splitlines()
    names = header.split()
    assert names[:6] == ["cell", "hidden", "batch", "threads", "precision", "edgernn"]
    for line, each in zip(rows, found["cases"], strict=False):
        shown = line.split()
        assert shown[:5] == [each["cell"], "16", str(each["batch"]), "1", each["precision"]]
        best = min(each["results"], key=each["results"].get)
        assert [names[i] for i, text in enumerate(shown) if text.endswith("*")] == [best]
        others = [time for peer, time in each["results"].items() if peer != "edgernn"]
        assert shown[-1] == (f"{min(others) / each['results']['edgernn']:.2f}x" if others else "-")


def test_what_was_saved_is_printed_saved_and_drawn_again(
    measured: tuple[Path, Any, str], tmp_path: Path, edgernn: Edgernn
) -> None:
    path, found, _ = measured
    assert json.loads(path.read_text()) == found
    again = edgernn("bench", "--from", path, "--json", "-o", tmp_path / "b.json", "--plot", tmp_path / "b.svg")
    assert again.json == found
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()
    assert "<svg" in (tmp_path / "b.svg").read_text()
    assert edgernn("bench", "--from", path, "--plot", tmp_path / "b.png").code == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    refused = edgernn("bench", "--from", path, "-o", tmp_path / "b.json")
    assert (refused.code, refused.out) == (1, "")
    assert "b.json exists" in refused.err
    assert edgernn("bench", "--from", path, "-o", tmp_path / "b.json", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cells", "elman"), "no cell is called elman; there are lstm, gru"),
        (("--peers", "edgernn,tvm"), "no peer is called tvm; there are edgernn, edgernn-native"),
        (("--precisions", "int3"), "no precision is called int3; there are float32, int8, int4"),
        (("--hidden", "64,big"), "--hidden must be integers with commas between them, got '64,big'"),
        (("--hidden", "0"), "hidden must be positive, got 0"),
        (("--batch", ","), "--batch names nothing; nothing is left to measure"),
        (
            ("--peers", "torch-ao,tract", "--precisions", "int4"),
            "torch-ao, tract has no int4; nothing is left to measure",
        ),
        (("--plot", "bench.pdf"), "--plot must name an .svg or .png file, got bench.pdf"),
        (("-o", "nowhere/bench.json"), "nowhere does not exist; create it first"),
        (("--plot", "nowhere/bench.svg"), "nowhere does not exist; create it first"),
        (("-o", "taken.json"), "taken.json exists; choose another name, or replace it with --force"),
        (("--from", "taken.json"), "taken.json holds no benchmark that edgernn bench saved"),
        (("--from", "gone.json"), "No such file or directory: 'gone.json'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_cannot_be_measured_or_written_is_one_error_before_anything_is_measured(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edgernn: Edgernn
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").write_text("{}")
    outcome = edgernn("bench", *arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert ["taken.json"] == [each.name for each in tmp_path.iterdir()]


@pytest.mark.skipif(not ABSENT, reason="every peer is installed")
def test_a_run_of_absent_peers_alone_is_an_error_that_names_them(edgernn: Edgernn) -> None:
    outcome = edgernn("bench", *SMALL, "--cells", "lstm", "--peers", ",".join(ABSENT))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "nothing could be measured: left out: " in outcome.err
    assert all(f"left out: {peer}: " in outcome.err for peer in ABSENT)


def test_a_run_is_resumed_with_the_cases_that_it_lacks(
    measured: tuple[Path, Any, str], edgernn: Edgernn, tmp_path: Path
) -> None:
    path, found, _ = measured
    begun = tmp_path / "begun.json"
    kept = [each for each in found["cases"] if each["cell"] == "lstm"]
    begun.write_text(json.dumps({**found, "cases": kept}), encoding="utf-8")
    outcome = edgernn("bench", *SMALL, "--peers", ",".join(PEERS), "-o", begun, "--resume", "--json")
    assert outcome.code == 0, outcome.err
    cases = json.loads(begun.read_text(encoding="utf-8"))["cases"]
    assert kept == cases[:3]
    assert ["gru"] * 3 == [each["cell"] for each in cases[3:]]
    assert path.exists()


def test_what_was_measured_elsewhere_is_not_resumed(
    measured: tuple[Path, Any, str], edgernn: Edgernn, tmp_path: Path
) -> None:
    _, found, _ = measured
    other = tmp_path / "other.json"
    text = json.dumps({**found, "machine": {**found["machine"], "cpu": "another"}})
    other.write_text(text, encoding="utf-8")
    outcome = edgernn("bench", *SMALL, "--peers", "edgernn", "-o", other, "--resume")
    assert outcome.code == 1
    assert "was measured elsewhere, or with other peers or versions" in outcome.err
    assert text == other.read_text(encoding="utf-8")


def test_there_is_nothing_to_resume_without_a_file(edgernn: Edgernn) -> None:
    outcome = edgernn("bench", *SMALL, "--resume")
    assert outcome.code == 1
    assert "--resume goes on with the file that -o names" in outcome.err


def test_what_a_resumed_run_lacks_of_a_case_is_measured(
    measured: tuple[Path, Any, str], edgernn: Edgernn, tmp_path: Path
) -> None:
    _, found, _ = measured
    begun = tmp_path / "begun.json"
    kept = [each for each in found["cases"] if each["precision"] != "int4"]
    begun.write_text(json.dumps({**found, "cases": kept}), encoding="utf-8")
    outcome = edgernn("bench", *SMALL, "--peers", ",".join(PEERS), "--cells", "lstm", "-o", begun, "--resume", "--json")
    assert outcome.code == 0, outcome.err
    cases = json.loads(begun.read_text(encoding="utf-8"))["cases"]
    assert ["float32", "int8", "int4"] == [each["precision"] for each in cases if each["cell"] == "lstm"]
    assert kept[2:] == [each for each in cases if each["cell"] == "gru"]


def test_a_resumed_run_keeps_an_existing_picture(
    measured: tuple[Path, Any, str], edgernn: Edgernn, tmp_path: Path
) -> None:
    begun, picture = tmp_path / "begun.json", tmp_path / "x.svg"
    begun.write_text(measured[0].read_text(encoding="utf-8"), encoding="utf-8")
    picture.write_text("mine", encoding="utf-8")
    outcome = edgernn("bench", *SMALL, "-o", begun, "--resume", "--plot", picture)
    assert outcome.code == 1
    assert "exists" in outcome.err
    assert picture.read_text(encoding="utf-8") == "mine"


def test_options_that_measure_mean_nothing_to_a_saved_run(measured: tuple[Path, Any, str], edgernn: Edgernn) -> None:
    outcome = edgernn("bench", "--from", measured[0], "--hidden", "64")
    assert outcome.code == 1
    assert "--hidden means nothing with --from" in outcome.err
