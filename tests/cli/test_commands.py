"""The commands as a user calls them: results, JSON keys, exit codes, and what stdout and stderr hold."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgernn.cli import main
from edgernn_export import Recording

Edgernn = Callable[..., Any]

KEYS = {
    "train": {"run_dir", "steps", "train_loss", "valid_loss", "bits_per_token", "accuracy", "seconds"},
    "export": {"path", "bytes", "states", "opset", "lowering", "parity"},
    "quantize": {"path", "precision", "bytes_before", "bytes_after", "quantized_nodes", "quality", "drift"},
    "verify": {"steps", "teacher_forced", "free_running", "worst_state", "passed"},
    "summary": {"tokens", "seed", "first_token_ms", "tokens_per_s"},
    "profile": {
        "path", "provider", "threads", "steps", "step_us", "jitter_us", "steps_per_s", "load_ms", "first_step_ms",
        "peak_rss_bytes", "weight_bytes", "floor_us", "floor_ratio", "rtf",
    },
    "inspect": {"spec", "bytes", "operators", "model_id"},
    "providers": {"name", "available", "version", "devices", "fix"},
}  # fmt: skip


TEXT = "pack my box with five dozen liquor jugs; the naïve café is closed. " * 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trained run, exported and quantized by the commands."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    argv = sys.argv
    run = folder / "run"
    tiny = ["--hidden", "24", "--batch", "8", "--segment", "16", "--max-steps", "40", "--valid-every", "20"]
    for arguments in (
        ["train", "text", "--data", str(folder / "text.txt"), *tiny, "-o", str(run)],
        ["export", str(run)],
        ["quantize", str(run / "model.onnx"), "--precision", "int8"],
        ["quantize", str(run / "model.onnx"), "--precision", "int4"],
    ):
        sys.argv = ["edgernn", *arguments]
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    sys.argv = argv
    return folder


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_train_leaves_a_run_and_says_how_it_went(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    run = tmp_path / "run"
    data, steps = folder / "text.txt", ["--batch", 4, "--segment", 8, "--max-steps", 6, "--hidden", 8]
    result = edgernn(
        "train", "text", "--data", data, *steps, "-o", run, "--cell", "gru", "--codec", "bytes", "--json"
    ).json
    assert KEYS["train"] <= result.keys()
    assert result["steps"] == 6
    names = {"run.json", "checkpoint.safetensors", "model.safetensors", "metrics.jsonl", "loss.png"}
    names |= {"valid.npz", "calibration.npz"}
    assert {path.name for path in run.iterdir()} == names
    again = edgernn("train", "text", "-o", run, "--max-steps", 1)
    assert (again.code, again.out) == (1, "")
    assert one_line(again.err).startswith("error: ")


def test_a_resumed_run_keeps_its_settings(folder: Path, edgernn: Edgernn) -> None:
    result = edgernn("train", "text", "-o", folder / "run", "--resume", "--hidden", 32)
    assert result.code == 1
    assert "--hidden cannot change" in one_line(result.err)


def test_export_prints_its_report(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    result = edgernn("export", folder / "run", "-o", tmp_path / "m.onnx", "--json").json
    assert KEYS["export"] <= result.keys()
    assert result["states"] == ["state.0.h", "state.0.c", "state.1.h", "state.1.c"]
    assert result["parity"]["steps"] == 256


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantize_prints_its_report(tmp_path: Path, folder: Path, edgernn: Edgernn, precision: str) -> None:
    target = tmp_path / "q.onnx"
    result = edgernn("quantize", folder / "run" / "model.onnx", "--precision", precision, "-o", target, "--json").json
    assert KEYS["quantize"] <= result.keys()
    assert {"metric", "before", "after", "relative"} <= result["quality"].keys()
    assert result["bytes_after"] == target.stat().st_size < result["bytes_before"]


def test_verify_compares_with_the_run_and_with_another_model(folder: Path, edgernn: Edgernn) -> None:
    model, int8 = folder / "run" / "model.onnx", folder / "run" / "model.int8.onnx"
    result = edgernn("verify", model, "--against", folder / "run", "--steps", 300, "--json").json
    assert KEYS["verify"] <= result.keys()
    assert result["passed"]
    assert result["free_running"]["first_divergence"] is None
    assert result["teacher_forced"].keys() >= {"max_abs", "mean_abs", "kl_nats"}
    assert edgernn("verify", int8, "--against", model, "--steps", 300, "--json").json["teacher_forced"]["max_abs"] > 0


def test_a_drift_gate_that_fails_ends_with_code_three(folder: Path, edgernn: Edgernn) -> None:
    model, int8 = folder / "run" / "model.onnx", folder / "run" / "model.int8.onnx"
    result = edgernn("verify", int8, "--against", model, "--steps", 100, "--max-drift", 1e-9, "--json")
    assert result.code == 3
    assert json.loads(result.out)["passed"] is False
    assert "the limit is 1e-09" in one_line(result.err)


def test_generate_is_the_same_for_the_same_seed_and_only_for_it(folder: Path, edgernn: Edgernn) -> None:
    arguments = ["generate", folder / "run" / "model.onnx", "--prompt", "the ", "--max-tokens", 60]
    first, again, other = (edgernn(*arguments, "--seed", seed) for seed in (1, 1, 2))
    assert first.code == 0
    assert first.out == again.out != other.out
    assert len(first.out) == 61  # and a line break at the end
    assert "tokens/s" in one_line(first.err)


def test_generate_json_is_one_object_a_token_and_a_summary(folder: Path, edgernn: Edgernn) -> None:
    arguments = ["generate", folder / "run" / "model.int8.onnx", "--prompt", "the ", "--max-tokens", 20, "--json"]
    *tokens, summary = [json.loads(line) for line in edgernn(*arguments).out.splitlines()]
    assert len(tokens) == 20
    assert all(each.keys() == {"token", "text"} for each in tokens)
    assert KEYS["summary"] <= summary.keys()


def test_a_saved_state_continues_the_text_in_another_call(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    model, state = folder / "run" / "model.int4.onnx", tmp_path / "s.npz"
    common = ["--temperature", 0.9, "--seed", 5]
    whole = edgernn("generate", model, "--prompt", "the ", "--max-tokens", 50, *common).out
    first = edgernn("generate", model, "--prompt", "the ", "--max-tokens", 17, *common, "--save-state", state).out
    rest = edgernn("generate", model, "--max-tokens", 33, "--state", state).out
    assert first[:-1] + rest == whole
    refused = edgernn("generate", folder / "run" / "model.onnx", "--state", state)
    assert "a state continues only on the model that made it" in one_line(refused.err)


def test_profile_measures_models_side_by_side(folder: Path, edgernn: Edgernn) -> None:
    models = [folder / "run" / name for name in ("model.onnx", "model.int8.onnx")]
    result = edgernn("profile", *models, "--steps", 200, "--json").json
    assert [each["path"] for each in result["models"]] == list(map(str, models))
    for each in result["models"]:
        assert KEYS["profile"] <= each.keys()
        latency = each["step_us"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"]
        assert each["floor_us"] > 0
        assert each["peak_rss_bytes"] > 1e7
    gate = edgernn("profile", models[0], "--steps", 100, "--max-p99-us", 0.001)
    assert gate.code == 3
    assert "above 0.001 us" in one_line(gate.err)
    assert "p50" in gate.out


def test_inspect_shows_the_spec_and_the_operators(folder: Path, edgernn: Edgernn) -> None:
    result = edgernn("inspect", folder / "run" / "model.int8.onnx", "--json").json
    assert result.keys() == KEYS["inspect"]
    assert result["operators"]["MatMulNBits"] == 3
    assert result["spec"]["precision"] == "int8"
    text = edgernn("inspect", folder / "run" / "model.int8.onnx").out
    assert "state.1.c" in text


def test_providers_lists_what_is_here_and_what_is_not(edgernn: Edgernn) -> None:
    result = {each["name"]: each for each in edgernn("providers", "--json").json}
    assert all(each.keys() == KEYS["providers"] for each in result.values())
    assert result["cpu"]["available"]
    assert any(not each["available"] and each["fix"] for each in result.values())
    assert "cpu" in edgernn("providers").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "RUN/model.onnx", "--prompt", "Ω"], "U+03A9"),
        (["generate", "RUN/model.onnx", "--provider", "warp"], "no provider is called warp"),
        (["generate", "RUN/model.onnx", "--provider", "qnn"], "provider qnn is not in this ONNX Runtime"),
        (["generate", "RUN/model.onnx", "--temperature", "-1"], "temperature must be 0"),
        (["generate", "RUN/model.onnx", "--seed", "-1"], "seed must lie in"),
        (["generate", "RUN/model.onnx", "--stop", "ab"], "is 2 tokens"),
        (["generate", "RUN/model.onnx", "--threads", "0"], "threads must lie in 1..256"),
        (["generate", "none.onnx"], "does not exist"),
        (["generate", "RUN"], "is a folder"),
        (["generate", "RUN/run.json"], "could not be loaded"),
        (["quantize", "RUN/model.int8.onnx"], "is int8 already"),
        (["quantize", "RUN/model.onnx", "--precision", "int8"], "exists"),
        (["export", "RUN"], "exists"),
        (["export", "nowhere"], "is no run folder"),
        (["train", "text", "--data", "none.txt", "-o", "new"], "could not be read"),
        (["train", "text", "-o", "new", "--learning-rate", "-1"], "learning_rate must be above 0"),
        (["train", "text", "-o", "nowhere", "--resume"], "holds no run"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_code_one(
    tmp_path: Path,
    folder: Path,
    edgernn: Edgernn,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgernn(*(each.replace("RUN", str(folder / "run")) for each in arguments))
    assert (result.code, result.out) == (1, "")
    assert one_line(result.err).startswith("error: ")
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [[], ["train"], ["export"], ["quantize", "m.onnx", "--precision", "int3"], ["fly"]]
)
def test_wrong_usage_is_code_two(edgernn: Edgernn, arguments: list[str]) -> None:
    assert edgernn(*arguments).code == 2


def test_debug_shows_the_traceback_too(edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERNN_DEBUG", "")
    result = edgernn("--debug", "generate", "none.onnx")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1] == "error: none.onnx does not exist"


def test_data_shorter_than_the_steps_asked_for_is_fed_again(folder: Path, edgernn: Edgernn) -> None:
    run = folder / "run"
    result = edgernn("verify", run / "model.onnx", "--against", run, "--steps", 500, "--json")
    assert result.json["steps"] == 500
    assert "are fed again until there are 500" in result.err


def test_a_run_replaces_no_file_of_the_users(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    (tmp_path / "valid.npz").write_text("mine")
    result = edgernn("train", "text", "--data", folder / "text.txt", "-o", tmp_path, "--max-steps", 1)
    assert result.code == 1
    assert "valid.npz exists" in one_line(result.err)
    assert (tmp_path / "valid.npz").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["valid.npz"]


def test_a_model_replaces_no_other_file_and_never_its_source(folder: Path, edgernn: Edgernn) -> None:
    run = folder / "run"
    weights, model = run / "model.safetensors", run / "model.onnx"
    before = weights.read_bytes(), model.read_bytes()
    assert "must end in .onnx" in edgernn("export", run, "-o", weights, "--force").err
    assert "would be replaced by its quantized form" in edgernn("quantize", model, "-o", model, "--force").err
    assert (weights.read_bytes(), model.read_bytes()) == before


def test_a_damaged_model_leaves_stdout_clean(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    content = bytearray((folder / "run" / "model.onnx").read_bytes())
    for at in range(60, len(content), 97):
        content[at] ^= 0x11
    (tmp_path / "m.onnx").write_bytes(content)
    for command in (["generate"], ["inspect"], ["profile"], ["verify", "--against", folder / "run"], ["quantize"]):
        result = edgernn(command[0], tmp_path / "m.onnx", *command[1:])
        assert (result.code, result.out) == (1, "")
        assert one_line(result.err).startswith("error: ")


def test_a_name_in_brackets_is_printed_as_it_is(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    model = tmp_path / "m[red][b].onnx"
    model.write_bytes((folder / "run" / "model.onnx").read_bytes())
    result = edgernn("profile", model, "--steps", 20)
    assert result.code == 0
    assert "m[red][b].onnx" in result.out


def test_a_resume_that_fails_changes_nothing(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    result = edgernn("train", "text", "-o", run, "--resume", "--max-steps", 5000)
    assert result.code == 1
    assert "is damaged" in one_line(result.err)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_without_a_checkpoint_yet_resumes_from_its_start(tmp_path: Path, folder: Path, edgernn: Edgernn) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(folder / "run" / "run.json", run)
    assert edgernn("train", "text", "-o", run, "--resume").code == 0
    assert (run / "model.safetensors").read_bytes() == (folder / "run" / "model.safetensors").read_bytes()
    before, after = (Recording.load(each / "valid.npz") for each in (run, folder / "run"))
    assert before.inputs["token"].tolist() == after.inputs["token"].tolist()
