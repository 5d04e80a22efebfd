"""Corpus: utterances, with the phonemes that were said and when; spoken by eSpeak NG, or read from files."""

import hashlib
import math
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.speech.espeak import SPEAK_RATE_HZ, Spoken, speak
from edgernn.speech.sentences import make_sentences
from edgernn_runtime.errors import DataError, MissingExtraError
from edgernn_runtime.voice.pronunciation import PAUSE

_SILENCES: Final = ("_", "_:")
_MARKS: Final = (";",)  # palatalisation, which is no sound of its own
_RATIO: Final = (320, 441)  # of 16,000 to 22,050
_AHEAD: Final = 200
_SHORTEST_S: Final = 0.1
_SEED: Final = 0  # of the sentences


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Something that was said.

    Attributes:
        name: What it is, for messages: its text, or its file.
        samples: float32 `[n]`, from -1 to 1.
        phonemes: What was said, `PAUSE` for silence.
        starts: The second that each begins at, the first at 0.
    """

    name: str
    samples: NDArray[np.float32]
    phonemes: tuple[str, ...]
    starts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances of one voice.

    Attributes:
        utterances: The utterances.
        language: What the voice speaks, as in `en-us`.
        sha256: Of what was said and when, or of the files.
    """

    utterances: tuple[Utterance, ...]
    language: str
    sha256: str

    def split(self, seed: int) -> "tuple[tuple[Utterance, ...], tuple[Utterance, ...]]":
        """Return the utterances to train on, and one in twenty, but one at least, that is held out.

        Raises:
            DataError: If there is but one.
        """
        if len(self.utterances) < 2:
            raise DataError("one utterance is to train on, and another one to be held out; record more than one")
        order = np.random.default_rng(seed).permutation(len(self.utterances)).tolist()
        held = max(1, len(order) // 20)
        return (
            tuple(self.utterances[i] for i in sorted(order[held:])),
            tuple(self.utterances[i] for i in sorted(order[:held])),
        )


def read_or_speak(folder: Path | None, minutes: float, *, voice: str, rate_hz: int = 16_000) -> Corpus:
    """Return the recordings in a folder, or without one what eSpeak NG says; as `read_corpus` and `spoken_corpus`."""
    if folder is not None:
        return read_corpus(folder, rate_hz=rate_hz, language=voice.partition("+")[0])
    return spoken_corpus(minutes, seed=_SEED, rate_hz=rate_hz, voice=voice)


def spoken_corpus(minutes: float, *, seed: int, rate_hz: int, voice: str = "en-us+edward") -> Corpus:
    """Return what eSpeak NG says of sentences that are made from a seed.

    It does not say a text twice the same to the sample, so the digest is of what it said and when.

    Args:
        minutes: How much speech.
        seed: The seed of the sentences.
        rate_hz: Samples a second; 16,000 is what the voice can be turned into.
        voice: The voice, as in `espeak.speak`.

    Raises:
        DataError: If the voice is unknown, or the rate another.
        MissingExtraError: If eSpeak NG or scipy is not installed.
    """
    utterances: list[Utterance] = []
    digest = hashlib.sha256(voice.encode())
    seconds, asked = 0.0, 0
    while seconds < 60 * minutes:
        asked += _AHEAD
        for text in make_sentences(asked, seed=seed)[len(utterances) :]:
            utterance = spoken_utterance(text, rate_hz=rate_hz, voice=voice)
            digest.update(repr((text, utterance.phonemes, utterance.starts)).encode())
            utterances.append(utterance)
            seconds += len(utterance.samples) / rate_hz
            if seconds >= 60 * minutes:
                break
    return Corpus(tuple(utterances), voice.partition("+")[0], digest.hexdigest())


def spoken_utterance(text: str, *, rate_hz: int = 16_000, voice: str = "en-us+edward") -> Utterance:
    """Return a text as eSpeak NG says it; errors as in `spoken_corpus`."""
    return _utterance(text, speak(text, voice=voice), rate_hz)


def spoken_phonemes(word: str, *, voice: str = "en-us+edward") -> tuple[str, ...]:
    """Return the phonemes of a word as eSpeak NG says it alone, without pauses."""
    plain = (_plain(phoneme) for phoneme, _ in speak(word, voice=voice).phonemes)
    return tuple(phoneme for phoneme in plain if phoneme not in (None, PAUSE))


def read_corpus(folder: Path, *, rate_hz: int, language: str) -> Corpus:
    """Return the recordings in a folder: `NAME.wav`, and `NAME.txt` with a line `start<TAB>end<TAB>phoneme` for each.

    Those are label tracks as Audacity writes them, in seconds; silence is `_`. Without the text file a recording has no
    phonemes, which a vocoder does not need.

    Args:
        folder: The folder.
        rate_hz: Samples a second that recordings must have.
        language: What the voice speaks.

    Raises:
        DataError: If there is none, or one cannot be used; the message names its file.
    """
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise DataError(f"{folder} holds no .wav files")
    digest = hashlib.sha256()
    made = []
    for path in paths:
        samples = read_wav(path, rate_hz=rate_hz)
        if len(samples) < _SHORTEST_S * rate_hz:
            raise DataError(f"{path} has {len(samples)} samples; {_SHORTEST_S} s at least are needed")
        labels = path.with_suffix(".txt")
        phonemes, starts = _read_labels(labels, len(samples) / rate_hz) if labels.exists() else ((), ())
        digest.update(repr((path.name, phonemes, starts)).encode() + samples.tobytes())
        made.append(Utterance(path.name, samples, phonemes, starts))
    return Corpus(tuple(made), language, digest.hexdigest())


def read_wav(path: Path, *, rate_hz: int) -> NDArray[np.float32]:
    """Return a recording, float32 `[n]` from -1 to 1.

    Raises:
        DataError: If it is no WAV file of one channel, 16 bits and the rate.
    """
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"{path} is no WAV file that can be read: {error}") from error
    if len(content) % max(1, found[1] * found[2] // 8):
        raise DataError(f"{path} is damaged: it ends within a sample")
    if found != (rate_hz, 1, 16):
        raise DataError(
            f"{path} has {found[0]} Hz, {found[1]} channels and {found[2]} bits; it must have {rate_hz} Hz, 1 channel "
            f"and 16 bits: ffmpeg -i {path.name} -ar {rate_hz} -ac 1 -c:a pcm_s16le converted.wav"
        )
    return (np.frombuffer(content, "<i2") / 32_768).astype(np.float32)


def _read_labels(path: Path, seconds: float) -> tuple[tuple[str, ...], tuple[float, ...]]:
    phonemes: list[str] = []
    starts: list[float] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no label track in UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        parts = line.split("\t")
        try:
            start, phoneme = float(parts[0]), parts[2].strip()
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}, line {number} must read start<TAB>end<TAB>phoneme, got {line!r}") from error
        if not phoneme or " " in phoneme or not (starts[-1] if starts else 0) <= start < seconds:
            raise DataError(f"{path}, line {number}: a phoneme must follow the one before, within the recording")
        if not starts and start > 0:
            phonemes, starts = [PAUSE], [0.0]
        phonemes.append(phoneme)
        starts.append(start)
    if not starts:
        raise DataError(f"{path} holds no phonemes")
    return tuple(phonemes), tuple(starts)


