"""Quality: what a form of a model costs in the model's own terms, and how sure that is on a finite recording."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn_export.confidence import half_interval, margin
from edgernn_export.likelihood import kl_nats, step_nats
from edgernn_export.outputs import outputs_along
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import InputError, last_line
from edgernn_runtime.spec import Spec

MetricName = Literal["perplexity", "nats", "snr_db", "custom"]
Losses = NDArray[np.float64]
Metric = Callable[[Engine, Recording], "float | Losses"]
"""A loss of one's own, smaller is better: one number, or one for each step, sequence or sample of the recording."""

_BLOCK: Final = 256
_MOST_NATS: Final = 300.0
"""More are counted as these, whose exponential is still a number."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a form of a model costs, measured on one recording.

    Attributes:
        metric: `perplexity`, `nats` per step, `snr_db` of the outputs, or `custom`.
        before: The metric of the model as it was; infinite for a signal-to-noise ratio.
        after: The metric of its form.
        relative: The loss: by how much the perplexity, the likelihood of a step or a metric of one's own is worse, as
            a share; for signals the power of the noise as a share of the signal's.
        interval: The 95% confidence interval of the loss; None with fewer than 10 steps or numbers.
        upper: What the loss stays below with 99.9% confidence on as much other data that are like these; infinite with
            fewer than 10 steps, and the loss itself for a metric that is a single number.
        kl_nats: The mean Kullback-Leibler divergence of the model's token distribution from its form's, in nats per
            step; None for models without tokens.
        max_abs: The largest absolute difference in the main output.
        steps: Steps measured on.
    """

    metric: MetricName
    before: float
    after: float
    relative: float
    interval: tuple[float, float] | None
    upper: float
    kl_nats: float | None
    max_abs: float
    steps: int


def metric_of(spec: Spec, recording: Recording) -> MetricName:
    """Return what the quality of a model is measured by on a recording, where no metric is given."""
    if recording.targets is None or spec.distribution == "none":
        return "snr_db"
    return "perplexity" if spec.vocabulary else "nats"


