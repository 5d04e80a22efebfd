"""`edgernn export --lowering`: runs in both lowerings, and where the option is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgernn.cli import main

Edgernn = Callable[..., Any]

RECURRENT = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN", "elman-relu": "RNN"}
TINY = ("--hidden", 12, "--max-steps", 6, "--valid-every", 3, "--batch", 4, "--threads", 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text for each cell, and one of pictures in several stages: `vae`."""
    folder = tmp_path_factory.mktemp("lowering")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog; " * 40, encoding="utf-8")
    text = ("text", "--data", folder / "text.txt", "--segment", 8)
    tasks = {cell: (*text, "--cell", cell) for cell in RECURRENT} | {"vae": ("vae", "--latent", 3)}
    for name, task in tasks.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["edgernn", *map(str, ("train", *task, *TINY, "-o", folder / name))])
            with pytest.raises(SystemExit) as end:
                main()
        assert end.value.code == 0
    return folder


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("cell", RECURRENT)
def test_a_run_is_exported_in_the_fused_lowering(runs: Path, tmp_path: Path, edgernn: Edgernn, cell: str) -> None:
    path = tmp_path / "m.onnx"
    report = edgernn("export", runs / cell, "--lowering", "fused", "-o", path, "--json").json
    assert report["lowering"] == "fused"
    assert report["parity"]["steps"] == 256
    assert RECURRENT[cell] in operators(path)
    assert not operators(path) & {"Loop", "Scan", "If"}
    assert edgernn("inspect", path, "--json").json["spec"]["lowering"] == "fused"
    compared = edgernn("verify", path, "--against", runs / cell, "--steps", 300, "--json").json
    assert compared["passed"]
    assert compared["teacher_forced"]["max_abs"] <= 1e-5


@pytest.mark.parametrize("arguments", [(), ("--lowering", "cell")])
def test_a_run_is_exported_in_the_cell_lowering_by_default(
    runs: Path, tmp_path: Path, edgernn: Edgernn, arguments: tuple[str, ...]
) -> None:
    report = edgernn("export", runs / "gru", *arguments, "-o", tmp_path / "m.onnx", "--json").json
    assert report["lowering"] == "cell"
    assert not operators(tmp_path / "m.onnx") & {"LSTM", "GRU", "RNN"}


def test_every_stage_of_a_bundle_that_has_layers_is_fused(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    report = edgernn("export", runs / "vae", "--lowering", "fused", "-o", tmp_path / "bundle", "--json").json
    assert [each["lowering"] for each in report["stages"]] == ["fused", "cell", "fused"]
    assert edgernn("verify", tmp_path / "bundle", "--against", runs / "vae", "--steps", 100, "--json").json["passed"]


def test_what_is_lifted_cannot_be_fused(tmp_path: Path, edgernn: Edgernn) -> None:
    result = edgernn("export", "torch.nn:Identity", "--lowering", "fused", "-o", tmp_path / "m.onnx")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: --lowering fused is for runs, and torch.nn:Identity is none; what is lifted becomes plain operators\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_lowering_is_wrong_usage(runs: Path, edgernn: Edgernn) -> None:
    result = edgernn("export", runs / "gru", "--lowering", "melted")
    assert (result.code, result.out) == (2, "")
    assert "melted" in result.err


def test_options_of_what_is_lifted_are_still_refused_for_runs(runs: Path, edgernn: Edgernn) -> None:
    result = edgernn("export", runs / "gru", "--lowering", "fused", "--batch", "1")
    assert result.code == 1
    assert "--batch is for what is lifted" in result.err