def _utterance(text: str, spoken: Spoken, rate_hz: int) -> Utterance:
    """Return what was said, at another rate."""
    try:
        from scipy.signal import resample_poly  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("speech is turned to another rate by scipy; install edgernn[speech]") from error
    if rate_hz * _RATIO[1] != SPEAK_RATE_HZ * _RATIO[0]:
        raise DataError(f"eSpeak NG's speech can be had at 16000 Hz, not at {rate_hz}")
    samples = resample_poly(spoken.samples.astype(np.float32) / 32_768, *_RATIO).astype(np.float32)
    phonemes: list[str] = []
    starts: list[float] = []
    for phoneme, start in spoken.phonemes:
        plain = _plain(phoneme)
        if plain is None or (plain == PAUSE and phonemes[-1:] == [PAUSE]):
            continue
        phonemes.append(plain)
        starts.append(start / SPEAK_RATE_HZ)
    if not phonemes or not math.isclose(starts[0], 0, abs_tol=1e-3):
        phonemes, starts = [PAUSE, *phonemes], [0.0, *starts]
    return Utterance(text, samples, tuple(phonemes), tuple(starts))


def _plain(phoneme: str) -> str | None:
    """Return a phoneme of eSpeak NG without a secondary stress, `PAUSE` for silence, None for no sound."""
    if phoneme in _SILENCES:
        return PAUSE
    return None if phoneme in _MARKS else phoneme.removeprefix(",")
