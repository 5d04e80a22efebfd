"""`edgernn tune`: what it tries, writes and prints, and what is refused."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn_export.tuning import tuner
from edgernn_runtime import load

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import FEW, files, one_line

Edgernn = Callable[..., Any]
Frames = NDArray[np.float32]

PLAIN = "only plain operators are tried: the fused lowering is exported from runs of one model"
SETTING = {"lowering", "precision", "threads", "spinning", "engine"}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time few steps of each candidate."""
    monkeypatch.setattr(tuner, "_STEPS", {1: 100, 8: 40, 64: 20})


def forms(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["lowering"], each["precision"]) for each in result["candidates"]}


def test_a_run_is_tuned_in_both_lowerings_and_reported(run: Path, edgernn: Edgernn) -> None:
    before = files(run)
    outcome = edgernn("tune", run / "model.onnx", "--max-loss", "20%", *FEW, "--json")
    result = outcome.json
    assert outcome.err.strip() == ""
    assert files(run) - before == {"model.tuned.onnx", "model.tuned.onnx.json"}
    assert json.loads((run / "model.tuned.onnx.json").read_text()) == result
    assert result.keys() == {"path", "budget", "chosen", "batches", "candidates"}
    assert (result["path"], result["budget"]) == (str(run / "model.tuned.onnx"), pytest.approx(0.2))
    assert result["chosen"].keys() == SETTING
    assert result["chosen"]["engine"] == "onnxruntime"
    assert [each["batch"] for each in result["batches"]] == [1, 8, 64]
    for each in result["batches"]:
        assert each.keys() == {"batch", *SETTING, "p50_us", "p99_us", "float_p50_us"}
        assert 0 < each["p50_us"] <= each["float_p50_us"]
        assert each["p50_us"] <= each["p99_us"]
    assert {name: result["batches"][0][name] for name in SETTING} == result["chosen"]
    for each in result["candidates"]:
        assert each.keys() == {*SETTING, "p50_us", "p99_us", "quality", "bytes", "kept"}
        assert 0 < each["p50_us"] <= each["p99_us"]
        assert each["kept"]
    assert forms(result) == {
        ("cell", "float32"),
        ("fused", "float32"),
        ("cell", "int8"),
        ("cell", "int8-portable"),
        ("cell", "int4"),
    }
    measured = {(each["lowering"], each["precision"]): each["quality"] for each in result["candidates"]}
    assert measured.pop(("cell", "float32")) is None
    assert all(quality["metric"] == "perplexity" for quality in measured.values())
    assert measured["fused", "float32"]["max_abs"] < 1e-4 < measured["cell", "int8"]["max_abs"]


def test_what_was_written_is_what_was_chosen_and_generates(run: Path, edgernn: Edgernn) -> None:
    result = edgernn("tune", run / "model.onnx", "--max-loss", "20%", *FEW, "--json").json
    spec = load(run / "model.tuned.onnx").spec
    assert (spec.precision, spec.lowering) == (result["chosen"]["precision"], result["chosen"]["lowering"])
    sizes = {(each["lowering"], each["precision"]): each["bytes"] for each in result["candidates"]}
    assert (run / "model.tuned.onnx").stat().st_size == sizes[spec.lowering, spec.precision]
    generated = edgernn("generate", run / "model.tuned.onnx", "--prompt", "the ", "--max-tokens", 20)
    assert generated.code == 0
    assert len(generated.out) == 21


def test_the_table_and_how_to_load_what_was_written_are_printed(run: Path, edgernn: Edgernn) -> None:
    target = run / "best.onnx"
    result = edgernn("tune", run / "model.onnx", "--max-loss", "0.2", "-o", target, *FEW)
    assert result.code == 0, result.err
    report = json.loads((run / "best.onnx.json").read_text())
    header, *rows = result.out.splitlines()
    assert " ".join(header.split()) == "lowering precision engine threads spinning p50 us p99 us bytes loss kept"
    *table, first, second, third, last = rows
    assert len(table) == len(report["candidates"])
    for row, each in zip(table, report["candidates"], strict=True):
        assert row.split()[:4] == [each["lowering"], each["precision"], each["engine"], str(each["threads"])]
        assert row.endswith("yes")
    assert [line.split(":")[0] for line in (first, second, third)] == ["batch 1", "batch 8", "batch 64"]
    assert all("times as fast as float32" in line for line in (first, second, third))
    assert last.startswith(f'{target}: load it with load("{target}", threads={report["chosen"]["threads"]}')


