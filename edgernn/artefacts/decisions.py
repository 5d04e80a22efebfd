"""Decisions: what a classifier holds probable at every step of a sequence, and a picture of it."""

from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime import Model
from edgernn_runtime.codecs import LabelCodec
from edgernn_runtime.errors import InputError, MissingExtraError
from edgernn_runtime.files import write_bytes

Values = NDArray[np.float32]

_NAMED: Final = 12
"""Labels beyond this many are drawn without a name, but for the last decision."""


def decide(model: Model, frames: Values) -> Values:
    """Return how probable each label is after each frame of one sequence, float32 `[steps, labels]`.

    Where the labels exclude each other a row sums to one; where each holds or not, every number is for itself.

    Args:
        model: A classifier, whose outputs are the logits of labels.
        frames: What it is fed, float32 `[steps, channels]`.

    Raises:
        InputError: If the model decides nothing, or cannot take the frames.
    """
    spec = model.spec
    if not isinstance(spec.codec, LabelCodec) or spec.distribution not in ("categorical", "bernoulli"):
        raise InputError("the model gives no logits of labels, so there is no decision to be read from it")
    logits = model.stream().run(frames)
    if not np.isfinite(logits).all():
        raise InputError("the model's logits are not finite, so nothing can be decided; are the frames?")
    return probabilities(logits.astype(np.float32), spec.distribution)


def probabilities(logits: Values, distribution: str) -> Values:
    """Return probabilities float32 `[..., labels]` of logits, `categorical` or else `bernoulli`.

    >>> probabilities(np.array([0.0, 0.0], np.float32), "categorical").tolist()
    [0.5, 0.5]
    """
    if distribution == "categorical":
        raised = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(raised / raised.sum(-1, keepdims=True), np.float32)
    return np.asarray(np.exp(-np.logaddexp(0, -logits)), np.float32)


def draw_decisions(path: Path, codec: LabelCodec, decisions: Values) -> None:
    """Write a picture of a running decision: the probability of each label over the steps.

    Args:
        path: The `.png`; one that is there is replaced.
        codec: What the labels are called.
        decisions: What `decide` returned, float32 `[steps, labels]`.

    Raises:
        InputError: If there are not as many columns as labels, or no steps.
        MissingExtraError: If matplotlib is not installed.
        OutputError: If the file cannot be written.
    """
    if decisions.ndim != 2 or decisions.shape[1] != codec.size or not len(decisions):
        raise InputError(f"decisions must be [steps, {codec.size}], got {list(decisions.shape)}")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("the picture of a decision needs matplotlib; install edgernn[report]") from error
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, len(decisions) + 1)
    last = int(decisions[-1].argmax())
    for i in np.argsort(-decisions[-1]):
        label = codec.labels[i] if codec.size <= _NAMED or i == last else None
        axes.plot(steps, decisions[:, i], label=label, linewidth=2.5 if i == last else 1, marker=".")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("step")
    axes.set_ylabel("probability")
    axes.set_title(f"decided after {len(decisions)} steps: {codec.labels[last]}")
    axes.legend(title="label", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_bytes(path, picture.getvalue(), overwrite=True)
