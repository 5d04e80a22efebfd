"""`edgernn quantize`: what it writes, prints and measures, the gates, and what is refused."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgernn.cli.budget import read_budget
from edgernn_export import Recording
from edgernn_export.quality import MetricName
from edgernn_runtime import load
from edgernn_runtime.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import FEW, call, files, one_line, without_torch

Edgernn = Callable[..., Any]

KEYS = {
    "path", "precision", "method", "bytes_before", "bytes_after", "quantized_nodes", "quality", "drift", "relowered",
    "calibration", "sensitivities", "frontier", "float_p50_us", "left", "unjudged",
}  # fmt: skip
QUALITY_KEYS = {"metric", "before", "after", "relative", "interval", "upper", "kl_nats", "max_abs", "steps"}

MODULES = """import torch
from torch import nn

torch.manual_seed(3)

class Masker(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 32, batch_first=True)
        self.mask = nn.Linear(32, 8)

    def forward(self, x):
        return x * self.mask(self.rnn(x)[0]).sigmoid()

class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 32)

    def forward(self, x):
        return self.head(x.cumsum(1))

masker, summed = Masker(), Summed()
"""

CALIBRATED = ("--data", "LIFTED/frames.npy", "--calibration")

METRICS = """import numpy as np
from edgernn_export.likelihood import step_nats
from edgernn_export.outputs import outputs_along

def steps(engine, recording):
    return step_nats(engine.spec, outputs_along(engine, recording), recording)

def mean(engine, recording):
    return float(steps(engine, recording).mean())

def broken(engine, recording):
    raise LookupError("there is no reference for\\nthis recording")

def word(engine, recording):
    return "good"

def square(engine, recording):
    return np.ones((3, 3))

def nothing(engine, recording):
    return np.zeros(0)

