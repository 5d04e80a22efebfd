"""The vocoder task's data: speech of one voice as frames, and as the excitations of its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.models.linear_prediction import ORDER, LinearPrediction
from edgernn.models.vocoder import CONTEXT, share
from edgernn.speech.corpus import Corpus, Utterance
from edgernn.speech.frames import is_silent, speech_frames
from edgernn.tasks.calibration import CALIBRATION_STEPS
from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data, Part
from edgernn.tasks.vocoder.excitation import excitations
from edgernn.tasks.vocoder.settings import VocoderSettings
from edgernn_export.recording import Recording, first_step
from edgernn_runtime.codecs import MelCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json


@dataclass(frozen=True, slots=True)
class Windows:
    """Sequences to train on, all tensors over `time` blocks of `block` samples, or over `frames`.

    Attributes:
        frames: Each frame after those before it, float32 `[frames, batch, CONTEXT, features]`.
        samples: The last `ORDER` samples before each sample, the newest first, `[time, batch, block, ORDER]`.
        predicted: `[time, batch, block]`.
        recent: The last block's excitations and those of the block itself, from -1 to 1, `[time, batch, 2 * block]`.
        levels: int64 `[time, batch, block]`.
    """

    frames: Tensor
    samples: Tensor
    predicted: Tensor
    recent: Tensor
    levels: Tensor


class VocoderData(Data):
    """Speech in one row, utterance after utterance.

    Attributes:
        settings: What the run was told.
        codec: The layout of its frames.
    """

    def __init__(self, corpus: Corpus, settings: VocoderSettings) -> None:
        """Take apart what was said.

        Raises:
            DataError: If there is less than a training sequence, or nothing but silence.
        """
        self.settings, self.codec, self.rows = settings, MelCodec(), settings.batch
        train, valid = corpus.split(settings.seed)
        self._train = _Row(train, self.codec, settings)
        self._valid = _Row(valid, self.codec, settings)
        for row in (self._train, self._valid):
            if len(row.frames) < settings.window + CONTEXT:
                raise DataError(
                    f"{len(row.frames)} frames of speech are too few for sequences of {settings.window}; record more"
                )
        deviation = self._train.frames.std(0)
        if is_silent(self._train.frames, self.codec):
            raise DataError("the recordings are silent; there is nothing to learn from them")
        self.facts = {
            "codec": cast("Json", codec_to_json(self.codec)),
            "mean": [float(number) for number in self._train.frames.mean(0)],
            "deviation": [float(number) for number in np.maximum(deviation, 1e-3)],
        }
        self.sha256 = corpus.sha256
        seconds = len(self._train.levels) / self.codec.rate_hz
        held = len(self._valid.levels) / self.codec.rate_hz
        self.summary = f"{seconds / 60:.1f} minutes of speech to train on, {held:.0f} seconds held out"

    def batch(self, step: int) -> Windows:
        """Return this process's sequences of a training step."""
        rng = np.random.default_rng([self.settings.seed, step])
        most = len(self._train.frames) - self.settings.window
        starts = rng.integers(CONTEXT - 1, most, self.settings.batch)
        return self._train.windows(starts[self.share.rows(len(starts))], self.settings.window, self.settings.block)

    def held_out(self) -> Windows:
        """Return sequences of what is held out, spread evenly over it."""
        most = len(self._valid.frames) - self.settings.window
        starts = np.linspace(CONTEXT - 1, most, 2 * self.settings.batch).astype(int)
        return self._valid.windows(starts, self.settings.window, self.settings.block)

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        """Return frames, each as often as its blocks take it, and noise."""
        row = self._valid if part == "valid" else self._train
        blocks = self.codec.hop // self.settings.block
        frames = row.frames[: CALIBRATION_STEPS // blocks]
        rng = np.random.default_rng([self.settings.seed, part == "valid"])
        noise = rng.random((len(frames) * blocks, self.settings.block), np.float32)
        repeated = np.repeat(frames, blocks, axis=0)
        return {MODEL: Recording({"frame": repeated, "noise": noise}, first_step(len(repeated)))}


class _Row:
    """Utterances one after the other: frames `[frames, features]`, and what their samples are made of, each `[n]`."""

    def __init__(self, utterances: Sequence[Utterance], codec: MelCodec, settings: VocoderSettings) -> None:
        self.codec = codec
        frames = [speech_frames(each.samples, codec) for each in utterances]
        sounds = [each.samples[: len(found) * codec.hop] for each, found in zip(utterances, frames, strict=True)]
        prediction = LinearPrediction(codec)
        predictors = [prediction(torch.from_numpy(found[:, : codec.bands])).numpy() for found in frames]
        parts = excitations(sounds, predictors, hop=codec.hop, noise=settings.noise, seed=settings.seed)
        self.frames = np.concatenate(frames)
        self.samples = np.concatenate([part.samples for part in parts])
        self.predicted = np.concatenate([part.predicted for part in parts])
        self.levels = np.concatenate([part.levels for part in parts])

    def windows(self, starts: NDArray[np.int64], frames: int, block: int) -> Windows:
        """Return the sequences of `frames` from each of `starts` on, which has enough before it."""
        hop = self.codec.hop
        rows = starts[None, :] + np.arange(frames)[:, None]  # [frames, batch]
        places = (starts * hop)[None, :] + np.arange(0, frames * hop, block)[:, None]  # [time, batch]
        inside = places[..., None] + np.arange(block)  # [time, batch, block]
        levels = torch.from_numpy(self.levels)
        return Windows(
            torch.from_numpy(self.frames[rows[..., None] + np.arange(1 - CONTEXT, 1)]),
            torch.from_numpy(self.samples[inside[..., None] - np.arange(1, ORDER + 1)]),
            torch.from_numpy(self.predicted[inside]),
            share(levels[torch.from_numpy(places[..., None] + np.arange(-block, block))]),
            levels[torch.from_numpy(inside)],
        )
