"""The image task's data: pictures as tokens in reading order."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.tasks.calibration import CALIBRATION_STEPS, even_sequences
from edgernn.tasks.image.settings import ImageSettings
from edgernn.tasks.pictures import Pictures, batch_index
from edgernn.tasks.settings import Json
from edgernn.tasks.task import MODEL, Data, Part
from edgernn_export.recording import Recording
from edgernn_runtime.codecs import ImageCodec
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec_json import codec_to_json


class ImageData(Data):
    """Pictures as tokens.

    Attributes:
        codec: How pixels become tokens.
        train: Tokens to train on, int64 `[pictures, pixels]`, and their classes, int64 `[pictures]`.
        valid: Those held out.
    """

    def __init__(self, pictures: Pictures, settings: ImageSettings) -> None:
        """Split pictures and turn them into tokens.

        Raises:
            DataError: If they are all alike.
        """
        height, width = pictures.greys.shape[1:]
        self.codec = ImageCodec(width, height, settings.levels)
        self._settings = settings
        self.rows = settings.batch
        train, valid = pictures.split(settings.seed)
        self.train = self._tokens(train), train.classes
        self.valid = self._tokens(valid), valid.classes
        if (self.train[0] == self.train[0][0]).all():
            raise DataError("all pictures are alike; there is nothing to learn from them")
        self.facts = {
            "codec": cast("Json", codec_to_json(self.codec)),
            "labels": cast("Json", list(pictures.labels)),
        }
        self.sha256 = pictures.sha256
        size = f"{width} x {height} pixels, {len(pictures.labels)} classes"
        self.summary = f"{len(train.greys):,} pictures to train on, {len(valid.greys):,} to validate, {size}"

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this process's pictures of a training step, int64 `[pixels, batch]`, and their classes `[batch]`."""
        tokens, classes = self.train
        index = batch_index(len(tokens), batch=self._settings.batch, step=step, seed=self._settings.seed)
        index = index[self.share.rows(len(index))]
        return torch.from_numpy(tokens[index].T), torch.from_numpy(classes[index])

    def held_out(self) -> tuple[Tensor, Tensor]:
        """Return what is held out, laid out as `batch` does."""
        tokens, classes = self.valid
        return torch.from_numpy(np.ascontiguousarray(tokens.T)), torch.from_numpy(classes)

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        tokens, classes = self.valid if part == "valid" else self._extract()
        inputs = np.concatenate([np.zeros_like(tokens[:, :1]), tokens[:, :-1]], axis=1)
        given = {"token": inputs.ravel()}
        if len(cast("list[str]", self.facts["labels"])) > 1:
            given["class"] = np.repeat(classes, tokens.shape[1])
        starts = np.arange(tokens.size) % tokens.shape[1] == 0
        return {MODEL: Recording(given, starts, tokens.ravel())}

    def _extract(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pictures to calibrate on, laid out as `train` is."""
        tokens, classes = self.train
        chosen = even_sequences([tokens.shape[1]] * len(tokens), classes)
        return tokens[chosen, :CALIBRATION_STEPS], classes[chosen]

    def _tokens(self, pictures: Pictures) -> NDArray[np.int64]:
        return np.stack([self.codec.encode(picture) for picture in pictures.greys])