number = 3
"""


@pytest.fixture(scope="module")
def lifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lifted models, `masker.onnx` and `summed.onnx`, and frames: `rising.npy`, and `frames.npy` for both."""
    folder = tmp_path_factory.mktemp("lifted")
    (folder / "listeners.py").write_text(MODULES)
    rng = np.random.default_rng(0)
    np.save(folder / "frames.npy", rng.normal(size=(1200, 8)).astype(np.float32))
    np.save(folder / "rising.npy", rng.random((1200, 8), np.float32))
    np.save(folder / "wide.npy", np.zeros((1200, 9), np.float32))
    np.save(folder / "short.npy", np.ones((255, 8), np.float32))
    np.save(folder / "nan.npy", np.where(np.arange(600)[:, None] == 300, np.nan, np.ones((1, 8))).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        for name in ("masker", "summed"):
            call("export", f"listeners:{name}", "--example", "x=float32[B,T,8]")
    sys.modules.pop("listeners", None)
    return folder


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current folder that holds metrics."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "judges.py").write_text(METRICS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "judges"
    sys.modules.pop("judges", None)


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_int8_is_the_default_and_lies_beside_the_model(run: Path, edgernn: Edgernn) -> None:
    before = files(run)
    result = edgernn("quantize", run / "model.onnx", *FEW)
    assert (result.code, result.err.strip()) == (0, "")
    assert files(run) - before == {"model.int8.onnx"}
    first, quality, drift = result.out.splitlines()
    assert first.startswith(f"{run / 'model.int8.onnx'}: {(run / 'model.int8.onnx').stat().st_size:,} bytes (0.")
    assert "4 weight matrices quantized, largest weight error" in first
    assert quality.startswith("perplexity ")
    assert "95% interval" in quality
    assert quality.endswith("on 401 steps")
    assert drift.startswith("drift over 401 steps: largest difference")
    assert drift.endswith("nats a step")
    assert len(load(run / "model.int8.onnx").stream().run(np.zeros(3, np.int64))) == 3


@pytest.mark.parametrize(
    ("precision", "stored", "operator"),
    [
        ("int8", "int8", "MatMulNBits"),
        ("int4", "int4", "MatMulNBits"),
        ("int8-portable", "int8-portable", "DequantizeLinear"),
        ("fp16", "fp16", "Cast"),
    ],
)
def test_every_precision_prints_its_report(
    run: Path, edgernn: Edgernn, precision: str, stored: str, operator: str
) -> None:
    target = run / f"model.{precision}.onnx"
    result = edgernn("quantize", run / "model.onnx", "--precision", precision, *FEW, "--json").json
    assert result.keys() == KEYS
    assert result["path"] == str(target)
    assert result["precision"] == precision == load(target).spec.precision
    assert result["bytes_before"] == (run / "model.onnx").stat().st_size
    assert result["bytes_after"] == target.stat().st_size < 0.8 * result["bytes_before"]
    assert stored in {node["format"] for node in result["quantized_nodes"]}
    assert all(node.keys() == {"name", "shape", "format", "max_error"} for node in result["quantized_nodes"])
    assert operator in operators(target)
    quality = result["quality"]
    assert quality.keys() == QUALITY_KEYS
    assert (quality["metric"], quality["steps"]) == ("perplexity", 401)
    assert quality["after"] == pytest.approx(quality["before"] * (1 + quality["relative"]))
    assert quality["interval"][0] <= quality["relative"] <= quality["interval"][1]
    assert result["drift"].keys() >= {"steps", "max_abs", "mean_abs", "kl_nats"}
    assert 0 < result["drift"]["max_abs"] == pytest.approx(quality["max_abs"])
    assert result["calibration"]["steps"] == len(Recording.load(run / "calibration.npz"))
    assert (result["sensitivities"], result["frontier"], result["float_p50_us"]) == ([], [], None)


def test_every_method_rounds_otherwise(run: Path, edgernn: Edgernn) -> None:
    contents = set()
    for method in ("gptq", "clipped", "hqq", "nearest"):
        target = run / f"{method}.onnx"
        arguments = ("--precision", "int4", "--method", method, "-o", target, *FEW)
        result = edgernn("quantize", run / "model.onnx", *arguments, "--json").json
        assert result["method"] == method
        assert result["quality"]["relative"] < 0.1
        contents.add(target.read_bytes())
    assert len(contents) == 4
    edgernn("quantize", run / "model.onnx", "--precision", "int4", "-o", run / "default.onnx", *FEW)
    assert (run / "default.onnx").read_bytes() == (run / "gptq.onnx").read_bytes()


def test_what_is_named_calibrates(run: Path, edgernn: Edgernn) -> None:
    codec = load(run / "model.onnx").spec.text_codec
    assert codec is not None
    text = "liquor jugs of the naïve café; " * 20
    (run / "more.txt").write_text(text, encoding="utf-8")
    Recording.of_tokens("token", codec.encode(text)[:301]).save(run / "more.npz")
    kept = Recording.load(run / "calibration.npz")
    contents = {}
    for name, steps in ((None, len(kept)), ("more.txt", len(text) - 1), ("more.npz", 300)):
        target = run / f"{name}.onnx"
        named = () if name is None else ("--calibration", run / name)
        arguments = ("--precision", "int4", *named, "-o", target, *FEW, "--json")
        result = edgernn("quantize", run / "model.onnx", *arguments)
        assert result.json["calibration"]["steps"] == steps
        assert result.json["quality"]["steps"] == 401
        assert result.err.strip() == ""
        contents[name] = target.read_bytes()
    assert len(set(contents.values())) == 3


def test_without_training_data_the_first_half_calibrates_and_the_other_is_measured_on(
    trained: Path, alone: Path, edgernn: Edgernn
) -> None:
    result = edgernn("quantize", alone, "--data", trained / "text.txt", *FEW, "--json")
    assert one_line(result.err) == (
        "no --calibration was given, and the model's run keeps none: the first 300 steps calibrate, "
        "and the other 300 are measured on"
    )
    assert (result.json["calibration"]["steps"], result.json["quality"]["steps"]) == (300, 300)


FREE = [
    ("--precision", "fp16"),
    ("--precision", "fp16", "--method", "hqq", "--sensitivity"),
    ("--method", "nearest"),
    ("--precision", "int4", "--method", "hqq"),
    ("--precision", "mixed", "--method", "nearest", "--max-loss", "0dB"),
]
BOUND = [
    ("--precision", "fp16", "--sensitivity"),
    ("--method", "clipped"),
    ("--precision", "int4"),
    ("--precision", "int8-portable", "--method", "nearest"),
    ("--precision", "mixed", "--max-loss", "0dB"),
]


@pytest.mark.parametrize("settings", FREE)
def test_nothing_is_halved_where_nothing_must_be_calibrated(
    lifted: Path, tmp_path: Path, edgernn: Edgernn, settings: tuple[str, ...]
) -> None:
    arguments = (
        "quantize",
        lifted / "masker.onnx",
        *settings,
        "--data",
        lifted / "short.npy",
        "-o",
        tmp_path / "m.onnx",
    )
    result = edgernn(*arguments, "--json")
    assert (result.json["calibration"], result.json["quality"]["steps"], result.err.strip()) == (None, 255, "")
    named = edgernn(*arguments, "--calibration", lifted / "frames.npy", "--force", "--json").json
    assert (named["calibration"]["steps"], named["quality"]["steps"]) == (1200, 255)
    refused = edgernn(*arguments, "--calibration", lifted / "short.npy", "--force")
    assert (refused.code, "256 steps at least, got 255" in refused.err) == (1, True)


@pytest.mark.parametrize("settings", BOUND)
def test_what_must_be_calibrated_takes_half(
    lifted: Path, tmp_path: Path, edgernn: Edgernn, settings: tuple[str, ...]
) -> None:
    arguments = ("quantize", lifted / "masker.onnx", *settings, "-o", tmp_path / "m.onnx", "--data")
    assert "there are 255 steps to calibrate and to measure on" in edgernn(*arguments, lifted / "short.npy").err
    result = edgernn(*arguments, lifted / "frames.npy", "--json").json
    assert (result["calibration"]["steps"], result["quality"]["steps"]) == (600, 600)


def test_a_run_that_keeps_too_little_still_gives_what_needs_no_calibration(run: Path, edgernn: Edgernn) -> None:
    Recording.load(run / "calibration.npz").head(255).save(run / "calibration.npz", overwrite=True)
    result = edgernn("quantize", run / "model.onnx", "--precision", "fp16", *FEW, "--json").json
    assert (result["calibration"], result["quality"]["steps"]) == (None, 401)
    refused = edgernn("quantize", run / "model.onnx", *FEW)
    assert (refused.code, "256 steps at least, got 255" in refused.err) == (1, True)


def test_random_inputs_are_measured_on_but_promise_nothing(lifted: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", lifted / "masker.onnx", *FEW, "-o", tmp_path / "m.onnx")
    plain = edgernn(*arguments)
    assert plain.code == 0
    assert "no --data was given, and there is no valid.npz: inputs are random, 600 steps" in plain.err
    (tmp_path / "m.onnx").unlink()
    for settings in ((), ("--precision", "mixed"), ("--calibration", lifted / "frames.npy")):
        result = edgernn(*arguments, "--max-loss", "0dB", *settings)
        assert (result.code, result.out) == (1, "")
        assert one_line(result.err).endswith("give the data to measure on with --data FILE")
        assert files(tmp_path) == set()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--max-loss", "abc"), "--max-loss must read like 0.5%, 0.005 or 35dB, got abc"),
        (("--max-loss", "-1%"), "--max-loss must be 0 or more, and finite, got -1%"),
        (("--precision", "mixed"), "give one with --max-loss, as in 0.5%"),
        (("--expand", "--precision", "int8-portable"), "--expand is not for int8-portable weights"),
        (("--max-drift", "inf"), "--max-drift must be finite, got inf"),
    ],
)
def test_settings_are_checked_before_data_are_read(
    lifted: Path, tmp_path: Path, edgernn: Edgernn, settings: tuple[str, ...], message: str
) -> None:
    for data in ((), ("--data", "none.npy")):
        result = edgernn("quantize", lifted / "masker.onnx", *settings, *data, "-o", tmp_path / "m.onnx")
        assert (result.code, result.out) == (1, "")
        assert message in one_line(result.err)


