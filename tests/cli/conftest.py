"""The command line, run in this process."""

import json
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from edgernn.cli import main


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
