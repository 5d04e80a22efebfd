"""The command line, run in this process."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from edgernn.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import make_runs


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


class Edgernn(Protocol):
    def __call__(self, *arguments: object) -> Outcome: ...


@pytest.fixture
def edgernn(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Edgernn:
    """Return a function that runs the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgernn", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        out, err = capfd.readouterr()
        return Outcome(end.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small runs: `run` of text, with `model.onnx` and `fused.onnx`, `vae`, and `text.txt`."""
    folder = tmp_path_factory.mktemp("trained")
    make_runs(folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run of text."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def alone(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model of text that lies in no run."""
    return Path(shutil.copy(trained / "run" / "model.onnx", tmp_path))
