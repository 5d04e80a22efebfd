"""Forecasts, decisions and plain frames from the command line, and what is refused."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn.cli import main
from edgernn.models import FrameModel
from edgernn_export import export

Edgernn = Callable[..., Any]

TINY = ("--hidden", 8, "--max-steps", 4, "--valid-every", 2, "--batch", 4, "--threads", 1)
SEASON = 6


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each task, exported: `series` on a CSV, `classify` on digits; and `walk.onnx`, which draws frames."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(120) * 2 * np.pi / SEASON) + 0.1 * rng.standard_normal(120)
    rows = [[step, "" if step % 9 == 4 else f"{value:.4f}"] for step, value in enumerate(values)]
    with (folder / "waves.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["step", "height"], *rows])
    commands = {
        "series": ("series", "--data", folder / "waves.csv", "--season", SEASON, "--window", 12),
        "deleted": ("series", "--data", folder / "waves.csv", "--season", SEASON, "--window", 12, "--gaps", "delete"),
        "classify": ("classify", "--dataset", "digits"),
    }
    for name, task in commands.items():
        for arguments in (("train", *task, *TINY, "-o", folder / name), ("export", folder / name)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["edgernn", *map(str, arguments)])
                with pytest.raises(SystemExit) as end:
                    main()
            assert end.value.code == 0
    torch.manual_seed(0)
    sizes = {"hidden": 6, "layers": 1, "output": (2, 2)}
    walk = FrameModel("gru", mean=[0.0] * 2, deviation=[1.0] * 2, distribution="gaussian", generative=True, **sizes)
    export(walk.eval(), folder / "walk.onnx")
    return folder


def test_a_forecast_is_a_table_of_quantiles_a_line_a_step(runs: Path, edgernn: Edgernn) -> None:
    given = ("--given", runs / "waves.csv", "--horizon", 5, "--count", 20)
    outcome = edgernn("generate", runs / "series" / "model.onnx", *given)
    lines = list(csv.reader(io.StringIO(outcome.out)))
    assert ["step", "height 5%", "height 25%", "height 50%", "height 75%", "height 95%"] == lines[0]
    numbers = np.array(lines[1:], float)
    assert [1, 2, 3, 4, 5] == numbers[:, 0].tolist()
    assert (np.diff(numbers[:, 1:], axis=1) >= 0).all()
    again = edgernn("generate", runs / "series" / "model.onnx", *given)
    other = edgernn("generate", runs / "series" / "model.onnx", *given, "--seed", 1)
    assert outcome.out == again.out != other.out


def test_what_is_kept_back_of_a_series_is_as_far_as_the_forecast_goes(
    runs: Path, tmp_path: Path, edgernn: Edgernn
) -> None:
    model, picture = runs / "series" / "model.onnx", tmp_path / "forecast.png"
    options = ("--given", runs / "waves.csv", "--keep", 0.9, "--count", 5)
    assert edgernn("generate", model, *options, "-o", picture).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in edgernn("generate", model, *options, "--json").out.splitlines()]
    assert [*range(1, 13)] == [line["step"] for line in lines[:-1]]
    assert {"tokens": 12, "seed": 0, "samples": 5} == {key: lines[-1][key] for key in ("tokens", "seed", "samples")}
    assert edgernn("generate", model, *options, "-o", tmp_path / "forecast.csv").code == 0
    assert 13 == len((tmp_path / "forecast.csv").read_text().splitlines())


def test_a_forecast_goes_on_from_what_the_run_holds_out(runs: Path, edgernn: Edgernn) -> None:
    outcome = edgernn("generate", runs / "series" / "model.onnx", "--horizon", 2, "--count", 3)
    assert (0, 3) == (outcome.code, len(outcome.out.splitlines()))
    deleted = edgernn("generate", runs / "deleted" / "model.onnx", "--horizon", 2)
    assert (1, "") == (deleted.code, deleted.out)
    assert "with --given" in deleted.err


def test_a_decision_is_shown_at_every_step(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    model = runs / "classify" / "model.onnx"
    assert 9 == len(edgernn("generate", model).out.splitlines())  # a heading, and eight rows of a digit
    np.save(tmp_path / "frames.npy", np.zeros((3, 8), np.float32))
    options = ("--given", tmp_path / "frames.npy", "-o", tmp_path / "decision.png")
    lines = [json.loads(line) for line in edgernn("generate", model, *options, "--json").out.splitlines()]
    assert [1, 2, 3] == [line["step"] for line in lines[:-1]]
    assert lines[-2]["label"] == lines[-1]["label"]
    assert (tmp_path / "decision.png").read_bytes().startswith(b"\x89PNG")


def test_frames_without_a_meaning_are_numbers(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    options = ("--max-tokens", 4, "--seed", 3, "--temperature", 1)
    printed = edgernn("generate", runs / "walk.onnx", *options).out
    assert edgernn("generate", runs / "walk.onnx", *options, "-o", tmp_path / "walk.npy").code == 0
    frames = np.load(tmp_path / "walk.npy")
    assert (4, 2) == frames.shape
    np.testing.assert_allclose(np.loadtxt(io.StringIO(printed)), frames, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["series/model.onnx", "--given", "none.csv"], "none.csv"),
        (["series/model.onnx", "--given", "RUNS/waves.csv", "--keep", "0"], "too short"),
        (["series/model.onnx", "--given", "RUNS/waves.csv", "-o", "out.txt"], "as .png or .csv"),
        (["series/model.onnx", "--prompt", "x"], "--prompt means nothing to a model that makes forecasts"),
        (["classify/model.onnx", "--given", "none.npy"], "none.npy could not be read"),
        (["classify/model.onnx", "--given", "RUNS/waves.csv"], "waves.csv is no .npy"),
        (["classify/model.onnx", "--temperature", "1"], "--temperature means nothing to a model that makes decisions"),
        (["walk.onnx", "--set", "other=1"], "other"),
        (["walk.onnx", "-o", "RUNS/waves.csv"], "exists"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    runs: Path, tmp_path: Path, edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model, *options = arguments
    result = edgernn("generate", runs / model, *(each.replace("RUNS", str(runs)) for each in options))
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []
