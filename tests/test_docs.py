"""The docs do what they say: every command in them runs, and every block of Python."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgernn.tasks.pictures import digits
from edgernn_runtime.png import grey_png

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "export" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = ["--hidden", "16", "--batch", "8", "--max-steps", "30", "--valid-every", "10"]
DIGITS = {"zero": 0, "three": 3, "six": 6, "eight": 8}
SHORT = {"--steps": "200", "--max-tokens": "40", "--max-loss": "90%"}


def commands(block: str) -> list[list[str]]:
    """Return the commands of a console block, those that take long made short."""
    found = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines() if line.startswith("$ ")]
    return [_short(command) for command in found]


def _short(command: list[str]) -> list[str]:
    short = [SHORT.get(before, each) for before, each in zip(["", *command], command, strict=False)]
    if command[:2] == ["edgernn", "train"] and "--resume" not in command:
        for option in ("--max-seconds", "--max-steps", "--valid-every"):
            if option in short:
                at = short.index(option)
                del short[at : at + 2]
        short += [*TINY, "--segment", "16"] if command[2] == "text" else TINY
    if command[:2] == ["edgernn", "verify"] and "--steps" not in command:
        short += ["--steps", "200"]
    if command[:2] in (["edgernn", "quantize"], ["edgernn", "tune"]) and "--max-tokens" not in command:
        short += ["--max-tokens", "600"]
    return [sys.executable, "-m", *short] if command[0] == "edgernn" else [sys.executable, *short[1:]]


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the pages take for granted: a run called runs/hello and its models."""
    folder = tmp_path_factory.mktemp("hello")
    shutil.copytree(ROOT / "examples", folder / "examples")
    for line in (
        "edgernn train text -o runs/hello",
        "edgernn export runs/hello",
        "edgernn quantize runs/hello/model.onnx --precision int8",
    ):
        subprocess.run(_short(line.split()), cwd=folder, check=True, capture_output=True)
    pictures = digits()
    for name, digit in DIGITS.items():
        first = int(np.flatnonzero(pictures.classes == digit)[0])
        (folder / f"{name}.png").write_bytes(grey_png(pictures.greys[first]))
    return folder


def _forgiving(command: list[str]) -> list[str]:
    """Return the command, replacing what the workshop holds already."""
    if command[3:4] in (["export"], ["quantize"], ["tune"]):
        return [*command, "--force"]
    if command[3:4] == ["train"] and "--resume" not in command:
        return [each.replace("runs/hello", "runs/again") for each in command]
    return command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_shows_runs(page: Path, hello: Path, tmp_path: Path) -> None:
    workshop = Path(shutil.copytree(hello, tmp_path / "workshop"))
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks, "a page without anything to run needs no test"
    code = "\n".join(content for language, content in blocks if language == "python")
    for language, content in blocks:
        for command in commands(content) if language == "console" else []:
            done = subprocess.run(_forgiving(command), cwd=workshop, capture_output=True, check=False)
            assert done.returncode == 0, (command, done.stderr.decode())
    (workshop / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=workshop, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_no_page_holds_a_gap_to_be_filled() -> None:
    for page in PAGES:
        assert "@@" not in page.read_text(encoding="utf-8"), page


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "runtime" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page, target)
