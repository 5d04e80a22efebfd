"""The examples build as their READMEs say, without a warning, and do what the runtime does."""

import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.models import RecurrentLM, RecurrentLMStep
from edgernn_export import LiftOptions, export, lift
from edgernn_export.compile import compile_model
from edgernn_runtime import Model, Sampler, load
from edgernn_runtime.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent))
from machines import found_compiler

from edgernn_export.compile.targets import find_target

EXAMPLES = Path(__file__).parents[3] / "examples"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
FRAME = 160
RATE = 16_000


class Detector(nn.Module):
    """A probability for each frame of samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.GRU(FRAME, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(4 * self.head(self.rnn(x)[0]))


class Filter(nn.Module):
    """A filter that looks two frames ahead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convs = nn.Sequential(*(nn.Conv1d(FRAME, FRAME, 3, padding=1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(3 * self.convs(x.transpose(1, 2)).transpose(1, 2))


@pytest.fixture(scope="session")
def samples() -> NDArray[np.int16]:
    """Samples that do not fill their last frame, as loud as 16 bits are."""
    noise = np.random.default_rng(0).standard_normal(7 * FRAME + 33)
    return np.clip(noise * 12000, -32768, 32767).astype(np.int16)


@pytest.fixture
def recording(samples: NDArray[np.int16], tmp_path: Path) -> Path:
    """A WAV file of these samples."""
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return tmp_path / "in.wav"


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., list[str]]:
    """Builds the WAV example around a module, as its README says; returns the command."""

    def build(module: nn.Module, *, rate_hz: float | None = RATE / FRAME) -> list[str]:
        step = lift(module, f"x=float32[B,T,{FRAME}]", LiftOptions(rate_hz=rate_hz, allow_delay=True))
        export(step, tmp_path / "model.onnx")
        compile_model(tmp_path / "model.onnx", tmp_path, name="model")
        readme = (EXAMPLES / "wav" / "README.md").read_text()
        told = re.findall(r"cc (-O3[^\n]*)", readme)[0].split(" \\")[0].split()
        sources = [str(EXAMPLES / "wav" / "wav.c"), str(tmp_path / "model.c")]
        compiler = found_compiler(find_target("host"), None)
        compiler.run([*told, *WARNINGS, f"-I{tmp_path}", *sources, "-o", "program", "-lm"], folder=tmp_path)
        return [str(tmp_path / "program")]

    return build


def _refused(command: list[str]) -> str:
    """Return what a command said that failed without printing anything else."""
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stdout) == (1, "")
    return told.stderr


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _frames_of(model: Model, samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return what the runtime makes of samples, frame by frame."""
    padded = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32) / 32768
    stream = model.stream()
    made = stream.run(padded.reshape(-1, FRAME))
    return np.concatenate([made, stream.flush()]) if model.spec.delay_steps else made


def test_a_detector_prints_a_probability_for_each_frame(
    program: Callable[..., list[str]], recording: Path, samples: NDArray[np.int16], tmp_path: Path
) -> None:
    told = _run([*program(Detector()), str(recording)])
    rows = np.array([[float(word) for word in line.split()] for line in told.splitlines()])
    expected = _frames_of(load(tmp_path / "model.onnx"), samples).ravel()
    np.testing.assert_allclose(rows[:, 0], np.arange(8) * FRAME / RATE, atol=1e-9)
    np.testing.assert_allclose(rows[:, 1], expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_a_filter_that_looks_ahead_writes_a_recording_of_the_same_length(
    program: Callable[..., list[str]], recording: Path, samples: NDArray[np.int16], tmp_path: Path
) -> None:
    _run([*program(Filter()), str(recording), str(tmp_path / "out.wav")])
    model = load(tmp_path / "model.onnx")
    expected = np.clip(_frames_of(model, samples).ravel()[: len(samples)] * 32768, -32768, 32767)
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getparams()[:4] == (1, 2, RATE, len(samples))
        written = np.frombuffer(file.readframes(len(samples)), np.int16)
    assert model.spec.delay_steps == 2
    np.testing.assert_allclose(written, expected, atol=1)


def test_a_recording_is_replaced_only_when_what_the_filter_makes_of_it_is_whole(
    program: Callable[..., list[str]], samples: NDArray[np.int16], recording: Path, tmp_path: Path
) -> None:
    command = program(Filter())
    with wave.open(str(recording), "wb") as file:  # longer than what the C library reads ahead
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes() * 20)
    _run([*command, str(recording), str(tmp_path / "out.wav")])
    _run([*command, str(recording), str(recording)])
    assert recording.read_bytes() == (tmp_path / "out.wav").read_bytes()
    (tmp_path / "folder.wav").mkdir()
    said = _refused([*command, str(recording), str(tmp_path / "folder.wav")])
    assert said == f"{tmp_path / 'folder.wav'} cannot be written\n"
    assert not list(tmp_path.glob("*.part"))


def test_a_model_that_is_no_filter_writes_no_recording(
    program: Callable[..., list[str]], recording: Path, tmp_path: Path
) -> None:
    said = _refused([*program(Detector()), str(recording), str(tmp_path / "out.wav")])
    assert said == "the model makes 1 numbers of 160 samples, so it writes no recording\n"
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("rate_hz", [None, 50.0])
def test_a_recording_of_another_rate_is_refused_or_warned_of(
    rate_hz: float | None, program: Callable[..., list[str]], recording: Path
) -> None:
    command = [*program(Detector(), rate_hz=rate_hz), str(recording)]
    if rate_hz:
        assert _refused(command) == "the model takes 8000 samples a second, the recording has 16000\n"
        return
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert told.stderr == "the model does not say how many samples a second it takes; the recording has 16000\n"
    assert len(told.stdout.splitlines()) == 8


def test_an_example_says_which_models_it_takes(
    tiny_path: Callable[..., Path], tiny_lm: Callable[[str], RecurrentLM], tmp_path: Path
) -> None:
    export(RecurrentLMStep(tiny_lm("gru"), codec=None, start=0), tmp_path / "wordless.onnx")
    for source, model, reason in (
        ("wav/wav.c", tiny_path("gru"), "this model takes tokens: compile a model of samples"),
        ("cmake/write.c", tmp_path / "wordless.onnx", "this model has no texts: compile a model of edgernn train text"),
        ("firmware/generate.c", tmp_path / "wordless.onnx", "this model has no texts"),
    ):
        compile_model(model, tmp_path, name="model", overwrite=True)
        with pytest.raises(CompileError, match=reason):
            found_compiler(find_target("host"), None).run(
                ["-E", f"-I{tmp_path}", str(EXAMPLES / source), "-o", "preprocessed"], folder=tmp_path
            )


def test_what_is_no_wav_of_16_bits_is_refused(program: Callable[..., list[str]], tmp_path: Path) -> None:
    command = program(Detector())
    (tmp_path / "text.wav").write_text("no sound at all")
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(400))
    for name in ("text.wav", "stereo.wav", "missing.wav"):
        result = subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert "usage: wav" in result.stderr


def test_cmake_builds_a_program_that_writes_what_the_runtime_writes(
    tiny_path: Callable[..., Path], tiny_model: Callable[..., Model], tmp_path: Path
) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    compile_model(tiny_path("lstm"), tmp_path, name="model")
    flags = f"-DCMAKE_C_FLAGS={' '.join(WARNINGS)}"
    _run([cmake, "-S", str(EXAMPLES / "cmake"), "-B", str(tmp_path / "build"), f"-DMODEL={tmp_path}", flags])
    _run([cmake, "--build", str(tmp_path / "build")])
    told = _run([str(tmp_path / "build" / "write"), "ab", "60", "5", "0.7"])
    stream = tiny_model("lstm").stream(seed=5, sampler=Sampler(temperature=0.7))
    stream.prefill("ab")
    assert told == "ab" + "".join(stream.generate_text(60)) + "\n"


def test_cmake_says_where_a_model_is_missing(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    command = [cmake, "-S", str(EXAMPLES / "cmake"), "-B", str(tmp_path / "build"), f"-DMODEL={tmp_path}"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode != 0
    assert " ".join(told.stderr.split()).endswith(
        f"{tmp_path} has no model.c: configure with -DMODEL=FOLDER, where edgernn compile --name model wrote"
    )


def test_every_example_in_c_has_a_readme_that_names_its_files() -> None:
    for folder in ("cmake", "firmware", "wav"):
        readme = (EXAMPLES / folder / "README.md").read_text()
        assert "edgernn compile" in readme
        assert len(readme.splitlines()) < 30
