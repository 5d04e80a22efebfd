"""Streaming ONNX models by others become step models with a Spec, and compute what the packages compute."""

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.speech.corpus import spoken_utterance
from edgernn_export import LiftOptions, export, lift, lift_onnx, onnx_module
from edgernn_runtime import load
from edgernn_runtime.errors import InputError, LiftError

RATE = 16_000
CHUNK, CONTEXT = 512, 64
MINUTES = 10


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """Return some seconds of speech, with silence around and noise under it."""
    text = "One, two, three. The quick brown fox jumps over the lazy dog. Good morning; it is half past nine."
    audio = spoken_utterance(text, rate_hz=RATE, voice="en-us").samples
    silence = np.zeros(RATE // 2, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.003, len(audio) + RATE).astype(np.float32)
    whole = np.concatenate([silence, audio, silence]) + noise
    return whole[: len(whole) // CHUNK * CHUNK]


@pytest.fixture(scope="module")
def silero() -> Path:
    """Return the folder of silero-vad's models."""
    package = pytest.importorskip("silero_vad", reason="tests/material.txt is not installed")
    return Path(package.__file__).parent / "data"


@pytest.fixture(scope="module")
def dtln() -> Path:
    """Return the folder of the DTLN models; their package needs a server's library, and is not imported."""
    roots = [Path(each) / "livekit" / "plugins" / "dtln" / "models" for each in sys.path]
    found = next((root for root in roots if root.is_dir()), None)
    if found is None:
        pytest.skip("tests/material.txt is not installed")
    return found


class Vad(nn.Module):
    """silero-vad with its wrapper: the last samples of the chunk before stand in front of each chunk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.vad = onnx_module(path, {"sr": np.array(RATE)})

    def forward(self, chunk: Tensor, context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = self.vad(input=torch.cat([context, chunk], 1), state=state)
        return made["output"], chunk[:, -CONTEXT:], made["stateN"]


def _package_probabilities(path: Path, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    wrapper_of = importlib.import_module("silero_vad.utils_vad").OnnxWrapper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapper = wrapper_of(str(path), force_onnx_cpu=True)
    chunks = torch.from_numpy(audio.reshape(-1, CHUNK))
    return np.array([float(wrapper(chunk, RATE)) for chunk in chunks], np.float32)


def test_silero_vad_with_its_context_as_a_state_equals_the_package_on_speech(
    silero: Path, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    path = silero / "silero_vad_16k_op15.onnx"
    example = ["chunk=float32[B,512]", "context=float32[B,64]", "state=float32[2,B,128]"]
    model = load(export(lift(Vad(path), example, LiftOptions(rate_hz=RATE / CHUNK)), tmp_path / "vad.onnx").path)

    assert [state.input for state in model.spec.states] == ["state.context", "state.state"]
    assert model.spec.batch == "dynamic"
    made = model.stream().run(speech.reshape(-1, CHUNK))[:, 0]
    expected = _package_probabilities(path, speech)
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert expected.max() > 0.9
    assert expected.min() < 0.1


@pytest.mark.slow
def test_a_silero_stream_keeps_to_the_package_for_ten_minutes_of_audio(
    silero: Path, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    path = silero / "silero_vad_16k_op15.onnx"
    example = ["chunk=float32[B,512]", "context=float32[B,64]", "state=float32[2,B,128]"]
    stream = load(export(lift(Vad(path), example), tmp_path / "vad.onnx").path).stream()
    audio = np.resize(speech, MINUTES * 60 * RATE // CHUNK * CHUNK)
    np.testing.assert_allclose(
        stream.run(audio.reshape(-1, CHUNK))[:, 0], _package_probabilities(path, audio), atol=1e-4
    )


def test_the_sequence_graph_of_silero_vad_becomes_a_step_of_one_chunk(
    silero: Path, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    path = silero / "silero_vad_16k_sequence.onnx"
    example = ["input=float32[T,576]", "h=float32[1,1,128]", "c=float32[1,1,128]"]
    model = load(export(lift_onnx(path, example), tmp_path / "sequence.onnx").path)

    padded = np.concatenate([np.zeros(CONTEXT, np.float32), speech])
    chunks = np.lib.stride_tricks.sliding_window_view(padded, CHUNK + CONTEXT)[::CHUNK].copy()
    zeros = np.zeros((1, 1, 128), np.float32)
    (expected, *_) = ort.InferenceSession(path).run(None, {"input": chunks, "h": zeros, "c": zeros})
    np.testing.assert_allclose(model.stream().run(chunks), expected.reshape(-1), atol=1e-4)


def test_silero_vads_branches_need_the_sample_rate(silero: Path) -> None:
    path = silero / "silero_vad.onnx"
    example = ["input=float32[B,576]", "state=float32[2,B,128]"]
    with pytest.raises(InputError, match=r"has no sr, which is int64\[\]; describe it, or fix it"):
        lift_onnx(path, example)
    with pytest.raises(LiftError, match="decides by a value that is computed from the input"):
        lift_onnx(path, [*example, "sr=int64[]"])
    assert lift_onnx(path, example, fixed={"sr": np.array(RATE)}).spec.states[0].shape == ("batch", 2, 128)


def test_streaming_denoised_audio_of_the_dtln_models_equals_direct_use_of_the_files(
    dtln: Path, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    examples = (
        ["input_2=float32[B,1,257]", "input_3=float32[B,2,128,2]"],
        ["input_4=float32[B,1,512]", "input_5=float32[B,2,128,2]"],
    )
    files = [dtln / f"model_{number}.onnx" for number in (1, 2)]
    models = [
        load(export(lift_onnx(path, example, LiftOptions(batch=1)), tmp_path / path.name).path)
        for path, example in zip(files, examples, strict=True)
    ]
    assert [len(model.spec.states) for model in models] == [1, 1]
    streams = [model.stream() for model in models]
    direct = [_Direct(path) for path in files]
    made = _denoised(speech, *(lambda frame, stream=stream: stream.step(frame) for stream in streams))
    expected = _denoised(speech, *direct)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(made, expected, atol=1e-4)


class _Direct:
    """A DTLN file in ONNX Runtime, its state carried by hand."""

    def __init__(self, path: Path) -> None:
        self.session = ort.InferenceSession(path)
        self.names = [each.name for each in self.session.get_inputs()]
        self.state = np.zeros((1, 2, 128, 2), np.float32)

    def __call__(self, frame: NDArray[np.float32]) -> Any:
        output, self.state = self.session.run(None, {self.names[0]: frame[None], self.names[1]: self.state})
        return output[0]


def _denoised(audio: NDArray[np.float32], mask: Any, enhance: Any) -> NDArray[np.float32]:
    """Return audio after both models: a mask of the spectrum, and then the block itself, overlapped and added."""
    block, shift = np.zeros(512, np.float32), 128
    out = np.zeros(len(audio) + 512, np.float32)
    for start in range(0, len(audio) - shift, shift):
        block = np.concatenate([block[shift:], audio[start : start + shift]])
        spectrum = np.fft.rfft(block)
        masked = mask(np.abs(spectrum).astype(np.float32)[None])[0] * spectrum
        made = enhance(np.fft.irfft(masked).astype(np.float32)[None])[0]
        out[start : start + 512] += made
    return out
