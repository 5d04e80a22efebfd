"""The classify task's loss, and loss and accuracy on held-out sequences."""

from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models import FrameModel
from edgernn.tasks.classify.batches import Batch
from edgernn.tasks.share import WHOLE, Share
from edgernn.tasks.task import Evaluation

Head = Literal["softmax", "sigmoid"]

_CHUNK: Final = 256


def batch_loss(model: FrameModel, batch: Batch, *, head: Head, noise: float, share: Share = WHOLE) -> Tensor:
    """Return the mean over sequences of their nats, in which step t of a sequence weighs in proportion to t.

    Args:
        model: The model, in training mode.
        batch: What it is trained on.
        head: Whether labels exclude each other.
        noise: The deviation of normal noise that is added to frames, in deviations of their channels.
        share: Which rows of a batch these are.
    """
    frames = batch.frames
    if noise:
        frames = frames + noise * model.deviation * share.draw(torch.randn, *frames.shape, axis=1)
    logits, _ = model.scan(frames, model.init(frames.shape[1]))
    times = torch.arange(1, len(frames) + 1).unsqueeze(1)  # [time, 1]
    weights = times * (times <= batch.lengths)  # [time, batch]
    nats = label_nats(logits, batch.labels.expand(len(frames), -1), head)
    return (nats * weights / weights.sum(0)).sum(0).mean()


def evaluate(model: FrameModel, batch: Batch, *, head: Head) -> Evaluation:
    """Return loss and accuracy at the last step of each sequence, and accuracy over all steps."""
    loss, correct, early, steps = 0.0, 0, 0, 0
    several = [
        torch.split(batch.frames, _CHUNK, 1),
        torch.split(batch.lengths, _CHUNK),
        torch.split(batch.labels, _CHUNK),
    ]
    for frames, lengths, labels in zip(*several, strict=True):
        logits, _ = model.scan(frames, model.init(len(lengths)))
        last = logits[lengths - 1, torch.arange(len(lengths))]  # [batch, labels]
        loss += float(label_nats(last, labels, head).sum())
        correct += int((last.argmax(-1) == labels).sum())
        inside = torch.arange(len(frames)).unsqueeze(1) < lengths  # [time, batch]
        early += int(((logits.argmax(-1) == labels) & inside).sum())
        steps += int(inside.sum())
    count = len(batch.labels)
    return Evaluation(loss / count, {"accuracy": correct / count, "accuracy_over_steps": early / steps})


def label_nats(logits: Tensor, labels: Tensor, head: Head) -> Tensor:
    """Return the cross-entropy of labels int64 `[...]` under logits `[..., labels]`, in nats `[...]`."""
    if head == "softmax":
        return functional.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    targets = functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