def test_quantizing_and_comparing_models_needs_no_torch(frame_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((600, 5), np.float32))
    target = tmp_path / "m.onnx"
    for arguments in (
        ("quantize", frame_path, "-o", target, "--data", tmp_path / "frames.npy"),
        ("verify", target, "--against", frame_path, "--data", tmp_path / "frames.npy", "--steps", 600),
    ):
        done = without_torch("from edgernn.cli import main; main()", *arguments)
        assert done.returncode == 0, done.stderr
    assert load(target).spec.precision == "int8"


def test_a_metric_of_ones_own_is_measured(run: Path, metrics: str, edgernn: Edgernn) -> None:
    found = {}
    for name in ("steps", "mean"):
        arguments = ("--metric", f"{metrics}:{name}", "--precision", "int4", "-o", run / f"{name}.onnx", *FEW)
        result = edgernn("quantize", run / "model.onnx", *arguments, "--json").json["quality"]
        assert result["metric"] == "custom"
        found[name] = result
    plain = edgernn("quantize", run / "model.onnx", "--precision", "int4", *FEW, "--json").json["quality"]
    assert found["mean"]["before"] == pytest.approx(np.log(plain["before"]))
    assert found["mean"]["after"] == pytest.approx(np.log(plain["after"]))
    assert found["steps"]["relative"] == pytest.approx(found["mean"]["relative"])
    assert found["steps"]["relative"] == pytest.approx(found["steps"]["after"] / found["steps"]["before"] - 1)
    assert found["mean"]["interval"] is None
    low, high = found["steps"]["interval"]
    assert low < found["steps"]["relative"] < high
    gate = edgernn("quantize", run / "model.onnx", *arguments, "--max-loss", "0", "--force")
    assert gate.code == 3


