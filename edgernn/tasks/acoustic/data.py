"""The acoustic task's data: phonemes between their neighbours, how long each lasts, and the frames of its sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.models.acoustic import NEIGHBOURS, WINDOW
from edgernn.speech.corpus import Corpus, Utterance
from edgernn.speech.frames import is_silent, speech_frames
from edgernn.tasks.acoustic.settings import AcousticSettings
from edgernn.tasks.calibration import even_sequences
from edgernn.tasks.settings import Json
from edgernn.tasks.share import WHOLE, Share
from edgernn.tasks.task import MODEL, Data, Part
from edgernn_export.recording import Recording
from edgernn_runtime.codecs import MelCodec, SymbolCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json
from edgernn_runtime.voice.pronunciation import PAUSE


@dataclass(frozen=True, slots=True)
class Score:
    """An utterance as a model is told of it.

    Attributes:
        windows: Each phoneme between its neighbours, int64 `[phonemes, WINDOW]`.
        durations: Frames of each phoneme, int64 `[phonemes]`; 0 for those that are too short for one.
        phoneme: The number of each frame's phoneme, int64 `[frames]`.
        index: The number of each frame in its phoneme, int64 `[frames]`.
        frames: float32 `[frames, features]`.
    """

    windows: NDArray[np.int64]
    durations: NDArray[np.int64]
    phoneme: NDArray[np.int64]
    index: NDArray[np.int64]
    frames: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances side by side, all tensors; what is behind the end of one is not `known`.

    Attributes:
        windows: The phonemes of each frame, int64 `[time, batch, WINDOW]`.
        index: The number of each frame in its phoneme, `[time, batch]`.
        durations: The frames of its phoneme, at least 1, `[time, batch]`.
        frames: float32 `[time, batch, features]`.
        known: bool `[time, batch]`.
        phonemes: The windows of all phonemes, int64 `[phonemes, WINDOW]`.
        lengths: The frames of each of them, int64 `[phonemes]`.
        known_frames: What errors of frames are counted per: how many are known, where several processes train the
            mean of all of them.
        known_phonemes: What errors of durations are counted per, likewise.
    """

    windows: Tensor
    index: Tensor
    durations: Tensor
    frames: Tensor
    known: Tensor
    phonemes: Tensor
    lengths: Tensor
    known_frames: float
    known_phonemes: float