def test_a_budget_of_nothing_leaves_float32(frame_path: Path, frames: Frames, tmp_path: Path, edgernn: Edgernn) -> None:
    model = Path(shutil.copy(frame_path, tmp_path / "m.onnx"))
    np.save(tmp_path / "frames.npy", frames)
    arguments = ("tune", model, "--max-loss", "0%", "--data", tmp_path / "frames.npy")
    result = edgernn(*arguments, "--json").json
    assert result["chosen"]["precision"] == "float32"
    assert (tmp_path / "m.tuned.onnx").read_bytes() == model.read_bytes()
    rejected = [each for each in result["candidates"] if not each["kept"]]
    assert [each["precision"] for each in rejected] == ["int8", "int8-portable", "int4"]
    assert all((each["p50_us"], each["p99_us"]) == (None, None) for each in rejected)
    assert {each["precision"] for each in result["candidates"] if each["kept"]} == {"float32"}
    rows = edgernn(*arguments, "--force").out.splitlines()
    assert [row.split()[1] for row in rows if row.endswith("no, above 0.00%")] == ["int8", "int8-portable", "int4"]


def test_a_budget_of_signals_is_in_decibels(frame_path: Path, frames: Frames, tmp_path: Path, edgernn: Edgernn) -> None:
    model = Path(shutil.copy(frame_path, tmp_path / "m.onnx"))
    np.save(tmp_path / "frames.npy", frames)
    arguments = ("--data", tmp_path / "frames.npy", "--calibration", tmp_path / "frames.npy", "--json")
    result = edgernn("tune", model, "--max-loss", "10dB", *arguments)
    assert result.json["budget"] == pytest.approx(0.1)
    assert all(each["kept"] for each in result.json["candidates"])
    assert one_line(result.err) == PLAIN


def test_a_metric_of_ones_own_decides(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edgernn: Edgernn
) -> None:
    (tmp_path / "verdicts.py").write_text(
        "def size(engine, recording):\n    return 1.0 if engine.spec.precision == 'float32' else 2.0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ("--max-loss", "50%", "--metric", "verdicts:size", *FEW, "--json")
    result = edgernn("tune", run / "model.onnx", *arguments).json
    assert {each["precision"] for each in result["candidates"] if each["kept"]} == {"float32"}
    assert {each["quality"]["relative"] for each in result["candidates"] if not each["kept"]} == {1.0}


def test_a_model_outside_a_run_is_tuned_in_plain_operators_which_is_said(
    trained: Path, alone: Path, edgernn: Edgernn
) -> None:
    arguments = ("--max-loss", "20%", "--data", trained / "text.txt", *FEW, "--json")
    result = edgernn("tune", alone, *arguments)
    assert forms(result.json) == {("cell", "float32"), ("cell", "int8"), ("cell", "int8-portable"), ("cell", "int4")}
    first, second = result.err.strip().splitlines()
    assert "the first 300 steps calibrate, and the other 300 are measured on" in first
    assert second == PLAIN


def test_a_run_that_went_on_is_not_taken_for_the_source_of_its_model(run: Path, edgernn: Edgernn) -> None:
    assert edgernn("train", "text", "-o", run, "--resume", "--max-steps", 90, "--threads", 1).code == 0
    result = edgernn("tune", run / "model.onnx", "--max-loss", "20%", *FEW, "--json")
    assert forms(result.json) == {("cell", "float32"), ("cell", "int8"), ("cell", "int8-portable"), ("cell", "int4")}
    assert one_line(result.err) == (
        "only plain operators are tried: model.onnx has other weights than the run that it lies in"
    )


def test_a_damaged_run_leaves_plain_operators_which_is_said(run: Path, edgernn: Edgernn) -> None:
    (run / "model.safetensors").write_bytes(b"damaged")
    result = edgernn("tune", run / "model.onnx", "--max-loss", "20%", *FEW, "--json")
    assert ("fused", "float32") not in forms(result.json)
    assert one_line(result.err).startswith("only plain operators are tried: ")


def test_a_fused_model_is_tuned_in_both_lowerings_too(run: Path, edgernn: Edgernn) -> None:
    result = edgernn("tune", run / "fused.onnx", "--max-loss", "20%", *FEW, "--json")
    assert result.err.strip() == ""
    assert forms(result.json) == {
        ("fused", "float32"),
        ("cell", "float32"),
        ("cell", "int8"),
        ("cell", "int8-portable"),
        ("cell", "int4"),
    }
    sources = {
        each["lowering"]: each["quality"] for each in result.json["candidates"] if each["precision"] == "float32"
    }
    assert sources["fused"] is None
    assert sources["cell"]["max_abs"] < 1e-4
    assert load(run / "fused.tuned.onnx").spec.lowering == result.json["chosen"]["lowering"]


def test_a_bundle_is_tuned_at_batch_one(trained: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    run = Path(shutil.copytree(trained / "vae", tmp_path / "vae"))
    result = edgernn("tune", run / "bundle", "--max-loss", "20dB", *FEW, "--json")
    assert result.json["path"] == str(run / "bundle.tuned")
    assert json.loads((run / "bundle.tuned.json").read_text()) == result.json
    assert [each["batch"] for each in result.json["batches"]] == [1]
    assert one_line(result.err) == PLAIN
    assert files(run / "bundle.tuned") == files(run / "bundle")
    assert load(run / "bundle.tuned").spec.precision == result.json["chosen"]["precision"]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("abc", "--max-loss must read like 0.5%, 0.005 or 35dB, got abc"),
        ("200%", "--max-loss must be below 100%, got 200%"),
        ("0dB", "--max-loss must be below 100%, got 0dB"),
    ],
)
def test_the_budget_is_checked_before_data_are_read(
    frame_path: Path, tmp_path: Path, edgernn: Edgernn, loss: str, message: str
) -> None:
    for data in ((), ("--data", "none.npy")):
        result = edgernn("tune", frame_path, "--max-loss", loss, *data, "-o", tmp_path / "m.onnx")
        assert (result.code, result.out) == (1, "")
        assert message in one_line(result.err)