def test_a_budget_is_a_share_a_percentage_or_decibels() -> None:
    assert read_budget("0.5%").loss_for("perplexity") == pytest.approx(0.005)
    assert read_budget(" 0.5 % ").loss_for("nats") == pytest.approx(0.005)
    assert read_budget("0.005").loss_for("custom") == 0.005
    assert read_budget("0").loss_for("perplexity") == 0
    for text in ("35dB", "35 dB", "35db", "35DB"):
        assert read_budget(text).loss_for("snr_db") == pytest.approx(10**-3.5)
    assert read_budget("1%").loss_for("snr_db") == 0.01


@pytest.mark.parametrize("metric", ["perplexity", "nats", "custom"])
def test_decibels_are_for_signals(metric: MetricName) -> None:
    with pytest.raises(InputError, match=f"^--max-loss 35dB is for signals.* measured by its {metric}$"):
        read_budget("35dB").loss_for(metric)


@pytest.mark.parametrize("text", ["", "%", "dB", "5%%", "five", "35dBm", "-1%", "-0.001", "nan", "inf", "-9999dB"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--max-loss must .*, got "):
        read_budget(text)


@pytest.mark.parametrize("spelling", ["50%", "0.5"])
def test_a_loss_within_the_budget_is_written(run: Path, edgernn: Edgernn, spelling: str) -> None:
    assert edgernn("quantize", run / "model.onnx", "--max-loss", spelling, "--max-drift", 9, *FEW).code == 0
    assert (run / "model.int8.onnx").is_file()


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (("--max-loss", "0.001%"), "and +"),
        (("--max-loss", "0.00001"), "nothing was written"),
        (("--max-drift", "1e-4"), "the limit is 0.0001, nothing was written"),
    ],
)
def test_a_gate_that_fails_is_code_three_and_no_file(
    run: Path, edgernn: Edgernn, gate: tuple[str, str], message: str
) -> None:
    before = files(run)
    arguments = ("--precision", "int4", *gate, "--report", run / "report", "--json", *FEW)
    result = edgernn("quantize", run / "model.onnx", *arguments)
    assert (result.code, result.out) == (3, "")
    assert one_line(result.err).startswith("error: ")
    assert message in result.err
    assert files(run) == before


