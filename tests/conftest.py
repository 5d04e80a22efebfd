"""Tiny real models, exported once and shared by all tests."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_runtime import ByteCodec, CharacterCodec, Model, load
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

CELLS = ("elman", "lstm", "gru")
HIDDEN = 24
CHARACTERS = CharacterCodec.from_text("\n .,abcdefghijklmnoé☃")
START = int(CHARACTERS.encode("\n")[0])
MEMORISED = "aé☃𝄞 "
"""No two of its UTF-8 bytes are equal, so the byte model knows the next one from the last one."""


class FrameStep(nn.Module):
    """A model that listens and generates nothing: a leaky level that starts away from zero, and a count.

    `level = 0.9 level + frame W`, `params = tanh(level V)`, `energy = sum(level ** 2)`.
    """

    FRAME = 5
    INITIAL = (0.5, -1.0, 2.0, 0.25)

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(5)
        self.inward = nn.Parameter(torch.from_numpy(rng.standard_normal((self.FRAME, 4)).astype("f4") / 4))
        self.outward = nn.Parameter(torch.from_numpy(rng.standard_normal((4, 3)).astype("f4") / 2))

    @property
    def spec(self) -> Spec:
        return Spec(
            inputs=(TensorSpec("frame", "float32", (BATCH, self.FRAME), "frame"),),
            outputs=(
                TensorSpec("params", "float32", (BATCH, 3), "params"),
                TensorSpec("energy", "float32", (BATCH, 1), "params"),
            ),
            states=(
                StateSpec("state.level", "next_state.level", "float32", (BATCH, 4), self.INITIAL),
                StateSpec("state.count", "next_state.count", "int64", (BATCH, 1)),
            ),
            rate_hz=100.0,
        )

    def forward(self, frame: Tensor, level: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        level = 0.9 * level + frame @ self.inward
        energy = (level * level).sum(dim=1, keepdim=True)
        return torch.tanh(level @ self.outward), energy, level, count + 1


@pytest.fixture(scope="session", autouse=True)
def _quiet_torch() -> None:
    """One thread, and none of the thousand log records of an export under a failed test."""
    torch.set_num_threads(1)
    logging.getLogger("torch.__trace").addFilter(lambda _: False)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared model files lie; read them, and write elsewhere."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def characters() -> CharacterCodec:
    """The codec of the tiny language models."""
    return CHARACTERS


@pytest.fixture(scope="session")
def start_token() -> int:
    """The token that begins a stream of a tiny language model."""
    return START


@pytest.fixture(scope="session")
def memorised() -> str:
    """The text that the byte model repeats, characters of one to four bytes."""
    return MEMORISED


@pytest.fixture(scope="session")
def tiny_tokens() -> NDArray[np.int64]:
    """2,000 random tokens of the tiny language models."""
    return np.random.default_rng(11).integers(0, CHARACTERS.size, 2000)


@pytest.fixture(scope="session")
def tiny_lm() -> Callable[[str], RecurrentLM]:
    """Makes a language model of one cell: 2 layers of 24, random weights scaled so that outputs are lively."""
    return cache(_tiny_lm)


@pytest.fixture(scope="session")
def tiny_step(tiny_lm: Callable[[str], RecurrentLM]) -> Callable[[str], RecurrentLMStep]:
    """Makes the StepModule of a tiny language model."""

    @cache
    def make(cell: str) -> RecurrentLMStep:
        return RecurrentLMStep(tiny_lm(cell), codec=CHARACTERS, start=START)

    return make


@pytest.fixture(scope="session")
def tiny_path(
    models_dir: Path, tiny_step: Callable[[str], RecurrentLMStep], tiny_tokens: NDArray[np.int64]
) -> Callable[..., Path]:
    """Exports a tiny language model: `tiny_path("lstm")`, `tiny_path("lstm", "int8")`."""

    @cache
    def make(cell: str, precision: str) -> Path:
        if precision == "float32":
            return export(tiny_step(cell), models_dir / f"{cell}.onnx").path
        recording = Recording.of_tokens("token", tiny_tokens[:100])
        return quantize(
            make(cell, "float32"),
            models_dir / f"{cell}.{precision}.onnx",
            precision="int8" if precision == "int8" else "int4",
            recording=recording,
            method="nearest",
        ).path

    return lambda cell, precision="float32": make(cell, precision)


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Callable[..., Path]) -> Callable[..., Model]:
    """Loads a tiny language model: `tiny_model("lstm")`, `tiny_model("lstm", "int8")`."""

    @cache
    def make(cell: str, precision: str) -> Model:
        return load(tiny_path(cell, precision))

    return lambda cell, precision="float32": make(cell, precision)


@pytest.fixture(scope="session")
def byte_path(models_dir: Path) -> Path:
    """A GRU over bytes that was trained until it repeats one text; it has no start token."""
    step = RecurrentLMStep(_memorise(MEMORISED), codec=ByteCodec())
    return export(step, models_dir / "bytes.onnx").path


@pytest.fixture(scope="session")
def byte_model(byte_path: Path) -> Model:
    """The loaded byte model."""
    return load(byte_path)


@pytest.fixture(scope="session")
def frame_step() -> FrameStep:
    """The StepModule that listens to frames of 5 numbers and generates nothing."""
    return FrameStep().eval()


@pytest.fixture(scope="session")
def frame_path(models_dir: Path, frame_step: FrameStep) -> Path:
    """The exported frame model."""
    return export(frame_step, models_dir / "frames.onnx").path


@pytest.fixture(scope="session")
def frame_model(frame_path: Path) -> Model:
    """The loaded frame model."""
    return load(frame_path)


@pytest.fixture(scope="session")
def frames() -> NDArray[np.float32]:
    """1,000 random frames, float32 `[1000, 5]`."""
    return np.random.default_rng(3).standard_normal((1000, FrameStep.FRAME)).astype(np.float32)


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    """Each kind of cell in turn."""
    return str(request.param)


def _tiny_lm(cell: str) -> RecurrentLM:
    with torch.random.fork_rng():
        torch.manual_seed(CELLS.index(cell))
        model = RecurrentLM(ModelConfig(cell, CHARACTERS.size, HIDDEN, layers=2)).eval()
    with torch.no_grad():
        for layer in model.stack.layers:
            for weight in layer.kernel.parameters():
                weight.mul_(1.5)
        model.head.weight.mul_(6)
    return model


def _memorise(text: str) -> RecurrentLM:
    tokens = torch.from_numpy(ByteCodec().encode(text * 8))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RecurrentLM(ModelConfig("gru", 256, HIDDEN, layers=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        logits, _ = model.scan(tokens[:-1, None], model.init(1))
        loss = functional.cross_entropy(logits[:, 0], tokens[1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()
