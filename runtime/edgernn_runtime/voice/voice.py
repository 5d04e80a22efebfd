"""Voice: a loaded voice, which turns text into sound."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.bundle import Bundle, load_bundle
from edgernn_runtime.codecs import MelCodec, SymbolCodec
from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.providers import ProviderRequest
from edgernn_runtime.transducer import Transducer
from edgernn_runtime.voice.acoustics import DURATIONS, Acoustics
from edgernn_runtime.voice.pronunciation import PAUSE, Pronunciation
from edgernn_runtime.voice.spectrogram import griffin_lim
from edgernn_runtime.voice.voice_spec import read_voice

Samples = NDArray[np.float32]

CONDITION: Final = "condition"
"""The stage of a vocoder that takes frames."""

FRAMES: Final = "frames"
"""The stage of an acoustic model that gives frames."""


class Voice:
    """Three bundles: words to phonemes, phonemes to frames, frames to samples. Immutable, and shared by threads.

    `load_voice` makes one from a folder.

    Attributes:
        language: What it speaks, as in `en-us`.
        mel: The layout of its frames.
    """

    def __init__(self, language: str, *, phonemes: Bundle, acoustic: Bundle, vocoder: Bundle) -> None:
        """Join the parts of a voice.

        Raises:
            SpecError: If one does not give what the next one takes.
        """
        self.language = language
        self._phonemes, self._acoustic, self._vocoder = phonemes, acoustic, vocoder.model
        self.mel = _checked(phonemes, acoustic, vocoder)
        self._blocks = self.mel.hop // vocoder.model.spec.main_output.frames

    @property
    def rate_hz(self) -> int:
        """Samples a second."""
        return self.mel.rate_hz

    def speak(self, text: str, *, seed: int = 0) -> Iterator[Samples]:
        """Yield sound as it is made, float32 `[hop]` from -1 to 1, a frame at a time.

        Nothing is computed ahead: the first sound comes after the first word is pronounced and the next phonemes are
        known, while the rest of the text still waits.

        Args:
            text: What is said; numbers are spelled out, punctuation makes pauses.
            seed: The seed of the noise that samples are drawn with.

        Raises:
            InputError: If the text holds nothing that can be spoken, or something that cannot; before any sound where
                that is to be seen without pronouncing it.
        """
        stream = self._vocoder.stream(seed=seed)
        size = self.mel.hop // self._blocks
        for frame in self.frames(text):
            sound = np.empty((self._blocks, size), np.float32)
            for block in sound:
                stream.step_into(frame, block)
            yield np.clip(sound.reshape(-1), -1, 1)

    def speak_plainly(self, text: str, *, seed: int = 0) -> Samples:
        """Return sound without the vocoder, all at once, float32 `[n]` from -1 to 1, by Griffin and Lim (1984).

        Arguments and errors as in `speak`; the seed is that of the first phases.
        """
        frames = np.stack(list(self.frames(text)))
        return np.clip(griffin_lim(frames[:, : self.mel.bands], self.mel, seed=seed), -1, 1)

    def frames(self, text: str) -> Iterator[Samples]:
        """Yield the frames of a text as they are made, float32 `[features]`; errors as in `speak`."""
        return Acoustics(self._acoustic).frames(Pronunciation(self._phonemes).phonemes(text))

    def vocode(self, frames: NDArray[np.float32], *, seed: int = 0) -> Samples:
        """Return the sound of frames, float32 `[frames * hop]` from -1 to 1.

        Args:
            frames: As the voice's `mel` lays them out, float32 `[frames, features]`.
            seed: The seed of the noise.
        """
        stream = self._vocoder.stream(seed=seed)
        made = stream.run(np.repeat(frames, self._blocks, axis=0))
        return np.clip(made, -1, 1).astype(np.float32)

    def pronounce(self, text: str) -> tuple[str, ...]:
        """Return the phonemes of a text, pauses included; errors as in `speak`."""
        return tuple(Pronunciation(self._phonemes).phonemes(text))


def load_voice(
    folder: str | Path,
    *,
    language: str | None = None,
    engine: EngineName | None = None,
    providers: str | Sequence[ProviderRequest] = ("cpu",),
    threads: int = 1,
) -> Voice:
    """Return the voice in a folder; `engine`, `providers` and `threads` are as in `load`, for every part.

    Args:
        folder: A folder with a `voice.json`.
        language: What it must speak; None for whatever it does.
        engine: `onnxruntime`, or `native` for libraries in the cache; None for the former.
        providers: The execution providers.
        threads: The threads of each part.

    Raises:
        ModelFileError: If there is no voice, or a part of it is missing or damaged.
        SpecError: If its parts do not fit each other.
        InputError: If it speaks another language.
        ProviderError: As `load` does.
    """
    path = Path(folder)
    spec = read_voice(path)
    if language is not None and language != spec.language:
        raise InputError(f"the voice in {path} speaks {spec.language}, and not {language}; there is no other in it")
    parts = {
        name: load_bundle(path / place, engine=engine, providers=providers, threads=threads)
        for name, place in (("phonemes", spec.phonemes), ("acoustic", spec.acoustic), ("vocoder", spec.vocoder))
    }
    return Voice(spec.language, **parts)


def _checked(phonemes: Bundle, acoustic: Bundle, vocoder: Bundle) -> MelCodec:
    """Return the layout of the frames of a voice; SpecError if a part does not give what the next one takes."""
    try:
        Transducer(phonemes)
    except InputError as error:
        raise SpecError(f"a voice takes a bundle from words to phonemes: {error}") from error
    said = phonemes.model.spec.codec
    known, made, taken = (
        bundle.stages[stage].spec.codec if stage in bundle.stages else None
        for bundle, stage in ((acoustic, DURATIONS), (acoustic, FRAMES), (vocoder, CONDITION))
    )
    if not isinstance(known, SymbolCodec) or known.symbols[0] != PAUSE or not isinstance(made, MelCodec):
        raise SpecError(
            f"a voice takes an acoustic model with the stages {DURATIONS}, whose first phoneme is {PAUSE!r}, and "
            f"{FRAMES}, which says how its frames are laid out"
        )
    assert isinstance(said, SymbolCodec)  # noqa: S101, a transducer writes symbols
    marks = {said.symbols[mark] for mark in (said.begin, said.end) if mark is not None}
    unknown = [each for each in said.symbols if each not in {*known.symbols, *marks}]
    if unknown:
        raise SpecError(
            f"the acoustic model was trained without the phonemes {', '.join(unknown[:5])}; train the model of "
            "pronunciations on phonemes of the same voice"
        )
    if made != taken:
        raise SpecError(f"the acoustic model makes frames of {made}, and the vocoder takes {taken}")
    block = vocoder.model.spec.main_output.frames
    if made.hop % block or vocoder.model.spec.rate_hz != made.rate_hz:
        raise SpecError(f"the vocoder makes {block} samples a step, which do not fill the {made.hop} of a frame")
    return made
