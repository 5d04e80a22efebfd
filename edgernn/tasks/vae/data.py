"""The VAE task's data: pictures as rows of greys from 0 to 1."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgernn.tasks.calibration import even_sequences
from edgernn.tasks.pictures import Pictures, batch_index
from edgernn.tasks.task import MODEL, Data, Part
from edgernn.tasks.vae.settings import VaeSettings
from edgernn_export.recording import Recording
from edgernn_runtime.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class VaeData(Data):
    """Pictures as rows.

    Attributes:
        train: Pictures to train on, float32 `[pictures, height, width]`.
        valid: Those held out.
        settings: What the run was told.
    """

    def __init__(self, pictures: Pictures, settings: VaeSettings) -> None:
        """Split pictures.

        Raises:
            DataError: If they are all alike.
        """
        train, valid = pictures.split(settings.seed)
        self.train, self.valid = _rows(train), _rows(valid)
        if (self.train == self.train[0]).all():
            raise DataError("all pictures are alike; there is nothing to learn from them")
        self.settings = settings
        self.rows = settings.batch
        self.facts = {}
        self.sha256 = pictures.sha256
        height, width = pictures.greys.shape[1:]
        size = f"{width} x {height} pixels"
        self.summary = f"{len(self.train):,} pictures to train on, {len(self.valid):,} to validate, {size}"

    def batch(self, step: int) -> Tensor:
        """Return this process's pictures of a training step, float32 `[height, batch, width]`."""
        index = batch_index(len(self.train), batch=self.settings.batch, step=step, seed=self.settings.seed)
        mine = index[self.share.rows(len(index))]
        return torch.from_numpy(self.train[mine]).transpose(0, 1).contiguous()

    def held_out(self) -> Tensor:
        """Return the pictures held out, laid out as `batch` does."""
        return torch.from_numpy(self.valid).transpose(0, 1).contiguous()

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        """Return pictures for the encoder, and latents from the prior, with rows before each, for the decoder."""
        pictures = self.valid if part == "valid" else self._extract()
        count, height, width = pictures.shape
        before = np.concatenate([np.zeros((count, 1, width), np.float32), pictures[:, :-1]], axis=1)
        rng = np.random.default_rng(self.settings.seed if part == "valid" else [self.settings.seed, 1])
        latents = rng.standard_normal((count, self.settings.latent))
        starts = np.arange(count * height) % height == 0
        latent = np.repeat(latents.astype(np.float32), height, axis=0)
        return {
            MODEL: Recording({"row": before.reshape(-1, width), "latent": latent}, starts),
            "encode": Recording({"row": pictures.reshape(-1, width)}, starts),
        }

    def _extract(self) -> "NDArray[np.float32]":
        """Return pictures to calibrate on, laid out as `train` is."""
        count, height, _ = self.train.shape
        return self.train[even_sequences([height] * count, [0] * count)]


def _rows(pictures: Pictures) -> "NDArray[np.float32]":
    return (pictures.greys / np.float32(255)).astype(np.float32)
