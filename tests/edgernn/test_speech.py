"""Speech: what a voice says, its pitch and its linear prediction, and how it is judged."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import solve_toeplitz

from edgernn.models.linear_prediction import ORDER, PREEMPHASIS, LinearPrediction, levinson
from edgernn.models.vocoder import LEVELS, expand, quantized
from edgernn.speech.corpus import read_corpus, spoken_corpus, spoken_phonemes, spoken_utterance
from edgernn.speech.frames import speech_frames
from edgernn.speech.pairs import spoken_pairs
from edgernn.speech.pitch import track_pitch
from edgernn.speech.recogniser import DigitRecogniser, share_right
from edgernn.speech.scores import likeness
from edgernn.speech.sentences import make_sentences
from edgernn.tasks.vocoder.excitation import excitations
from edgernn_runtime.codecs import MelCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.voice.pronunciation import PAUSE
from edgernn_runtime.voice.spectrogram import griffin_lim, log_mel

CODEC = MelCodec()


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return spoken_utterance("seven nine one").samples


def write_wav(path: Path, samples: np.ndarray, *, rate_hz: int = 16_000, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())


def test_sentences_are_those_of_their_seed_and_all_different() -> None:
    made = make_sentences(300, seed=5)
    assert len(set(made)) == 300
    assert made[:50] == make_sentences(50, seed=5)
    assert made != make_sentences(300, seed=6)


def test_a_voice_says_a_text_and_tells_its_phonemes() -> None:
    found = spoken_utterance("seven")
    assert [each for each in found.phonemes if each != PAUSE] == ["s", "'E", "v", "@", "n"]
    assert found.starts[0] == 0
    assert list(found.starts) == sorted(found.starts)
    assert found.starts[-1] < len(found.samples) / 16_000 < 1.5
    assert spoken_phonemes("seven") == ("s", "'E", "v", "@", "n")


def test_a_corpus_is_as_long_as_asked_for_and_the_same_again() -> None:
    one, other = (spoken_corpus(0.2, seed=3, rate_hz=16_000) for _ in range(2))
    assert one.sha256 == other.sha256
    assert 12 <= sum(len(each.samples) for each in one.utterances) / 16_000 < 20
    train, valid = one.split(0)
    assert {each.name for each in train}.isdisjoint(each.name for each in valid)
    assert len(train) + len(valid) == len(one.utterances)


def test_a_voice_that_there_is_not_and_a_rate_that_it_has_not_are_refused() -> None:
    with pytest.raises(DataError, match="no voice 'xx-klingon'"):
        spoken_corpus(0.1, seed=0, rate_hz=16_000, voice="xx-klingon")
    with pytest.raises(DataError, match="at 16000 Hz, not at 8000"):
        spoken_corpus(0.1, seed=0, rate_hz=8_000)


def test_words_are_left_out_that_a_voice_cannot_say() -> None:
    found = dict(spoken_pairs(["seven", "seven", "zoo", "a" * 30, "b2b"], {"s", "'E", "v", "@", "n"}))
    assert found == {"seven": ("s", "'E", "v", "@", "n")}


def test_recordings_are_read_with_their_label_tracks(tmp_path: Path, sound: np.ndarray) -> None:
    write_wav(tmp_path / "b.wav", sound)
    write_wav(tmp_path / "a.wav", sound)
    (tmp_path / "a.txt").write_text("0.1\t0.2\ts\n0.2\t0.5\te\n", encoding="utf-8")
    corpus = read_corpus(tmp_path, rate_hz=16_000, language="en")
    first, second = corpus.utterances
    assert (first.name, first.phonemes, first.starts) == ("a.wav", (PAUSE, "s", "e"), (0.0, 0.1, 0.2))
    assert (second.name, second.phonemes) == ("b.wav", ())
    np.testing.assert_allclose(sound, first.samples, atol=1e-4)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "labels", "message"),
    [
        (22_050, 1, None, "has 22050 Hz, 1 channels and 16 bits; it must have 16000 Hz.*ffmpeg -i a.wav -ar 16000"),
        (16_000, 2, None, "has 16000 Hz, 2 channels"),
        (16_000, 1, "0.1 0.2 s\n", "a.txt, line 1 must read start<TAB>end<TAB>phoneme, got '0.1 0.2 s'"),
        (16_000, 1, "0.3\t0.4\ts\n0.2\t0.3\te\n", "line 2: a phoneme must follow the one before"),
        (16_000, 1, "99\t100\ts\n", "line 1: .* within the recording"),
        (16_000, 1, "", "holds no phonemes"),
    ],
)
def test_recordings_that_cannot_be_used_are_named(
    tmp_path: Path, sound: np.ndarray, rate_hz: int, channels: int, labels: str | None, message: str
) -> None:
    write_wav(tmp_path / "a.wav", sound, rate_hz=rate_hz, channels=channels)
    if labels is not None:
        (tmp_path / "a.txt").write_text(labels, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_corpus(tmp_path, rate_hz=16_000, language="en")


def test_a_folder_without_recordings_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.wav files"):
        read_corpus(tmp_path, rate_hz=16_000, language="en")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"a\.wav is no WAV file that can be read"):
        read_corpus(tmp_path, rate_hz=16_000, language="en")


@pytest.mark.parametrize("hertz", [75, 110, 180, 300])
def test_the_pitch_of_a_buzz_is_found(hertz: float) -> None:
    time = np.arange(16_000) / 16_000
    buzz = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 12))
    found = track_pitch((0.1 * np.asarray(buzz)).astype(np.float32), CODEC)[4:-4]
    np.testing.assert_allclose(np.full(len(found), hertz), found, rtol=0.01)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert (track_pitch(noise, CODEC) > 0).mean() < 0.02
    assert not track_pitch(np.zeros(16_000, np.float32), CODEC).any()


def test_frames_go_on_in_a_line_where_nothing_is_voiced(sound: np.ndarray) -> None:
    frames = speech_frames(sound, CODEC)
    assert frames.shape == (len(sound) // CODEC.hop, CODEC.size)
    assert 0.2 < frames[:, -1].mean() < 0.95
    assert np.isfinite(frames).all()
    assert np.exp(frames[:, -2]).min() > 60


def test_the_recursion_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    signal = np.convolve(rng.standard_normal(4_000), [1, 0.9, 0.5], mode="same")
    correlation = np.correlate(signal, signal, "full")[len(signal) - 1 :][: ORDER + 1]
    expected = solve_toeplitz(correlation[:-1], correlation[1:])
    found = levinson(torch.from_numpy(correlation / correlation[0]).unsqueeze(0))[0].numpy()
    np.testing.assert_allclose(expected, found, atol=1e-8)


def test_bands_give_a_filter_that_predicts_speech(sound: np.ndarray) -> None:
    bands = torch.from_numpy(log_mel(sound, CODEC))
    predictors = LinearPrediction(CODEC)(bands).numpy()
    roots = [np.abs(np.roots([1, *(-each)])).max() for each in predictors]
    assert max(roots) < 1
    emphasised = sound - PREEMPHASIS * np.pad(sound[:-1], (1, 0))
    past = np.stack([np.pad(emphasised, (lag, 0))[: len(sound)] for lag in range(1, ORDER + 1)], axis=1)
    filters = np.repeat(predictors, CODEC.hop, axis=0)
    rest = (emphasised[: len(filters)] - (past[: len(filters)] * filters).sum(1))[ORDER:]
    assert (rest**2).mean() < 0.15 * (emphasised**2).mean()


def test_levels_are_the_nearest_ones() -> None:
    values = expand(torch.arange(1, LEVELS))
    assert quantized(values).tolist() == list(range(1, LEVELS))
    assert values[LEVELS // 2 - 1] == 0
    assert (values.diff() > 0).all()


def test_an_utterance_is_the_sum_of_its_prediction_and_its_excitation(sound: np.ndarray) -> None:
    frames = len(sound) // CODEC.hop
    whole = sound[: frames * CODEC.hop]
    predictor = LinearPrediction(CODEC)(torch.from_numpy(log_mel(whole, CODEC))).numpy()
    parts = excitations([whole, whole[: 10 * CODEC.hop]], [predictor, predictor[:10]], hop=CODEC.hop, noise=0, seed=0)
    made = parts[0].predicted + expand(torch.from_numpy(parts[0].levels)).numpy()
    np.testing.assert_allclose(made, parts[0].samples, atol=1e-6)
    assert parts[1].levels.tolist() == parts[0].levels[: 10 * CODEC.hop].tolist()
    emphasised = whole - PREEMPHASIS * np.pad(whole[:-1], (1, 0))
    assert ((emphasised - made) ** 2).mean() < 1e-3 * (emphasised**2).mean()


@pytest.mark.slow
def test_a_recogniser_hears_digits_and_scores_tell_a_whisper_from_a_voice() -> None:
    texts = ["four two nine zero", "one one eight", "seven three five six"]
    sounds = [spoken_utterance(text).samples for text in texts]
    judge = DigitRecogniser()
    assert share_right([text.split() for text in texts], [judge.digits(each) for each in sounds]) > 0.9
    assert judge.digits(np.zeros(8_000, np.float32)) == ()
    good = likeness(sounds[0], griffin_lim(log_mel(sounds[0], CODEC), CODEC), CODEC)
    whisper = np.random.default_rng(0).standard_normal(len(sounds[0])).astype(np.float32) * np.abs(sounds[0])
    bad = likeness(sounds[0], whisper, CODEC)
    assert good.voiced_recall > 0.8
    assert bad.voiced_recall < 0.1
    assert good.pitch_error < 0.02
    assert good.log_mel < bad.log_mel
    assert good.cepstral_distortion_db < bad.cepstral_distortion_db
