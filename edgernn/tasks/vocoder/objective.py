"""The vocoder task's loss: the negative log-likelihood of excitations, in nats per sample."""

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.vocoder import Past, Vocoder
from edgernn.tasks.task import Evaluation
from edgernn.tasks.vocoder.data import Windows


def window_loss(model: Vocoder, windows: Windows) -> Tensor:
    """Return the mean negative log-likelihood of excitations, each sequence from silence, in nats per sample."""
    logits = window_logits(model, windows)
    return functional.cross_entropy(logits.flatten(0, -2), windows.levels.flatten())


def window_logits(model: Vocoder, windows: Windows) -> Tensor:
    """Return the logits of excitations `[time, batch, block, levels]`, each sequence from silence."""
    block = model.config.block
    blocks = len(windows.levels) // len(windows.frames)
    condition = model.conditions(windows.frames).repeat_interleave(blocks, dim=0)  # [time, batch, hidden]
    past = Past(windows.samples[:, :, 0], windows.recent[..., :block])
    context, _ = model.contexts(condition, past, model.stack.init(condition.shape[1]))
    recent = torch.stack([windows.recent[..., block - 1 : -1], windows.recent[..., block - 2 : -2]], dim=-1)
    return model.excitation_logits(context, windows.samples, windows.predicted.unsqueeze(-1), recent)


def evaluate(model: Vocoder, windows: Windows) -> Evaluation:
    """Return the loss on what is held out."""
    return Evaluation(float(window_loss(model, windows)))
