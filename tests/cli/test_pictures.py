"""Pictures from the command line: trained, exported, quantized, verified, drawn; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgernn.cli import main
from edgernn.tasks.pictures import digits
from edgernn_runtime.png import grey_png

Edgernn = Callable[..., Any]

TINY = ("--hidden", 12, "--max-steps", 12, "--valid-every", 6, "--batch", 16, "--threads", 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind of picture, exported: `pixels`, `rows` and `vae`."""
    folder = tmp_path_factory.mktemp("pictures")
    commands = {
        "pixels": ("image",),
        "rows": ("image", "--order", "rows"),
        "vae": ("vae", "--latent", 4),
    }
    for name, task in commands.items():
        for arguments in (("train", *task, *TINY, "-o", folder / name), ("export", folder / name)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["edgernn", *map(str, arguments)])
                with pytest.raises(SystemExit) as end:
                    main()
            assert end.value.code == 0
    (folder / "digit.png").write_bytes(grey_png(digits().greys[5]))
    return folder


MODELS = {"pixels": "model.onnx", "rows": "bundle", "vae": "bundle"}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_pictures_goes_the_whole_road(runs: Path, tmp_path: Path, edgernn: Edgernn, name: str) -> None:
    model, target = runs / name / MODELS[name], tmp_path / MODELS[name]
    quantized = edgernn("quantize", model, "--precision", "int8", "-o", target, "--max-tokens", 500, "--json").json
    assert quantized["quality"]["metric"] == ("snr_db" if name == "vae" else "perplexity")
    assert quantized["bytes_after"] < quantized["bytes_before"]
    exact = edgernn("verify", model, "--against", runs / name, "--steps", 300, "--json").json
    assert exact["passed"]
    assert exact["free_running"]["agreement"] == 1
    rounded = edgernn("verify", target, "--against", runs / name, "--steps", 300, "--max-drift", 10, "--json").json
    assert 0 < rounded["teacher_forced"]["max_abs"] < 10
    profiled = edgernn("profile", model, target, "--steps", 20, "--json").json["models"]
    assert [str(model), str(target)] == [each["path"] for each in profiled]
    drawn = edgernn("generate", target, "--count", 3, "-o", tmp_path / "drawn.png", "--scale", 1)
    assert drawn.code == 0
    assert (3 * 8 + 2, 8) == Image.open(tmp_path / "drawn.png").size


def test_a_stage_of_a_bundle_is_verified_by_itself(runs: Path, edgernn: Edgernn) -> None:
    encoder = runs / "vae" / "bundle" / "encode.onnx"
    found = edgernn("verify", encoder, "--against", runs / "vae", "--steps", 50, "--json")
    assert found.json["passed"]
    assert "random" not in found.err


def test_what_is_in_a_bundle_is_shown(runs: Path, edgernn: Edgernn) -> None:
    text = edgernn("inspect", runs / "vae" / "bundle").out
    assert "once, at the beginning" in text
    assert "encode.mean -> begin.latent" in text
    found = edgernn("inspect", runs / "rows" / "bundle", "--json").json
    assert {"row": 8, "pixel": 1} == {name: stage["every"] for name, stage in found["stages"].items()}
    assert {"row", "pixel"} == found["models"].keys()


def test_a_class_is_asked_for_and_a_seed_draws_the_same_again(runs: Path, edgernn: Edgernn) -> None:
    model = runs / "pixels" / "model.onnx"
    pictures = [edgernn("generate", model, "--set", f"class={kind}", "--seed", 4).out for kind in (3, 3, 4)]
    assert pictures[0] == pictures[1] != pictures[2]
    assert 8 == len(pictures[0].strip("\n").splitlines())


def test_json_has_an_object_for_each_picture_and_a_summary(runs: Path, edgernn: Edgernn) -> None:
    outcome = edgernn("generate", runs / "pixels" / "model.onnx", "--set", "class=1,2", "--json")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [{"picture": i, "inputs": {"class": i + 1}} for i in range(2)] == lines[:2]
    assert (2, 128, 0) == tuple(lines[2][key] for key in ("pictures", "tokens", "seed"))