class AcousticData(Data):
    """Utterances of one voice.

    Attributes:
        settings: What the run was told.
        mel: The layout of the frames.
        symbols: The phonemes.
    """

    def __init__(self, corpus: Corpus, settings: AcousticSettings) -> None:
        """Turn what was said into frames.

        Raises:
            DataError: If a recording has no phonemes, or all are silent.
        """
        for utterance in corpus.utterances:
            if not utterance.phonemes:
                raise DataError(f"{utterance.name} has no label track; write one line start<TAB>end<TAB>phoneme each")
        self.settings, self.mel, self.rows = settings, MelCodec(), settings.batch
        found = sorted({phoneme for each in corpus.utterances for phoneme in each.phonemes} - {PAUSE})
        self.symbols = SymbolCodec((PAUSE, *found), " ")
        train, valid = corpus.split(settings.seed)
        self.train = [score_of(each, self.symbols, self.mel) for each in train]
        self.valid = [score_of(each, self.symbols, self.mel) for each in valid]
        frames = np.concatenate([score.frames for score in self.train])
        if is_silent(frames, self.mel):
            raise DataError("the recordings are silent; there is nothing to learn from them")
        self.facts = {
            "codec": cast("Json", codec_to_json(self.mel)),
            "symbols": cast("Json", codec_to_json(self.symbols)),
            "language": corpus.language,
            "mean": [float(number) for number in frames.mean(0)],
            "deviation": [float(number) for number in np.maximum(frames.std(0), 1e-3)],
        }
        self.sha256 = corpus.sha256
        minutes = len(frames) * self.mel.hop / self.mel.rate_hz / 60
        self.summary = (
            f"{minutes:.1f} minutes of speech to train on, {len(self.train)} utterances of {self.symbols.size} "
            f"phonemes, {len(self.valid)} held out"
        )

    def batch(self, step: int) -> Batch:
        """Return this process's utterances of a training step, cut to the longest that is allowed."""
        rng = np.random.default_rng([self.settings.seed, step])
        chosen = rng.choice(len(self.train), self.settings.batch, replace=len(self.train) < self.settings.batch)
        whole = [self.train[i] for i in chosen.tolist()]
        return _batch(whole, self.settings.longest, self.share)

    def held_out(self) -> Batch:
        """Return what is held out."""
        return _batch(self.valid, max(len(score.frames) for score in self.valid))

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        scores = self.valid if part == "valid" else self._extract()
        windows = np.concatenate([score.windows[score.phoneme] for score in scores])
        durations = np.concatenate([score.durations[score.phoneme] for score in scores]).astype(np.float32)
        index = np.concatenate([score.index for score in scores]).astype(np.float32)
        starts = np.concatenate([np.arange(len(score.frames)) == 0 for score in scores])
        phonemes = np.concatenate([score.windows for score in scores])
        return {
            MODEL: Recording({"phonemes": windows, "index": index, "frames": durations}, starts),
            "durations": Recording({"phonemes": phonemes}, np.ones(len(phonemes), np.bool_)),
        }

    def _extract(self) -> list[Score]:
        lengths = [len(score.frames) for score in self.train]
        return [self.train[i] for i in even_sequences(lengths, [0] * len(lengths)).tolist()]


def score_of(utterance: Utterance, symbols: SymbolCodec, mel: MelCodec) -> Score:
    """Return an utterance as a model is told of it; its phonemes fill its frames."""
    frames = speech_frames(utterance.samples, mel)
    bounds = np.round(np.array([*utterance.starts, np.inf]) * mel.rate_hz / mel.hop)
    whole: NDArray[np.int64] = np.clip(bounds, 0, len(frames)).astype(np.int64)
    durations: NDArray[np.int64] = np.diff(whole)
    phoneme = np.repeat(np.arange(len(durations)), durations)
    tokens = symbols.encode(" ".join(utterance.phonemes))
    return Score(windows_of(tokens), durations, phoneme, np.arange(len(frames)) - whole[phoneme], frames)


def windows_of(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each phoneme between its neighbours, token 0 beyond the ends, int64 `[phonemes, WINDOW]`."""
    padded = np.pad(tokens, NEIGHBOURS)
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW).copy()


def _batch(whole: Sequence[Score], longest: int, share: Share = WHOLE) -> Batch:
    """Return a share of utterances side by side."""
    scores = whole[share.rows(len(whole))]
    time = min(longest, max(len(score.frames) for score in scores))
    windows = np.zeros((time, len(scores), WINDOW), np.int64)
    index, durations = np.zeros((2, time, len(scores)), np.int64)
    frames = np.zeros((time, len(scores), scores[0].frames.shape[1]), np.float32)
    known = np.zeros((time, len(scores)), np.bool_)
    for i, score in enumerate(scores):
        phoneme = score.phoneme[:time]
        n = len(phoneme)
        windows[:n, i], index[:n, i], frames[:n, i] = score.windows[phoneme], score.index[:time], score.frames[:time]
        durations[:n, i], known[:n, i] = score.durations[phoneme], True
    return Batch(
        torch.from_numpy(windows),
        torch.from_numpy(index),
        torch.from_numpy(durations).clamp(min=1),
        torch.from_numpy(frames),
        torch.from_numpy(known),
        torch.from_numpy(np.concatenate([score.windows for score in scores])),
        torch.from_numpy(np.concatenate([score.durations for score in scores])),
        sum(min(longest, len(score.frames)) for score in whole) / share.ranks,
        sum(len(score.durations) for score in whole) / share.ranks,
    )
