"""Small runs that tests of several commands work on, and how they are made."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgernn.cli import main

TEXT = "pack my box with five dozen liquor jugs; the naïve café is closed. " * 60
TINY = ("--hidden", 24, "--batch", 8, "--segment", 16, "--max-steps", 60, "--valid-every", 30, "--learning-rate", 0.01)
FEW = ("--max-tokens", 600)


def make_runs(folder: Path) -> None:
    """Train and export a run of text in both lowerings and one of a bundle: `run` and `vae`, beside `text.txt`."""
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    small = ("--hidden", 12, "--max-steps", 4, "--valid-every", 2, "--threads", 1)
    call("train", "text", "--data", folder / "text.txt", *TINY, "--threads", 1, "-o", folder / "run")
    call("train", "vae", "--latent", 4, *small, "-o", folder / "vae")
    for run in ("run", "vae"):
        call("export", folder / run)
    call("export", folder / "run", "--lowering", "fused", "-o", folder / "run" / "fused.onnx")


def call(*arguments: object) -> None:
    """Run the command line in this process, where it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["edgernn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0


def one_line(text: str) -> str:
    """Return the one line that a text is."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def files(folder: Path) -> set[str]:
    """Return the names of all that a folder holds."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def without_torch(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own that cannot import torch."""
    command = [sys.executable, "-c", f"import sys; sys.modules['torch'] = None; {code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