def test_a_mix_prints_its_frontier_and_sensitivities(run: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", run / "model.onnx", "--precision", "mixed", "--max-loss", "0.5%", *FEW)
    text = edgernn(*arguments)
    assert text.code == 0, text.err
    assert (run / "model.mixed.onnx").is_file()
    lines = text.out.splitlines()
    assert any(line.startswith("rounded alone ") for line in lines)
    assert sum(line.startswith("chosen ") for line in lines) == 1
    assert sum(line.startswith("source ") for line in lines) == 1
    result = edgernn(*arguments, "--force", "--json").json
    assert result["quality"]["upper"] <= 0.005
    (chosen,) = (point for point in result["frontier"] if point["chosen"])
    assert chosen["bytes"] == result["bytes_after"] == (run / "model.mixed.onnx").stat().st_size
    assert chosen["formats"] == {
        name: next((node["format"] for node in result["quantized_nodes"] if node["name"] == name), "float32")
        for name in chosen["formats"]
    }
    assert f"[1] {next(iter(chosen['formats']))}" in lines
    sizes = [point["bytes"] for point in result["frontier"]]
    assert sizes == sorted(sizes)
    assert all(point["p50_us"] > 0 for point in result["frontier"])
    assert result["float_p50_us"] > 0
    assert len(result["sensitivities"]) == 5


def test_a_mix_that_no_budget_allows_is_code_three(lifted: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    arguments = ("--data", lifted / "frames.npy", "--precision", "mixed", "--max-loss", "0", "-o", tmp_path / "m.onnx")
    result = edgernn("quantize", lifted / "masker.onnx", *arguments)
    assert (result.code, result.out) == (3, "")
    assert "error: no mix of precisions keeps the loss within 0%; the nearest" in result.err
    assert files(tmp_path) == set()


def test_what_each_matrix_costs_alone_is_printed_if_asked(run: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", run / "model.onnx", "--precision", "int4", *FEW)
    assert "rounded alone" not in edgernn(*arguments).out
    text = edgernn(*arguments, "--sensitivity", "--force").out
    result = edgernn(*arguments, "--sensitivity", "--force", "--json").json
    assert result["frontier"] == []
    assert len(result["sensitivities"]) == 5
    for each in result["sensitivities"]:
        assert each.keys() == {"weight", "part", "format", "relative", "kl_nats"}
        assert f"{each['kl_nats']:.2e}" in text
        assert each["part"] in text


def test_expanded_weights_are_small_in_the_file_alone(run: Path, edgernn: Edgernn) -> None:
    target = run / "model.int4.onnx"
    result = edgernn("quantize", run / "model.onnx", "--precision", "int4", "--expand", *FEW, "--json").json
    assert "MatMulNBits" not in operators(target)
    assert target.stat().st_size < 0.6 * result["bytes_before"]
    assert load(target).spec.weight_bytes == load(run / "model.onnx").spec.weight_bytes


def test_a_report_is_a_folder_of_figures_and_plots(run: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", run / "model.onnx", *FEW)
    result = edgernn(*arguments, "--report", run / "report", "--json")
    assert one_line(result.err) == f"the report lies in {run / 'report'}"
    assert files(run / "report") == {"quantization.json", "drift.png", "drift.html", "drift.json"}
    assert json.loads((run / "report" / "quantization.json").read_text()) == result.json
    drift = json.loads((run / "report" / "drift.json").read_text())
    assert drift["candidates"].keys() == {"int8"}
    assert (run / "report" / "drift.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kept", ["quantization.json", "drift.html"])
def test_a_report_that_exists_is_refused_before_any_work(alone: Path, edgernn: Edgernn, kept: str) -> None:
    report = alone.parent / "report"
    report.mkdir()
    (report / kept).write_text("mine")
    before = files(alone.parent)
    arguments = ("quantize", alone, "--data", "none.txt", "--report", report)
    result = edgernn(*arguments)
    assert (result.code, result.out) == (1, "")
    assert f"{kept} exists; choose another name, or replace it with --force" in one_line(result.err)
    assert files(alone.parent) == before
    assert "none.txt could not be read" in edgernn(*arguments, "--force").err


@pytest.mark.parametrize(("precision", "low", "high"), [("int8", 40, 80), ("int4", 30, 60), ("fp16", 70, 120)])
def test_signals_are_measured_in_decibels(
    lifted: Path, tmp_path: Path, edgernn: Edgernn, precision: str, low: float, high: float
) -> None:
    target = tmp_path / "m.onnx"
    arguments = ("quantize", lifted / "masker.onnx", "--precision", precision, "-o", target)
    result = edgernn(*arguments, "--data", lifted / "frames.npy")
    assert result.code == 0
    halved = "the first 600 steps calibrate, and the other 600 are measured on"
    assert (halved in result.err) == (precision != "fp16")
    sentence = next(line for line in result.out.splitlines() if line.startswith("signal-to-noise ratio"))
    printed = float(sentence.removeprefix("signal-to-noise ratio of the outputs ").split(" dB")[0])
    assert low < printed < high
    assert sentence.endswith("on 1,200 steps" if precision == "fp16" else "on 600 steps")
    quality = edgernn(*arguments, "--data", lifted / "frames.npy", "--force", "--json").json["quality"]
    assert (quality["metric"], quality["before"], quality["kl_nats"]) == ("snr_db", None, None)
    assert quality["after"] == pytest.approx(printed, abs=0.06)
    assert quality["relative"] == pytest.approx(10 ** (-quality["after"] / 10))


def test_a_budget_in_decibels_is_kept_or_ends_with_code_three(lifted: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", lifted / "masker.onnx", "--data", lifted / "frames.npy", "-o", tmp_path / "m.onnx")
    assert edgernn(*arguments, "--max-loss", "90dB").code == 3
    assert files(tmp_path) == set()
    assert edgernn(*arguments, "--max-loss", "20dB").code == 0
    assert files(tmp_path) == {"m.onnx"}


def test_a_state_that_grows_is_warned_of(lifted: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    arguments = ("quantize", lifted / "summed.onnx", "--data", lifted / "rising.npy", "-o", tmp_path / "m.onnx")
    result = edgernn(*arguments, "--json")
    assert result.json["calibration"]["growing"] == ["state.cumsum.total"] == list(result.json["calibration"]["states"])
    assert "warning: state.cumsum.total kept growing while the model was calibrated" in result.err
    still = edgernn(*arguments, "--calibration", lifted / "frames.npy", "--force")
    assert "warning" not in still.err


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_bundle_becomes_another_folder(trained: Path, tmp_path: Path, edgernn: Edgernn, precision: str) -> None:
    run = Path(shutil.copytree(trained / "vae", tmp_path / "vae"))
    result = edgernn("quantize", run / "bundle", "--precision", precision, *FEW, "--json").json
    target = run / f"bundle.{precision}"
    assert result["path"] == str(target)
    assert files(target) == files(run / "bundle")
    assert {node["name"].split("/")[0] for node in result["quantized_nodes"]} == {"encode", "begin", "decode"}
    assert result["bytes_after"] == sum(path.stat().st_size for path in target.glob("*.onnx"))
    assert result["bytes_after"] < result["bytes_before"]
    assert {name.split("/")[0] for name in result["calibration"]["inputs"]} == {"encode", "begin", "decode"}
    assert load(target).spec.precision == precision


def test_a_folder_with_a_dot_in_its_name_keeps_it(trained: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    run = Path(shutil.copytree(trained / "vae", tmp_path / "vae"))
    (run / "bundle").rename(run / "bundle.v2")
    result = edgernn("quantize", run / "bundle.v2", *FEW, "--json").json
    assert result["path"] == str(run / "bundle.v2.int8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN/int8.onnx", "-o", "NEW"], "is int8 already; quantize the float32 model that it came from"),
        (["RUN/none.onnx", "-o", "NEW"], "none.onnx"),
        (["RUN/run.json", "-o", "NEW"], "run.json"),
        (["RUN", "-o", "NEW"], "is a folder without a bundle.json"),
        (["RUN/model.onnx", "-o", "RUN/int8.onnx"], "exists"),
        (["RUN/model.onnx", "-o", "RUN/model.txt"], "must end in .onnx"),
        (["RUN/model.onnx", "-o", "RUN/model.onnx", "--force"], "would be replaced by its quantized form"),
        (["RUN/model.onnx", "-o", "NEW", "--precision", "mixed"], "--precision mixed is searched within a budget"),
        (["RUN/model.onnx", "-o", "NEW", "--max-loss", "35dB"], "--max-loss 35dB is for signals"),
        (["RUN/model.onnx", "-o", "NEW", "--max-loss", "little"], "--max-loss must read like 0.5%, 0.005 or 35dB"),
        (["RUN/model.onnx", "-o", "NEW", "--max-loss", "-1%"], "--max-loss must be 0 or more"),
        (
            ["RUN/model.onnx", "-o", "NEW", "--precision", "int8-portable", "--expand"],
            "--expand is not for int8-portable",
        ),
        (["RUN/model.onnx", "-o", "NEW", "--data", "none.txt"], "none.txt could not be read"),
        (["RUN/model.onnx", "-o", "NEW", "--calibration", "none.txt"], "none.txt could not be read"),
        (["RUN/model.onnx", "-o", "NEW", "--calibration", "none.npz"], "none.npz could not be read"),
        (["RUN/model.onnx", "-o", "NEW", "--calibration", "short.txt"], "calibration needs 256 steps at least"),
        (["RUN/model.onnx", "-o", "NEW", "--calibration", "frames.npz"], "the model has no input x"),
        (["RUN/model.onnx", "-o", "NEW", "--report", "RUN/run.json"], "is a file, so"),
        (["alone.onnx", "-o", "NEW"], "give the text to measure on with --data FILE"),
        (["alone.onnx", "-o", "NEW", "--data", "short.txt"], "512 at least are needed"),
        (["LIFTED/masker.onnx", "-o", "NEW", "--data", "short.txt"], "is no .npy"),
        (["LIFTED/masker.onnx", "-o", "NEW", "--data", "LIFTED/wide.npy"], "must hold float32[steps, 8]"),
        (["LIFTED/masker.onnx", "-o", "NEW", "--data", "LIFTED/short.npy"], "there are 255 steps"),
        (["LIFTED/masker.onnx", "-o", "NEW", *CALIBRATED, "LIFTED/wide.npy"], "got float32[1200, 9]"),
        (["LIFTED/masker.onnx", "-o", "NEW", *CALIBRATED, "LIFTED/short.npy"], "256 steps at least, got 255"),
        (["LIFTED/masker.onnx", "-o", "NEW", *CALIBRATED, "LIFTED/nan.npy"], "x is NaN or infinite at step 300"),
        (["LIFTED/masker.onnx", "-o", "NEW", *CALIBRATED, "short.txt"], "short.txt"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges"], "must read package.module:attribute"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "nowhere:loss"], "nowhere cannot be imported"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:absent"], "judges has no absent"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:number"], "judges:number is no function"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:broken"], "the metric broken failed: LookupError: "),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:word"], "the metric word failed: ValueError: "),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:square"], "got an array of shape (3, 3)"),
        (["RUN/model.onnx", "-o", "NEW", "--metric", "judges:nothing"], "the metric gave no numbers"),
    ],
)
@pytest.mark.usefixtures("metrics")
def test_bad_input_is_one_line_on_stderr_and_nothing_is_written(
    lifted: Path, run: Path, edgernn: Edgernn, arguments: list[str], message: str
) -> None:
    here = Path.cwd()
    shutil.copy(run / "model.onnx", here / "alone.onnx")
    (here / "short.txt").write_text("the naïve café")
    Recording.of("x", np.zeros((300, 8), np.float32)).save(here / "frames.npz")
    if "RUN/int8.onnx" in arguments:
        assert edgernn("quantize", run / "model.onnx", "-o", run / "int8.onnx", *FEW).code == 0
    before = files(run.parent) | {str(here / "__pycache__")}
    places = {"RUN": run, "LIFTED": lifted, "NEW": here / "new.onnx"}
    for name, place in places.items():
        arguments = [each.replace(name, str(place)) for each in arguments]
    result = edgernn("quantize", *arguments)
    assert (result.code, result.out) == (1, "")
    assert one_line(result.err).startswith("error: ")
    assert message in result.err
    assert {name for name in files(run.parent) if "__pycache__" not in name} <= before


@pytest.mark.parametrize(
    "arguments", [["--precision", "int3"], ["--method", "magic"], ["--max-drift", "-1"], ["--max-tokens", "1"]]
)
def test_wrong_usage_is_code_two(run: Path, edgernn: Edgernn, arguments: list[str]) -> None:
    before = files(run)
    result = edgernn("quantize", run / "model.onnx", *arguments)
    assert (result.code, result.out) == (2, "")
    assert files(run) == before
