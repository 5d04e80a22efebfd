"""The acoustic task's loss: how far frames and durations are from those of the voice."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.acoustic import AcousticModel, places
from edgernn.tasks.acoustic.data import Batch
from edgernn.tasks.task import Evaluation
from edgernn_runtime.codecs.mel import PITCH_FEATURES

_SHORTEST: Final = 0.5  # frames, of what is too short for one
_DURATION_WEIGHT: Final = 0.2
_SMOOTH: Final = 0.1  # of a deviation, below which errors count as squares


def batch_loss(model: AcousticModel, batch: Batch) -> Tensor:
    """Return the mean error of normalised frames, and of the logarithms of durations, weighed."""
    return _loss(*_errors(model, batch), batch)


def evaluate(model: AcousticModel, batch: Batch) -> Evaluation:
    """Return the loss, and mean absolute errors in units: of the log mel bands, and of durations in frames."""
    frames, durations = _errors(model, batch)
    bands = frames.shape[-1] - PITCH_FEATURES
    distances = (frames.abs() * model.deviation)[batch.known][:, :bands]
    predicted = torch.exp(model.log_frames(batch.phonemes))
    return Evaluation(
        float(_loss(frames, durations, batch)),
        {
            "log_mel_error": float(distances.mean()),
            "duration_error_frames": float((predicted - batch.lengths).abs().mean()),
        },
    )


def _loss(frames: Tensor, durations: Tensor, batch: Batch) -> Tensor:
    spectrum = _smooth(frames[batch.known]).mean(-1).sum() / batch.known_frames
    return spectrum + _DURATION_WEIGHT * _smooth(durations).sum() / batch.known_phonemes


def _smooth(errors: Tensor) -> Tensor:
    return functional.smooth_l1_loss(errors, torch.zeros_like(errors), reduction="none", beta=_SMOOTH)


def _errors(model: AcousticModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the errors of frames in deviations `[time, batch, features]`, and of log durations `[phonemes]`."""
    made, _ = model.scan(batch.windows, places(batch.index, batch.durations), model.stack.init(batch.known.shape[1]))
    wanted = (batch.frames - model.mean) / model.deviation
    lengths = batch.lengths.to(torch.float32).clamp(min=_SHORTEST).log()
    return made - wanted, model.log_frames(batch.phonemes) - lengths
