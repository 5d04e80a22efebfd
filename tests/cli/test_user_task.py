"""A task of the user's own: the example in the docs, installed beside edgernn as a user installs both."""

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from edgernn.tasks import CALIBRATION_STEPS, MODEL, Part
from edgernn_runtime.errors import ExportError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ripples"
PAGE = ROOT / "docs" / "tasks.md"
PARTS = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "edgernn", "export", "runtime")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LOCAL = ["--quiet", "--no-index", "--no-deps"]
TINY = ["--max-steps", "20", "--valid-every", "10", "--threads", "1"]


@dataclass(frozen=True)
class Home:
    """A virtual environment that has edgernn from a wheel, and a folder elsewhere to work in."""

    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def run(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout.decode()

    def translated(self, command: list[str]) -> list[str]:
        """Return a command of the page as it runs here: nothing from the network, and few steps."""
        program, *arguments = command
        if program == "pip":
            return [*PIP, "--python", str(self.python), *arguments, *LOCAL, "--no-build-isolation"]
        if arguments[0] == "train":
            at = arguments.index("--max-seconds")
            arguments = [*arguments[:at], *arguments[at + 2 :], *TINY]
        if arguments[0] == "verify":
            arguments += ["--steps", "200"]
        return [str(self.python.with_name(program)), *arguments]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    base = tmp_path_factory.mktemp("user")
    found = Home(base / "venv", base / "work")
    unwanted = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for part in PARTS:
        target = base / "source" / part
        target.parent.mkdir(exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=unwanted)
        else:
            shutil.copy(ROOT / part, target)
    shutil.copytree(EXAMPLE, found.folder / "examples" / "ripples", ignore=unwanted)
    venv.create(found.environment, with_pip=False)
    found.run([*PIP, "wheel", *LOCAL, "--no-build-isolation", "-w", str(base), str(base / "source")])
    (wheel,) = base.glob("edgernn-*.whl")
    found.run([*PIP, "--python", str(found.python), "install", *LOCAL, str(wheel)])
    (site,) = found.environment.glob("lib/python*/site-packages")
    (site / "heavy.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return found


def test_the_page_shows_the_example_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, language in (("ripples.py", "python"), ("pyproject.toml", "toml")):
        assert f"```{language}\n{(EXAMPLE / name).read_text(encoding='utf-8')}```\n" in page


def test_a_task_whose_model_is_no_step_module_must_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    ripples = import_module("ripples")
    task, settings = ripples.Ripples(), ripples.RippleSettings()
    model = task.model(settings, {})
    assert task.export(model, settings, {}) is model
    with pytest.raises(ExportError, match="Linear is no StepModule: it has no spec; ripples must make one of it"):
        task.export(nn.Linear(1, 1), settings, {})


def test_the_example_is_calibrated_on_what_it_trains_on_and_measured_on_what_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    ripples = import_module("ripples")
    settings = ripples.RippleSettings()
    data = ripples.Ripples().read(settings)
    spec = ripples.Ripples().model(settings, {}).spec
    parts: tuple[tuple[Part, NDArray[np.float32]], ...] = (("train", data.train), ("valid", data.held))
    for part, waves in parts:
        recording = data.recordings(part)[MODEL]
        recording.check(spec)
        assert len(recording) <= CALIBRATION_STEPS
        known = {wave[:-1].tobytes(): wave[1:].tobytes() for wave in np.ascontiguousarray(waves.T)}
        frames, targets = recording.inputs["frame"].reshape(-1, 99), recording.targets.reshape(-1, 99)
        assert [each.tobytes() for each in targets] == [known[each.tobytes()] for each in frames]
        assert [99 * i for i in range(len(frames))] == np.nonzero(recording.starts)[0].tolist()


@pytest.mark.slow
def test_the_commands_of_the_page_take_a_users_task_from_training_to_a_small_file(home: Home) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]
    assert [line[:2] for line in commands[:2]] == [["pip", "install"], ["edgernn", "tasks"]]
    outputs = [home.run(home.translated(command)) for command in commands]
    assert "ripples" in outputs[1]
    assert outputs[-1].count(".") == 20
    assert (home.folder / "runs" / "ripples" / "model.int8.onnx").is_file()
    names = ["edgernn", "edgernn_export", "edgernn_runtime", "ripples"]
    code = "import sys, importlib; print(*[importlib.import_module(name).__file__ for name in sys.argv[1:]])"
    origins = [Path(origin) for origin in home.run([str(home.python), "-c", code, *names]).split()]
    assert len(origins) == len(names)
    assert all(origin.is_relative_to(home.environment) for origin in origins)
