"""The GAN task's data: windows of recordings, and recordings of both parts for exported generators."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.tasks.calibration import even_sequences
from edgernn.tasks.gan.settings import GanSettings
from edgernn.tasks.gan.sources import Recordings, Values
from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data, Part, sha256_of
from edgernn_export.recording import Recording
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json

Windows = NDArray[np.float32]
"""float32 `[windows, time, columns]`."""

_SMALLEST: Final = 1e-6
_RECORDED: Final = 256
_MARGIN: Final = 1.1  # how much larger than all that was seen a compressed value may become


class GanData(Data):
    """Windows.

    Attributes:
        recordings_read: What they are cut from.
        train: All windows of the training part, one a row of it.
        held: Those of the part held out.
        codec: What the columns are.
        settings: What the run was told.
    """

    def __init__(self, recordings: Recordings, settings: GanSettings) -> None:
        """Cut windows.

        Raises:
            DataError: If no recording is as long as a window, or a column never changes.
        """
        steps = settings.window_steps
        self.recordings_read, self.settings, self.rows = recordings, settings, settings.batch
        self.train, self.held = windows_of(recordings.train, steps), windows_of(recordings.held, steps)
        rows = np.concatenate(recordings.train).astype(np.float64)
        if not len(self.train) or not len(self.held):
            longest = max(map(len, (*recordings.train, *recordings.held)))
            raise DataError(f"the longest recording has {longest} rows, and a window {steps}; use a smaller --window")
        mean, deviations = rows.mean(axis=0), rows.std(axis=0)
        least = _SMALLEST * np.abs(rows).max(axis=0)
        flat = [name for name, is_flat in zip(recordings.columns, ~(deviations > least), strict=True) if is_flat]
        if flat:
            raise DataError(f"column {flat[0]} never changes; leave it out with --columns")
        means = tuple(map(float, mean))
        scaled = _compressed((self.train - mean) / deviations, settings.compression)
        changes = np.sqrt(np.mean(np.square(np.diff(scaled, axis=1)), axis=(0, 1)))
        self.codec = SeriesCodec(recordings.columns, "interpolate", means)
        self.facts = {
            "codec": cast("Json", codec_to_json(self.codec)),
            "deviations": cast("Json", deviations.tolist()),
            "changes": cast("Json", changes.tolist()),
            "limit": _MARGIN * float(np.abs(scaled).max()),
        }
        self.sha256 = sha256_of(repr(recordings.columns), *recordings.train, *recordings.held)
        self.summary = (
            f"{', '.join(recordings.columns[:4])}{', ...' if len(recordings.columns) > 4 else ''}: "
            f"{len(self.train):,} windows of {steps} steps to train on, {len(self.held):,} held out"
        )
        left_out = recordings.left_out
        self.warnings = (f"left out: the columns {', '.join(left_out)}",) if left_out else ()

    def batch(self, step: int) -> Tensor:
        """Return this process's real windows of a training step, float32 `[time, batch, columns]`."""
        rng = np.random.default_rng([self.settings.seed, step])
        chosen = rng.integers(len(self.train), size=self.settings.batch)
        return as_batch(self.train[chosen[self.share.rows(len(chosen))]])

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        """Return windows as the generator would be fed them, behind a frame of zeros, with noise and latents."""
        windows = self.held if part == "valid" else self.train
        count, time, columns = windows.shape
        spread = np.linspace(0, count - 1, min(count, _RECORDED)).astype(int)
        windows = windows[spread] if part == "valid" else windows[even_sequences([time] * count, [0] * count)]
        before = np.concatenate([np.zeros((len(windows), 1, columns), np.float32), windows[:, :-1]], axis=1)
        settings, steps = self.settings, len(windows) * time
        rng = np.random.default_rng([settings.seed, part == "train"])
        inputs = {
            "value": before.reshape(steps, columns),
            "noise": rng.random((steps, settings.noise), np.float32),
        }
        if settings.latent_numbers:
            latents = rng.standard_normal((len(windows), settings.latent_numbers), np.float32)
            inputs["latent"] = np.repeat(latents, time, axis=0)
        return {MODEL: Recording(inputs, np.arange(steps) % time == 0)}


def _compressed(scaled: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    return np.arcsinh(by * scaled) / np.arcsinh(by) if by else scaled


def windows_of(recordings: Sequence[Values], steps: int) -> Windows:
    """Return every window of `steps` rows of recordings, float32 `[windows, time, columns]`."""
    columns = recordings[0].shape[1]
    cut = [
        np.lib.stride_tricks.sliding_window_view(each, steps, axis=0).swapaxes(1, 2)
        for each in recordings
        if len(each) >= steps
    ]
    return np.concatenate(cut) if cut else np.empty((0, steps, columns), np.float32)


def as_batch(windows: Windows) -> Tensor:
    """Return windows `[windows, time, columns]` as a tensor `[time, windows, columns]`."""
    return torch.from_numpy(np.ascontiguousarray(windows.swapaxes(0, 1)))
