"""Quality: the loss of a form of a model in the model's own terms, and an interval that holds what it promises."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torch import nn

from edgernn.models import FrameModel
from edgernn_export import Recording, export, quantize
from edgernn_export.likelihood import mean_nats, perplexity, step_nats
from edgernn_export.metadata import read_model, write_spec
from edgernn_export.outputs import outputs_along
from edgernn_export.quality import Judge, Quality
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import InputError

Losses = NDArray[np.float64]


@dataclass
class Replay:
    """A metric that gives numbers that were made beforehand: the first for the model, the others for its forms."""

    losses: Iterator[Losses]

    def __call__(self, *_: object) -> Losses:
        return next(self.losses)


@pytest.fixture(scope="module")
def engine(tiny_path: Callable[..., Path]) -> OrtEngine:
    return OrtEngine(tiny_path("elman"))


@pytest.fixture(scope="module")
def form(tiny_path: Callable[..., Path]) -> OrtEngine:
    return OrtEngine(tiny_path("elman", "int4"))


@pytest.fixture(scope="module")
def tokens(tiny_tokens: NDArray[np.int64]) -> Recording:
    return Recording.of_tokens("token", tiny_tokens[:501])


@pytest.fixture(scope="module")
def unscored(tokens: Recording) -> Recording:
    return Recording(tokens.inputs, tokens.starts)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> tuple[OrtEngine, OrtEngine]:
    """A model of a normal distribution of each channel, and its form."""
    torch.manual_seed(3)
    model = FrameModel(
        "gru", mean=[0.0] * 3, deviation=[1.0] * 3, hidden=20, layers=1, output=(3, 2), distribution="gaussian"
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    folder, recording = tmp_path_factory.mktemp("gaussian"), frames()
    source = export(model.eval(), folder / "model.onnx").path
    report = quantize(source, folder / "int4.onnx", precision="int4", recording=recording, method="nearest")
    return OrtEngine(source), OrtEngine(report.path)


def frames() -> Recording:
    made = np.random.default_rng(5).standard_normal((401, 3)).astype(np.float32)
    return Recording({"frame": made[:-1]}, np.arange(400) % 100 == 0, made[1:])


def replayed(engine: Engine, before: Losses, after: Losses) -> Quality:
    """Return the quality by a metric that gives `before` for the model and `after` for its form."""
    return Judge(engine, SHORT, Replay(iter([before, after]))).quality(engine)


SHORT = Recording.of("token", np.array([1, 2]))


def test_tokens_are_judged_by_perplexity(engine: OrtEngine, form: OrtEngine, tokens: Recording) -> None:
    quality = Judge(engine, tokens).quality(form)
    before, after = perplexity(engine, tokens), perplexity(form, tokens)
    assert (quality.metric, quality.steps) == ("perplexity", 500)
    assert (quality.before, quality.after) == pytest.approx((before, after), rel=1e-9)
    assert quality.relative == pytest.approx(after / before - 1, rel=1e-9)
    assert quality.max_abs > 0


def test_only_scored_targets_count(engine: OrtEngine, form: OrtEngine, tokens: Recording) -> None:
    scored = np.arange(500) % 3 == 0
    some = Recording(tokens.inputs, tokens.starts, tokens.targets, scored)
    nats = [step_nats(each.spec, outputs_along(each, tokens), tokens)[scored].mean() for each in (engine, form)]
    assert Judge(engine, some).quality(form).relative == pytest.approx(math.expm1(nats[1] - nats[0]), rel=1e-9)


def test_other_targets_are_judged_by_nats(gaussian: tuple[OrtEngine, OrtEngine]) -> None:
    recording = frames()
    quality = Judge(gaussian[0], recording).quality(gaussian[1])
    before, after = (mean_nats(each, recording) for each in gaussian)
    assert quality.metric == "nats"
    assert (quality.before, quality.after) == pytest.approx((before, after), rel=1e-9)
    assert quality.relative == pytest.approx(math.exp(after - before) - 1, rel=1e-6)
    assert quality.kl_nats is None


def test_outputs_without_targets_are_judged_by_their_noise(
    engine: OrtEngine, form: OrtEngine, unscored: Recording
) -> None:
    quality = Judge(engine, unscored).quality(form)
    clean, noisy = (outputs_along(each, unscored).astype(np.float64) for each in (engine, form))
    signal, noise = np.square(clean).sum(), np.square(noisy - clean).sum()
    assert (quality.metric, quality.before) == ("snr_db", math.inf)
    assert quality.after == pytest.approx(10 * math.log10(signal / noise), rel=1e-9)
    assert quality.relative == pytest.approx(noise / signal, rel=1e-9)
    assert quality.max_abs == np.abs(noisy - clean).max()


def test_a_metric_of_ones_own_is_compared_as_a_share(engine: OrtEngine, form: OrtEngine, unscored: Recording) -> None:
    def spread(judged: Engine, recording: Recording) -> Losses:
        return outputs_along(judged, recording).astype(np.float64).std(axis=1)

    quality = Judge(engine, unscored, spread).quality(form)
    before, after = spread(engine, unscored).mean(), spread(form, unscored).mean()
    assert quality.metric == "custom"
    assert (quality.before, quality.after) == pytest.approx((before, after), rel=1e-9)
    assert quality.relative == pytest.approx(after / before - 1, rel=1e-9)
    assert quality.interval is not None


def test_the_divergence_of_tokens_is_that_of_their_distributions(
    engine: OrtEngine, form: OrtEngine, tokens: Recording, unscored: Recording
) -> None:
    logits = [torch.from_numpy(outputs_along(each, tokens)).double() for each in (engine, form)]
    before, after = (torch.log_softmax(each, dim=-1) for each in logits)
    expected = float((before.exp() * (before - after)).sum(dim=-1).mean())
    for recording in (tokens, unscored):
        assert Judge(engine, recording).quality(form).kl_nats == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["perplexity", "snr_db", "custom"])
def test_a_form_that_equals_its_source_costs_nothing_for_sure(
    engine: OrtEngine, tokens: Recording, unscored: Recording, kind: str
) -> None:
    judge = {
        "perplexity": lambda: Judge(engine, tokens),
        "snr_db": lambda: Judge(engine, unscored),
        "custom": lambda: Judge(engine, tokens, lambda *_: np.random.default_rng(0).random(40)),
    }[kind]()
    quality = judge.quality(engine)
    assert quality.metric == kind
    assert quality.interval == (0, 0)
    assert (quality.relative, quality.upper, quality.max_abs) == (0, 0, 0)
    assert quality.kl_nats == 0
    assert quality.after == (math.inf if kind == "snr_db" else quality.before)


@pytest.mark.parametrize("count", [1, 9, 10, 99, 100, 101, 1234])
def test_an_interval_needs_ten_numbers(engine: OrtEngine, count: int) -> None:
    rng = np.random.default_rng(count)
    before, after = rng.random((2, count))
    quality = replayed(engine, before, after)
    assert quality.relative == pytest.approx(after.mean() / before.mean() - 1)
    if count < 10:
        assert quality.interval is None
        assert quality.upper == (quality.relative if count == 1 else math.inf)
    else:
        assert quality.interval is not None
        assert quality.interval[0] < quality.relative < quality.interval[1] < quality.upper


def test_a_metric_may_give_a_plain_number(engine: OrtEngine, form: OrtEngine, tokens: Recording) -> None:
    quality = Judge(engine, tokens, mean_nats).quality(form)
    assert quality.interval is None
    assert quality.upper == quality.relative
    assert quality.relative == pytest.approx(mean_nats(form, tokens) / mean_nats(engine, tokens) - 1)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 400), skew=st.floats(0, 3), seed=st.integers(0, 2**32 - 1))
def test_what_cannot_be_ruled_out_is_never_less_than_the_loss(
    engine: OrtEngine, count: int, skew: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    quality = replayed(engine, 0.1 + rng.random(count), np.exp(skew * rng.standard_normal(count)))
    assert quality.upper >= quality.relative
    assert quality.interval is None or quality.interval[0] <= quality.interval[1] <= quality.upper


def shared(rng: np.random.Generator, count: int, span: int) -> Losses:
    """Return normal noise of variance 1 that `span` neighbours share."""
    white = rng.standard_normal(count + span - 1)
    return np.asarray(np.convolve(white, np.full(span, span**-0.5), "valid"))


@pytest.mark.parametrize(("count", "span"), [(400, 1), (4000, 6)], ids=["independent", "shared with neighbours"])
def test_intervals_hold_the_true_loss_about_as_often_as_they_promise(engine: OrtEngine, count: int, span: int) -> None:
    rng, truth, runs = np.random.default_rng(8), 0.03, 200
    inside = below = 0
    for _ in range(runs):
        before = 3 + shared(rng, count, span)
        after = before + 3 * truth + 0.5 * shared(rng, count, span)
        quality = replayed(engine, before, after)
        assert quality.interval is not None
        inside += quality.interval[0] <= truth <= quality.interval[1]
        below += truth <= quality.upper
    assert 0.88 <= inside / runs <= 0.99
    assert below / runs >= 0.96


def test_what_both_models_share_does_not_widen_the_interval(engine: OrtEngine) -> None:
    rng = np.random.default_rng(1)
    before = 3 + rng.standard_normal(500)
    quality = replayed(engine, before, 1.01 * before)
    assert quality.interval == pytest.approx((0.01, 0.01))


def scaled(source: Path, factor: float) -> OrtEngine:
    """Return a language model whose logits are `factor` times larger, but for the bias."""
    proto, spec, _ = read_model(source)
    for tensor in proto.graph.initializer:
        if tensor.name == "model.head.weight.T":
            with np.errstate(over="ignore"):
                array = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    write_spec(proto, spec)
    return OrtEngine(proto.SerializeToString())


def test_the_figures_of_a_form_beyond_all_measure_are_numbers(
    engine: OrtEngine, tiny_path: Callable[..., Path], tokens: Recording
) -> None:
    quality = Judge(engine, tokens).quality(scaled(tiny_path("elman"), 1e4))
    assert math.isfinite(quality.max_abs)
    assert 1e100 < min(quality.after, quality.relative, quality.upper) < math.inf
    assert np.isfinite(quality.interval or math.nan).all()


@pytest.mark.parametrize("kind", ["tokens", "unscored"])
def test_a_form_whose_outputs_overflow_costs_infinitely_much(
    engine: OrtEngine, tiny_path: Callable[..., Path], request: pytest.FixtureRequest, kind: str
) -> None:
    quality = Judge(engine, request.getfixturevalue(kind)).quality(scaled(tiny_path("elman"), 3e38))
    assert quality.relative == quality.upper == quality.max_abs == math.inf


def test_a_model_whose_own_outputs_overflow_cannot_be_judged(tiny_path: Callable[..., Path], tokens: Recording) -> None:
    with pytest.raises(InputError, match="the model's outputs become NaN or infinite"):
        Judge(scaled(tiny_path("elman"), 3e38), tokens)