class Judge:
    """Measures forms of one model against the model, all fed the same recording."""

    def __init__(self, engine: Engine, recording: Recording, metric: Metric | None = None) -> None:
        """Run the model as it is.

        Args:
            engine: The model.
            recording: What it and its forms are fed.
            metric: A loss of one's own. Without it, perplexity is measured for tokens, nats for other targets, and
                the signal-to-noise ratio of outputs without targets.

        Raises:
            InputError: If the recording does not fit the model, or an output or a loss is not finite.
        """
        self._engine, self._recording = engine, recording
        self._custom = metric
        self._spec = engine.spec
        self._outputs = outputs_along(engine, recording)
        if not np.isfinite(self._outputs).all():
            raise InputError("the model's outputs become NaN or infinite on what its quality is measured on")
        self.metric: MetricName = "custom" if metric is not None else metric_of(engine.spec, recording)
        self._before = self._losses(engine, self._outputs)
        if not np.isfinite(self._before).all():
            raise InputError("the metric gave numbers that are not finite for the model as it is")
        if self.metric in ("custom", "snr_db") and not self._before.mean() > 0:
            raise InputError(f"{self.metric} cannot be compared: before, the model's is {self._before.mean():g}")

    def quality(self, engine: Engine) -> Quality:
        """Return what a form of the model costs; infinitely much if an output or a loss becomes NaN or infinite.

        Raises:
            InputError: If a metric of one's own fails, or gives another number of losses than before.
        """
        outputs = outputs_along(engine, self._recording, beside=self._engine)
        if not np.isfinite(outputs).all():
            return self._lost()
        before, after = self._before, self._losses(engine, outputs)
        if before.shape != after.shape:
            raise InputError(f"the metric gave {before.size} numbers for the model and {after.size} for a form of it")
        if not np.isfinite(after).all():
            return self._lost()
        loss, parts = self._loss(after)
        single = self._custom is not None and after.size == 1
        half = half_interval(parts)
        return Quality(
            metric=self.metric,
            before=self._figure_before,
            after=self._figure(after.mean()),
            relative=loss,
            interval=(loss - half, loss + half) if math.isfinite(half) else None,
            upper=loss if single else loss + margin(parts),
            kl_nats=kl_nats(self._outputs, outputs) if self._tokens else None,
            max_abs=float(_distances(outputs, self._outputs).max()),
            steps=len(self._recording),
        )

    def _lost(self) -> Quality:
        """Return the quality of a form whose outputs are no numbers."""
        return Quality(
            metric=self.metric,
            before=self._figure_before,
            after=-math.inf if self.metric == "snr_db" else math.inf,
            relative=math.inf,
            interval=None,
            upper=math.inf,
            kl_nats=math.inf if self._tokens else None,
            max_abs=math.inf,
            steps=len(self._recording),
        )

    @property
    def _figure_before(self) -> float:
        return math.inf if self.metric == "snr_db" else self._figure(self._before.mean())

    @property
    def _tokens(self) -> bool:
        return self._spec.distribution == "categorical" and self._outputs.ndim == 2

    def _losses(self, engine: Engine, outputs: Array) -> Losses:
        """Return what the metric is a mean of; for signals the power of the noise, and of the signal itself before."""
        if self._custom is not None:
            return _own_losses(self._custom, engine, self._recording)
        if self.metric == "snr_db":
            return _powers(outputs, None if outputs is self._outputs else self._outputs)
        return step_nats(self._spec, outputs, self._recording)

    def _loss(self, after: Losses) -> tuple[float, Losses]:
        """Return the loss, and what each step adds to it: values whose mean scatters as the loss does."""
        before = self._before
        if self.metric in ("perplexity", "nats"):
            more = after - before
            loss = math.expm1(min(float(more.mean()), _MOST_NATS))
            return loss, (1 + loss) * more
        ratio = float(after.mean() / before.mean())
        return ratio - (self.metric == "custom"), (after - ratio * before) / before.mean()

    def _figure(self, mean: np.float64) -> float:
        """Return the metric for a mean loss."""
        if self.metric == "perplexity":
            return math.exp(min(mean, _MOST_NATS))
        if self.metric == "snr_db":
            return 10 * math.log10(self._before.mean() / mean) if mean > 0 else math.inf
        return float(mean)


def _own_losses(metric: Metric, engine: Engine, recording: Recording) -> Losses:
    """Return what a metric of one's own gives; an InputError if it fails, or gives what cannot be averaged."""
    try:
        losses = np.atleast_1d(np.asarray(metric(engine, recording), np.float64))
    except Exception as error:
        name = getattr(metric, "__name__", type(metric).__name__)
        raise InputError(f"the metric {name} failed: {type(error).__name__}: {last_line(error)}") from error
    if losses.ndim > 1:
        raise InputError(f"the metric must give a number, or a row of them, got an array of shape {losses.shape}")
    if not losses.size:
        raise InputError("the metric gave no numbers")
    return losses


def _powers(outputs: Array, reference: Array | None) -> Losses:
    """Return the power of each step `[steps]`, of the difference where there is a reference."""
    powers = np.empty(len(outputs))
    for rows in _blocks(len(outputs)):
        signal = outputs[rows].astype(np.float64)
        if reference is not None:
            signal = signal - reference[rows].astype(np.float64)
        powers[rows] = np.square(signal).reshape(len(signal), -1).sum(axis=1)
    return powers


def _distances(outputs: Array, reference: Array) -> Losses:
    """Return the largest absolute difference of each step, `[steps]`."""
    largest = np.empty(len(outputs))
    for rows in _blocks(len(outputs)):
        apart = np.abs(outputs[rows].astype(np.float64) - reference[rows].astype(np.float64))
        largest[rows] = apart.reshape(len(apart), -1).max(axis=1)
    return largest


def _blocks(steps: int) -> Iterator[slice]:
    """Yield slices of a few hundred steps, so that copies in double precision stay small."""
    for start in range(0, steps, _BLOCK):
        yield slice(start, start + _BLOCK)
