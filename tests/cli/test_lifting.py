"""A user's own module, from the command line to a stream."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn_runtime import load

Edgernn = Callable[..., Any]

MODULE = """import torch
from torch import nn

torch.manual_seed(3)

class Masker(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 12, batch_first=True)
        self.mask = nn.Linear(12, 8)

    def forward(self, x):
        return x * self.mask(self.rnn(x)[0]).sigmoid()

class Ahead(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x)

class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.rnn = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 20)

    def forward(self, token):
        return self.head(self.rnn(self.embedding(token))[0])

masker, letters = Masker(), Letters()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, with `mine.py` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("mine", None)


def test_a_users_module_goes_the_whole_road(here: Path, edgernn: Edgernn) -> None:
    report = edgernn("export", "mine:masker", "--example", "x=float32[B,T,8]", "--rate", 100, "--json").json
    assert report["path"] == "masker.onnx"
    assert report["states"] == ["state.rnn.0.h"]
    assert report["parity"]["max_abs"] < 1e-5

    verified = edgernn("verify", "masker.onnx", "--against", "mine:masker", "--steps", 300, "--json").json
    assert verified["passed"]
    assert verified["free_running"] is None

    quantized = edgernn("quantize", "masker.onnx", "--max-tokens", 600, "--json").json
    assert quantized["quality"]["metric"] == "snr_db"
    assert quantized["quality"]["after"] > 30

    (profiled,) = edgernn("profile", "masker.int8.onnx", "--steps", 50, "--json").json["models"]
    assert profiled["rtf"] > 0
    assert load(here / "masker.int8.onnx").stream().run(np.zeros((5, 8), np.float32)).shape == (5, 8)


def test_a_generative_module_generates(here: Path, edgernn: Edgernn) -> None:
    edgernn("export", "mine:letters", "--example", "token=int64[B,T]", "--generative", "--start", 0)
    stream = load(here / "letters.onnx").stream()
    assert len(list(stream.generate(7))) == 7
    verified = edgernn("verify", "letters.onnx", "--against", "mine:letters", "--steps", 200, "--json").json
    assert verified["free_running"]["first_divergence"] is None


def test_looking_ahead_needs_permission_and_says_how_far(here: Path, edgernn: Edgernn) -> None:
    arguments = ("export", "mine:Ahead", "--example", "x=float32[B,8,T]")
    refused = edgernn(*arguments)
    assert (refused.code, refused.out) == (1, "")
    assert "its output would lag by 1 step; allow that with --allow-delay" in refused.err
    assert not list(here.glob("*.onnx"))
    assert "lag behind their inputs by 1 step" in edgernn(*arguments, "--allow-delay").out


def test_measurements_on_given_frames_take_an_npy(here: Path, edgernn: Edgernn) -> None:
    edgernn("export", "mine:masker", "--example", "x=float32[B,T,8]")
    np.save(here / "frames.npy", np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32))
    np.save(here / "wrong.npy", np.zeros((400, 9), np.float32))
    arguments = ("verify", "masker.onnx", "--against", "mine:masker", "--steps", 400)
    assert edgernn(*arguments, "--data", "frames.npy").code == 0
    assert "must hold float32[steps, 8], got float32[400, 9]" in edgernn(*arguments, "--data", "wrong.npy").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine:masker"], "describe what mine:masker takes"),
        (["mine:absent", "--example", "x=float32[B,T,8]"], "mine has no absent"),
        (["mine:masker", "--example", "x=float32[B,T,9]"], "fails when it is called"),
        (["mine:masker", "--example", "x=float32[B,T,8]", "--fix", "a=1"], "--fix is for inputs of ONNX files"),
        (["mine:masker", "--example", "x=float32[B,T,8]", "--batch", "2"], "--batch must be dynamic or 1"),
        (["mine:masker", "--example", "x=float32[B,T,8]", "--weights", "no.pt"], "no.pt is no file"),
        (["mine:masker", "--example", "x=float32[B,T,8]", "--inputs", "no.npz"], "no.npz could not be read"),
        (["mine:masker", "--example", "x=float32[B,T,8]", "-o", "model.txt"], "must end in .onnx"),
        (["absent.onnx", "--example", "x=float32[B,T,8]"], "absent.onnx could not be read"),
        (["absent.pt2", "--example", "x=float32[B,T,8]"], "absent.pt2 could not be read"),
        (["mine.py", "--example", "x=float32[B,T,8]"], "no MODULE:FACTORY"),
    ],
)
def test_bad_input_is_one_line_and_no_file(here: Path, edgernn: Edgernn, arguments: list[str], message: str) -> None:
    result = edgernn("export", *arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert not list(here.glob("*.onnx"))
