"""Quality: what a form of a model costs in the model's own terms, and how sure that is on a finite recording."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

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

_BLOCKS: Final = 100
_FEWEST_BLOCKS: Final = 10
_RESAMPLES: Final = 2000
_SEED: Final = 0
_INTERVAL: Final = (2.5, 97.5)
_SURE: Final = 99.0
_MOST_NATS: Final = 700.0
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
        interval: The 95% confidence interval of the loss; None for a metric that is a single number.
        upper: What the loss stays below with 99% confidence; the loss itself where there is no interval.
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
        self._recording = recording
        self._custom = metric
        self._spec = engine.spec
        self._outputs = outputs_along(engine, recording)
        if not np.isfinite(self._outputs).all():
            raise InputError("the model's outputs become NaN or infinite on what its quality is measured on")
        self.metric: MetricName = "custom" if metric is not None else metric_of(engine.spec, recording)
        self._before = self._losses(engine, self._outputs)
        if self.metric in ("custom", "snr_db") and not self._before.mean() > 0:
            raise InputError(f"{self.metric} cannot be compared: before, the model's is {self._before.mean():g}")

    def quality(self, engine: Engine) -> Quality:
        """Return what a form of the model costs; infinitely much if its outputs become NaN or infinite.

        Raises:
            InputError: If a metric of one's own gives other numbers than before.
        """
        outputs = outputs_along(engine, self._recording)
        if not np.isfinite(outputs).all():
            return self._lost()
        before, after = self._before, self._losses(engine, outputs)
        if before.shape != after.shape:
            raise InputError(f"the metric gave {before.size} numbers for the model and {after.size} for a form of it")
        loss = float(self._loss(before.mean(), after.mean()))
        resampled = self._resampled(before, after)
        return Quality(
            metric=self.metric,
            before=self._figure_before,
            after=self._figure(after.mean()),
            relative=loss,
            interval=None if resampled is None else _percentiles(resampled, _INTERVAL),
            upper=loss if resampled is None else max(loss, *_percentiles(resampled, (_SURE, _SURE))),
            kl_nats=kl_nats(self._outputs, outputs) if self._tokens else None,
            max_abs=float(np.abs(_noise(outputs, self._outputs)).max()),
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
            silence = np.zeros(1) if outputs is self._outputs else self._outputs
            return np.asarray(np.square(_noise(outputs, silence)).reshape(len(outputs), -1).sum(axis=1))
        return step_nats(self._spec, outputs, self._recording)

    def _loss(self, before: "Losses | np.float64", after: "Losses | np.float64") -> "Losses | np.float64":
        """Return the loss for mean losses before and after."""
        if self.metric in ("perplexity", "nats"):
            return np.expm1(np.minimum(after - before, _MOST_NATS))
        return after / before - (self.metric == "custom")

    def _figure(self, mean: np.float64) -> float:
        """Return the metric for a mean loss."""
        if self.metric == "perplexity":
            return math.exp(min(mean, _MOST_NATS))
        if self.metric == "snr_db":
            return 10 * math.log10(self._before.mean() / mean) if mean > 0 else math.inf
        return float(mean)

    def _resampled(self, before: Losses, after: Losses) -> Losses | None:
        """Return the losses of recordings made of random blocks of this one, which keep what neighbours share."""
        count = min(_BLOCKS, before.size)
        if count < _FEWEST_BLOCKS:
            return None
        lengths = np.array([len(part) for part in np.array_split(before, count)])
        starts = np.concatenate([[0], lengths.cumsum()[:-1]])
        sums = np.stack([np.add.reduceat(losses, starts) for losses in (before, after)])
        chosen = np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))
        means = sums[:, chosen].sum(axis=-1) / lengths[chosen].sum(axis=-1)
        return np.asarray(self._loss(means[0], means[1]))


def _own_losses(metric: Metric, engine: Engine, recording: Recording) -> Losses:
    """Return what a metric of one's own gives; an InputError if it fails, or gives what cannot be averaged."""
    try:
        losses = np.atleast_1d(np.asarray(metric(engine, recording), np.float64))
    except Exception as error:
        name = getattr(metric, "__name__", type(metric).__name__)
        raise InputError(f"the metric {name} failed: {type(error).__name__}: {last_line(error)}") from error
    if losses.ndim > 1:
        raise InputError(f"the metric must give a number, or a row of them, got an array of shape {losses.shape}")
    if not losses.size or not np.isfinite(losses).all():
        raise InputError("the metric gave numbers that are not finite, or none")
    return losses


def _noise(outputs: Array, reference: Array) -> Losses:
    return np.asarray(outputs.astype(np.float64) - reference.astype(np.float64))


def _percentiles(values: Losses, shares: tuple[float, float]) -> tuple[float, float]:
    low, high = np.percentile(values, shares)
    return float(low), float(high)
