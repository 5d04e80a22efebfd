"""The command line as processes: signals, pipes, encodings, and a device without torch."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgernn.training.tensors import read_tensors

Device = Callable[..., subprocess.CompletedProcess[bytes]]

EDGERNN = [sys.executable, "-m", "edgernn"]
ROOT = Path(__file__).parents[2]
TINY = ["--hidden", "48", "--batch", "8", "--segment", "32", "--valid-every", "40", "--threads", "1"]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [*EDGERNN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a byte model trained on text of which every character has three bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "text.txt").write_text("音楽と文字は流れる川のように続く。" * 200, encoding="utf-8")
    output = folder / "run"
    data = ["--data", folder / "text.txt", "--codec", "bytes"]
    assert (
        run("train", "text", *data, *TINY, "--learning-rate", "1e-2", "--max-steps", 300, "-o", output).returncode == 0
    )
    assert run("export", output).returncode == 0
    return output / "model.onnx"


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
def test_text_reaches_a_pipe_in_whole_characters(byte_model: Path, environment: dict[str, str]) -> None:
    done = run("generate", byte_model, "--prompt", "音", "--max-tokens", "100", "--temperature", "0", **environment)
    assert done.returncode == 0
    text = done.stdout.decode("utf-8")
    assert "楽" in text
    assert "\ufffd" not in text
    assert len(text) == 34  # 33 whole characters out of 100 bytes, and a line break


def test_a_reader_that_goes_away_is_no_crash(byte_model: Path) -> None:
    command = f"{' '.join(EDGERNN)} generate {byte_model} --prompt 音 --max-tokens 5000 | head -c 6"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert done.stdout.decode("utf-8") != ""
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "tasks", "train --help", "train image --help"])
def test_help_loads_no_torch(command: str) -> None:
    code = f"""
import sys
from edgernn.cli import main
sys.argv = ["edgernn", *{command.split()}]
try:
    main()
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"False"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_a_signal_ends_resumes_to_the_uninterrupted_result(tmp_path: Path, number: signal.Signals) -> None:
    common = [*TINY, "--max-steps", "600"]
    assert run("train", "text", *common, "-o", tmp_path / "whole").returncode == 0
    parted = tmp_path / "parted"
    process = subprocess.Popen([*EDGERNN, "train", "text", *common, "-o", str(parted)], stderr=subprocess.DEVNULL)
    while not (parted / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    time.sleep(random.uniform(0.2, 1.5))  # noqa: S311, any moment will do
    process.send_signal(number)
    assert process.wait() == {signal.SIGKILL: -9}.get(number, 130)
    assert run("train", "text", "-o", parted, "--resume", "--threads", "1").returncode == 0
    for name in ("model.safetensors", "checkpoint.safetensors"):
        left, right = read_tensors(tmp_path / "whole" / name), read_tensors(parted / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A Python with edgernn-runtime alone; returns what a run of it with some arguments gave."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([python, "-m", "pip", "install", "-q", *constraints, str(ROOT / "runtime")], check=True)

    def run_there(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([python, *map(str, arguments)], capture_output=True, check=False, cwd=folder)

    return run_there


@pytest.mark.slow
def test_a_device_has_numpy_and_onnxruntime_and_streams_text(byte_model: Path, device: Device) -> None:
    assert run("quantize", byte_model, "--precision", "int8").returncode == 0
    model = byte_model.with_suffix(".int8.onnx")
    done = device("-m", "edgernn_runtime", model, "--prompt", "音", "--max-tokens", "60", "--temperature", "0")
    assert done.returncode == 0
    assert "楽" in done.stdout.decode("utf-8")
    assert b"tokens/s" in done.stderr
    assert b"step p50" in device("-m", "edgernn_runtime", model).stdout
    assert device("-c", "import torch").returncode == 1
    listed = device("-m", "pip", "list").stdout.decode()
    assert not {"torch", "onnx", "typer", "rich", "edgernn"} & {line.split()[0] for line in listed.splitlines()[2:]}


STREAM = """
import sys
import numpy as np
from edgernn_runtime import load

for path in sys.argv[1:]:
    model = load(path)
    stream, value = model.stream(seed=3), model.spec.main_input
    stream.draw_latents()
    if model.spec.feedback is None:
        made = stream.run(np.ones((100, *value.sized(1)[1:]), value.dtype))
    elif model.spec.vocabulary:
        made = list(stream.generate(100))
    else:
        stream.prefill(np.ones((3, *value.sized(1)[1:]), np.float32))
        made = list(stream.generate_frames(100))
    assert len(made) == 100 and np.isfinite(made).all()
    print(path)
"""

TASKS = {
    "image": ("--order", "pixels"),
    "image rows": ("--order", "rows"),
    "vae": (),
    "classify": (),
    "series": ("--gaps", "mask"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_models_of_every_task_stream_on_a_device(tmp_path: Path, device: Device, name: str) -> None:
    small = ("--hidden", 12, "--max-steps", 4, "--valid-every", 2, "--threads", 1)
    folder = tmp_path / "run"
    trained = run("train", name.split(maxsplit=1)[0], *TASKS[name], *map(str, small), "-o", folder)
    assert trained.returncode == 0, trained.stderr
    assert run("export", folder).returncode == 0
    model = next(path for path in (folder / "bundle", folder / "model.onnx") if path.exists())
    paths = [model]
    for precision in ("int8", "int4"):
        paths.append(model.with_name(f"{model.stem}.{precision}{model.suffix}"))
        assert run("quantize", model, "--precision", precision).returncode == 0
    done = device("-c", STREAM, *paths)
    assert done.stderr == b""
    assert [str(path) for path in paths] == done.stdout.decode().split()


@pytest.mark.parametrize("command", ["inspect", "generate"])
def test_json_reaches_a_pipe_in_utf8_whatever_the_locale(byte_model: Path, command: str) -> None:
    model = byte_model.parent / "模.onnx"
    model.write_bytes(byte_model.read_bytes())
    extra = ["--prompt", "音", "--max-tokens", "9", "--temperature", "0"] if command == "generate" else []
    done = run(command, model, *extra, "--json", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    done.stdout.decode("utf-8")


def test_a_closed_stdout_is_no_crash(byte_model: Path) -> None:
    command = f"{' '.join(EDGERNN)} inspect {byte_model} >&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