def test_random_inputs_promise_nothing(frame_path: Path, frames: Frames, tmp_path: Path, edgernn: Edgernn) -> None:
    np.save(tmp_path / "frames.npy", frames)
    for calibration in ((), ("--calibration", tmp_path / "frames.npy")):
        result = edgernn("tune", frame_path, "--max-loss", "10dB", *calibration, "-o", tmp_path / "m.onnx")
        assert (result.code, result.out) == (1, "")
        assert one_line(result.err).endswith("give the data to measure on with --data FILE")
    assert files(tmp_path) == {"frames.npy"}


@pytest.mark.parametrize("kept", ["model.tuned.onnx", "model.tuned.onnx.json"])
def test_a_target_that_exists_is_refused_before_any_work(alone: Path, edgernn: Edgernn, kept: str) -> None:
    (alone.parent / kept).write_text("mine")
    before = files(alone.parent)
    arguments = ("tune", alone, "--max-loss", "1%", "--data", "none.txt")
    result = edgernn(*arguments)
    assert (result.code, result.out) == (1, "")
    assert f"{kept} exists; choose another name, or replace it with --force" in one_line(result.err)
    assert files(alone.parent) == before
    assert "none.txt could not be read" in edgernn(*arguments, "--force").err


def test_files_that_exist_are_replaced_with_force(run: Path, edgernn: Edgernn) -> None:
    for name in ("model.tuned.onnx", "model.tuned.onnx.json"):
        (run / name).write_text("mine")
    result = edgernn("tune", run / "model.onnx", "--max-loss", "1%", *FEW, "--force", "--json").json
    assert json.loads((run / "model.tuned.onnx.json").read_text()) == result
    assert load(run / "model.tuned.onnx").spec.precision == result["chosen"]["precision"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN/int8.onnx", "--max-loss", "1%"], "is int8 already; quantize the float32 model that it came from"),
        (["RUN/none.onnx", "--max-loss", "1%"], "none.onnx"),
        (["RUN/model.onnx", "--max-loss", "35dB"], "--max-loss 35dB is for signals"),
        (["RUN/model.onnx", "--max-loss", "little"], "--max-loss must read like 0.5%, 0.005 or 35dB, got little"),
        (["RUN/model.onnx", "--max-loss", "-1%"], "--max-loss must be 0 or more"),
        (["RUN/model.onnx", "--max-loss", "100%"], "--max-loss must be below 100%, got 100%"),
        (["RUN/model.onnx", "--max-loss", "1%", "-o", "RUN/model.onnx", "--force"], "would be replaced"),
        (["RUN/model.onnx", "--max-loss", "1%", "-o", "RUN/tuned.txt"], "must end in .onnx"),
        (["RUN/model.onnx", "--max-loss", "1%", "--data", "none.txt"], "none.txt could not be read"),
        (["RUN/model.onnx", "--max-loss", "1%", "--calibration", "none.npz"], "none.npz could not be read"),
        (["RUN/model.onnx", "--max-loss", "1%", "--metric", "nowhere:loss"], "nowhere cannot be imported"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_nothing_is_written(
    run: Path, edgernn: Edgernn, arguments: list[str], message: str
) -> None:
    if "RUN/int8.onnx" in arguments:
        assert edgernn("quantize", run / "model.onnx", "-o", run / "int8.onnx", *FEW).code == 0
    before = files(run)
    result = edgernn("tune", *(each.replace("RUN", str(run)) for each in arguments))
    assert (result.code, result.out) == (1, "")
    assert one_line(result.err).startswith("error: ")
    assert message in result.err
    assert files(run) == before


@pytest.mark.parametrize("arguments", [[], ["--max-loss"], ["--max-loss", "1%", "--max-tokens", "1"]])
def test_wrong_usage_is_code_two(run: Path, edgernn: Edgernn, arguments: list[str]) -> None:
    before = files(run)
    result = edgernn("tune", run / "model.onnx", *arguments)
    assert (result.code, result.out) == (2, "")
    assert files(run) == before


def test_compiled_forms_are_timed_as_well_and_the_fastest_is_left_in_the_cache(
    run: Path, edgernn: Edgernn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    result = edgernn("tune", run / "model.onnx", "--max-loss", "20%", *FEW, "--native", "--json").json
    engines = {each["engine"] for each in result["candidates"]}
    assert engines == {"onnxruntime", "native"}
    assert result["chosen"]["engine"] == "native"
    assert load(result["path"], engine="native").spec.precision == result["chosen"]["precision"]