def test_the_upper_half_of_a_given_picture_stays(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    options = ("--given", runs / "digit.png", "--keep", 0.5, "--scale", 1, "-o", tmp_path / "drawn.png")
    assert edgernn("generate", runs / "pixels" / "model.onnx", *options).code == 0
    drawn, given = (np.asarray(Image.open(path)) for path in (tmp_path / "drawn.png", runs / "digit.png"))
    assert np.abs(drawn[:4].astype(int) - given[:4]).max() <= 9  # the greys of 16 levels
    assert np.abs(drawn[4:].astype(int) - given[4:]).max() > 9


def test_transparent_pixels_are_drawn(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    picture = Image.open(runs / "digit.png").convert("LA")
    holed = np.asarray(picture).copy()
    holed[:, 4:, 1] = 0
    Image.fromarray(holed, "LA").save(tmp_path / "holed.png")
    options = ("--given", tmp_path / "holed.png", "--scale", 1, "-o", tmp_path / "drawn.png")
    assert edgernn("generate", runs / "pixels" / "model.onnx", *options).code == 0
    drawn = np.asarray(Image.open(tmp_path / "drawn.png")).astype(int)
    assert np.abs(drawn[:, :4] - holed[:, :4, 0]).max() <= 9


def test_pictures_are_encoded_and_gone_between(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    ends = ("--encode", runs / "digit.png", "--encode", runs / "digit.png")
    found = edgernn("generate", runs / "vae" / "bundle", *ends, "--count", 4, "-o", tmp_path / "p.png", "--scale", 1)
    assert found.code == 0
    drawn = np.asarray(Image.open(tmp_path / "p.png"))
    assert (drawn[:, :8] == drawn[:, 27:]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "RUNS/pixels/model.onnx", "--set", "class=10"], "class must lie in 0..9"),
        (["generate", "RUNS/pixels/model.onnx", "--set", "class=1.5"], "class must be an integer"),
        (["generate", "RUNS/vae/bundle", "--set", "latent=1"], "latent must be float32[4]"),
        (["generate", "RUNS/pixels/model.onnx", "--set", "kind=1"], "no input kind to set; it has class"),
        (["generate", "RUNS/pixels/model.onnx", "--set", "class"], "must read NAME=NUMBER"),
        (["generate", "RUNS/pixels/model.onnx", "--given", "RUNS/digit.png"], "is given; make some transparent"),
        (["generate", "RUNS/pixels/model.onnx", "--given", "none.png"], "none.png is no picture that can be read"),
        (["generate", "RUNS/pixels/model.onnx", "--encode", "RUNS/digit.png"], "has no encoder"),
        (["generate", "RUNS/pixels/model.onnx", "--prompt", "x"], "--prompt means nothing to a model that makes"),
        (["generate", "RUNS/rows/bundle", "--encode", "RUNS/digit.png"], "has no encoder"),
        (["generate", "RUNS/vae/bundle", "--given", "RUNS/digit.png", "--keep", "0.5"], "pixel by pixel"),
        (["generate", "RUNS/vae"], "is a folder without a bundle.json"),
        (["verify", "RUNS/vae/bundle/encode.onnx", "--against", "RUNS/pixels"], "differ in their inputs"),
        (
            ["quantize", "RUNS/vae/bundle", "-o", "RUNS/vae/bundle", "--force"],
            "would be replaced by its quantized form",
        ),
        (["export", "RUNS/vae"], "exists"),
        (["train", "image", "--data", "none", "-o", "new"], "none is no folder"),
        (["train", "image", "--resume", "-o", "RUNS/vae"], "holds a run of the task vae"),
        (["train", "vae", "--latent", "0", "-o", "new"], "--latent"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    runs: Path, tmp_path: Path, edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgernn(*(each.replace("RUNS", str(runs)) for each in arguments))
    assert result.code in (1, 2)
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_are_all_alike_train_nothing(tmp_path: Path, edgernn: Edgernn) -> None:
    (tmp_path / "data").mkdir()
    for i in range(12):
        (tmp_path / "data" / f"{i}.png").write_bytes(grey_png(np.full((8, 8), 7, np.uint8)))
    for task in ("image", "vae"):
        result = edgernn("train", task, "--data", tmp_path / "data", "-o", tmp_path / "run")
        assert (result.code, result.out) == (1, "")
        assert "all pictures are alike" in result.err
    assert ["data"] == [path.name for path in tmp_path.iterdir()]


def test_the_tasks_are_listed(edgernn: Edgernn) -> None:
    names = [task["name"] for task in edgernn("tasks", "--json").json]
    assert {"text", "image", "vae"} <= set(names)
    assert "text" in edgernn("tasks").out
    result = edgernn("train", "cooking", "-o", "run")
    assert result.code == 2
    assert "No such command 'cooking'" in result.err
