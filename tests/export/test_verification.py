"""Drift: how it grows, whose fault it is, and whether streams that parted are still alike."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.models import RecurrentLMStep
from edgernn_export import Recording, TorchEngine, verify
from edgernn_export.drift.curve import MAX_WINDOWS, Curve
from edgernn_export.drift.free_running import free_running
from edgernn_export.drift.likeness import Distance, frame_likeness, token_likeness
from edgernn_export.drift.record import to_record
from edgernn_export.drift.report import VerifyReport
from edgernn_export.drift.statistics import (
    LN_2,
    jensen_shannon_nats,
    kolmogorov_smirnov,
    lag_one,
    ngram_counts,
)
from edgernn_export.drift.teacher_forced import StateDrift, teacher_forced
from edgernn_runtime import Model
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import BATCH, Distribution, Feedback, Spec, StateSpec, TensorSpec

Tokens = NDArray[np.int64]
Numbers = NDArray[np.float64]

COUNTS = hnp.arrays(np.int64, 6, elements=st.integers(0, 1000))
SAMPLES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4))
STREAMS = hnp.arrays(np.int64, st.integers(3, 40), elements=st.integers(0, 3))


@given(COUNTS, COUNTS)
def test_the_jensen_shannon_divergence_is_symmetric_and_at_most_ln_2(left: Tokens, right: Tokens) -> None:
    assume(left.any() and right.any())
    nats = jensen_shannon_nats(left, right)
    assert nats == jensen_shannon_nats(right, left)
    assert 0 <= nats <= LN_2
    assert jensen_shannon_nats(left, 3 * left) == pytest.approx(0, abs=1e-15)


def test_the_jensen_shannon_divergence_of_known_histograms() -> None:
    assert jensen_shannon_nats(np.array([5, 0]), np.array([0, 2])) == LN_2
    expected = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert jensen_shannon_nats(np.array([3, 0]), np.array([1, 1])) == pytest.approx(expected)


@given(STREAMS, STREAMS, st.integers(1, 3))
def test_ngrams_are_counted_as_tuples_are(left: Tokens, right: Tokens, order: int) -> None:
    grams = [[tuple(part[i : i + order]) for i in range(len(part) - order + 1)] for part in (left, right)]
    expected = sorted((grams[0].count(gram), grams[1].count(gram)) for gram in {*grams[0], *grams[1]})
    assert expected == sorted(zip(*(counts.tolist() for counts in ngram_counts(left, right, order)), strict=True))


def test_ngrams_of_large_tokens_do_not_overflow() -> None:
    left, right = ngram_counts(np.array([2**62, 0, 2**62, 0]), np.array([2**62, 1, 2**62]), 3)
    assert (left.tolist(), right.tolist()) in [([1, 1, 0], [0, 0, 1]), ([1, 0, 1], [0, 1, 0]), ([0, 1, 1], [1, 0, 0])]


@given(SAMPLES, SAMPLES)
def test_kolmogorov_smirnov_is_the_largest_distance_of_distribution_functions(left: Numbers, right: Numbers) -> None:
    expected = max(abs((left <= x).mean() - (right <= x).mean()) for x in range(-4, 5))
    assert kolmogorov_smirnov(left, right) == pytest.approx(expected)
    assert kolmogorov_smirnov(left, left) == 0


def test_autocorrelation_is_found_and_none_where_nothing_changes() -> None:
    wave = np.sin(np.arange(2000) * 0.1)
    flipping = (-1.0) ** np.arange(2000)
    found = lag_one(np.stack([wave, flipping, np.full(2000, 3.0)], axis=1))
    assert found == pytest.approx([math.cos(0.1), -1, 0], abs=2e-3)


@given(hnp.arrays(np.float64, st.integers(1, 900), elements=st.floats(0, 9)))
def test_a_curve_keeps_the_largest_and_the_mean_of_at_most_200_windows(values: Numbers) -> None:
    curve = Curve.of(values)
    assert len(curve.largest) == len(curve.mean) == -(-len(values) // curve.window) <= MAX_WINDOWS
    assert max(curve.largest) == values.max()
    sizes = [min(curve.window, len(values) - start) for start in curve.starts]
    assert np.dot(curve.mean, sizes) == pytest.approx(values.sum())
    for start, largest in zip(curve.starts, curve.largest, strict=True):
        assert largest == values[start : start + curve.window].max()


def test_a_curve_with_nan_says_so_where_it_is() -> None:
    curve = Curve.of(np.array([1.0, math.nan, 2.0]))
    assert [False, True, False] == np.isnan(curve.largest).tolist()


def walk(seed: int, repeat: float, steps: int = 4000) -> Numbers:
    """Return frames of three features with mean 0 and deviation 1 whose autocorrelation is `repeat`."""
    shocks = np.random.default_rng(seed).standard_normal((steps, 3)) * math.sqrt(1 - repeat**2)
    frames = shocks.copy()
    for i in range(1, steps):
        frames[i] += repeat * frames[i - 1]
    return frames


@pytest.mark.parametrize("repeat", [0.0, 0.5, 0.95])
def test_frames_of_one_process_are_alike_and_of_another_are_not(repeat: float) -> None:
    source = walk(0, repeat)
    alike = [frame_likeness(source, walk(seed, repeat), walk(seed + 1, repeat)).same for seed in range(1, 41, 2)]
    assert alike.count(True) >= 19
    assert frame_likeness(source, walk(5, repeat) + 1, walk(6, repeat)).same is False
    wide = frame_likeness(source, 3 * walk(5, repeat), walk(6, repeat))
    assert {"ks": False, "mean_shift_sd": True} == {each.name: each.within for each in wide.distances}


def test_a_feature_that_never_changes_is_measured_too() -> None:
    source = np.stack([np.zeros(100), np.arange(100.0)], axis=1)
    assert [0, 0] == [each.candidate for each in frame_likeness(source, source, source).distances]
    lit = source.copy()
    lit[50:, 0] = 1
    ks, shift = frame_likeness(source, lit, source).distances
    assert ks.candidate == pytest.approx(0.25)
    assert shift.candidate == pytest.approx(0.5 / math.sqrt(0.75 * 0.25))


def chain(seed: int, stay: float, steps: int = 3000) -> Tokens:
    """Return tokens of 5 kinds that stay what they were with a probability."""
    rng = np.random.default_rng(seed)
    moves = rng.random(steps) >= stay
    tokens = np.cumsum(moves * rng.integers(1, 5, steps)) % 5
    return tokens.astype(np.int64)


def test_tokens_of_one_chain_are_alike_and_of_another_are_not() -> None:
    trios = [[chain(seed + i, 0.5) for i in range(3)] for seed in range(0, 90, 3)]
    assert [token_likeness(*trio).same for trio in trios].count(True) >= 29
    sticky = token_likeness(chain(0, 0.5), chain(1, 0.7), chain(2, 0.5))
    assert sticky.same is False
    assert [True, False, False] == [each.within for each in sticky.distances]
    stuck = token_likeness(chain(0, 0.5), np.zeros(3000, np.int64), chain(2, 0.5))
    assert [False, False, False] == [each.within for each in stuck.distances]


def test_a_limit_is_the_yardstick_and_a_quarter_more_and_the_slack() -> None:
    assert Distance("ks", 0.35, 0.2, 0.1).within
    assert not Distance("ks", 0.3501, 0.2, 0.1).within
    assert Distance("ks", 0.3, None, 0.1).within is None


@pytest.fixture(scope="module")
def tokens(tiny_tokens: NDArray[np.int64]) -> Recording:
    return Recording.of_tokens("token", tiny_tokens[:801])


@pytest.fixture(scope="module")
def int8_report(tiny_path: Callable[..., Path], tokens: Recording) -> VerifyReport:
    return verify(OrtEngine(tiny_path("lstm")), OrtEngine(tiny_path("lstm", "int8")), tokens, tolerance=None)


def test_the_growth_of_an_int8_lstm_agrees_with_its_figures(int8_report: VerifyReport) -> None:
    forced = int8_report.teacher_forced
    assert forced.growth.window == 4
    assert len(forced.growth.largest) == 200
    assert max(forced.growth.largest) == forced.max_abs > 0
    assert forced.kl_growth is not None
    assert np.mean(forced.kl_growth.mean) == pytest.approx(forced.kl_nats)
    for state in forced.states:
        assert max(state.growth.largest) == state.max_abs
        assert state.relative == state.max_abs / state.magnitude > 0
    hidden = [state for state in forced.states if state.name.endswith(".h")]
    assert all(0 < state.magnitude <= 1 for state in hidden)
    assert forced.worst_state in {state.name for state in hidden}


def test_the_magnitude_of_a_state_is_the_sources(
    int8_report: VerifyReport, tiny_path: Callable[..., Path], tokens: Recording
) -> None:
    executor = OrtEngine(tiny_path("lstm")).executor(1)
    largest = np.zeros(len(executor.read_state()))
    for step in range(len(tokens)):
        tokens.feed(executor, step)
        executor.run()
        largest = np.maximum(largest, [np.abs(state).max() for state in executor.read_state()])
    assert largest.tolist() == [state.magnitude for state in int8_report.teacher_forced.states]


def test_growth_is_in_the_order_of_the_steps(tiny_step: Callable[[str], RecurrentLMStep], tokens: Recording) -> None:
    step = tiny_step("lstm")

    class Aging(nn.Module):
        """The model, with a logit that moves more and more."""

        spec = replace(step.spec, states=(*step.spec.states, StateSpec("state.age", "next_age", "float32", (BATCH, 1))))

        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate = rate

        def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            logits, *others = step(token, *states[:-1])
            return logits + self.rate * states[-1], *others, states[-1] + 1

    forced = teacher_forced(TorchEngine(Aging(0.0)), TorchEngine(Aging(0.01)), tokens.head(100), tolerance=0.105)
    assert forced.growth.largest == pytest.approx(0.01 * np.arange(100), abs=1e-5)
    assert forced.first_divergence == 11
    assert forced.kl_nats == pytest.approx(0, abs=1e-9)
    assert forced.states[-1].magnitude == 100


def state_drift(name: str, difference: float, magnitude: float, diverged: int | None) -> StateDrift:
    return StateDrift(name, difference, magnitude, diverged, Curve.of(np.array([difference])))


def test_the_worst_state_is_the_first_to_diverge_else_the_relatively_farthest(int8_report: VerifyReport) -> None:
    large, small = state_drift("c", 0.01, 500.0, None), state_drift("h", 0.001, 1.0, None)
    first, second = state_drift("first", 0.1, 1000.0, 3), state_drift("second", 0.1, 1.0, 3)
    for expected, states in (
        ("h", (large, small)),
        ("first", (small, first)),
        ("second", (first, second)),
        ("nan", (small, state_drift("nan", math.nan, 1.0, None))),
        ("from nothing", (small, state_drift("from nothing", 1e-9, 0.0, None))),
        ("h", (state_drift("zero", 0.0, 0.0, None), small)),
        (None, ()),
    ):
        assert expected == replace(int8_report.teacher_forced, states=states).worst_state


def test_the_first_other_token_is_kept(int8_report: VerifyReport, tiny_model: Callable[..., Model]) -> None:
    run = int8_report.sampled
    assert run is not None
    assert run.first_divergence is not None
    assert run.tokens is not None
    for precision, token in zip(("float32", "int8"), run.tokens, strict=True):
        stream = tiny_model("lstm", precision).stream(seed=0, sampler=Sampler())
        assert token == list(stream.generate(run.first_divergence + 1))[-1]
    weights = [len(range(start, min(start + 4, 800))) for start in run.agreements.starts]
    assert run.agreement == pytest.approx(np.dot(run.agreements.mean, weights) / 800)


def test_an_int8_stream_that_parted_is_of_one_distribution(int8_report: VerifyReport) -> None:
    assert int8_report.sampled is not None
    likeness = int8_report.sampled.likeness
    assert likeness is not None
    assert ["jsd_1gram_nats", "jsd_2gram_nats", "jsd_3gram_nats"] == [each.name for each in likeness.distances]
    assert all(0 < each.candidate < LN_2 for each in likeness.distances)
    assert all(each.yardstick for each in likeness.distances)
    assert int8_report.same_distribution is True
    assert int8_report.greedy is not None
    assert int8_report.greedy.likeness is None


def test_the_yardstick_is_the_source_with_the_next_seed(
    int8_report: VerifyReport, tiny_model: Callable[..., Model]
) -> None:
    streams = [np.array(list(tiny_model("lstm").stream(seed=seed, sampler=Sampler()).generate(800))) for seed in (0, 1)]
    assert int8_report.sampled is not None
    assert int8_report.sampled.likeness is not None
    for order, distance in enumerate(int8_report.sampled.likeness.distances, 1):
        assert distance.yardstick == jensen_shannon_nats(*ngram_counts(*streams, order))


class Biased(nn.Module):
    """A language model that likes one token more than its weights say."""

    def __init__(self, step: RecurrentLMStep) -> None:
        super().__init__()
        self.spec, self.step = step.spec, step

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        logits, *states = self.step(*inputs)
        return logits + 3 * (torch.arange(logits.shape[-1]) == 4), *states


@pytest.fixture(scope="module")
def biased(tiny_step: Callable[[str], RecurrentLMStep]) -> TorchEngine:
    return TorchEngine(Biased(tiny_step("lstm")))


def test_a_biased_model_is_of_another_distribution(
    tiny_path: Callable[..., Path], biased: TorchEngine, tokens: Recording
) -> None:
    source = OrtEngine(tiny_path("lstm"))
    run = free_running(source, biased, tokens, sampler=Sampler(), seed=0)
    assert run.same_distribution is False
    greedy = free_running(source, biased, tokens, sampler=GREEDY, seed=0)
    assert greedy.first_divergence is not None
    assert greedy.same_distribution is None


def test_two_steps_are_enough(tiny_path: Callable[..., Path], biased: TorchEngine, tokens: Recording) -> None:
    source = OrtEngine(tiny_path("lstm"))
    runs = [free_running(source, biased, tokens.head(2), sampler=Sampler(), seed=seed) for seed in range(8)]
    measured = [run.likeness for run in runs if run.likeness is not None]
    assert measured
    assert {2} == {len(likeness.distances) for likeness in measured}


def test_streams_that_never_part_are_of_one_distribution(tiny_path: Callable[..., Path], tokens: Recording) -> None:
    source = OrtEngine(tiny_path("gru"))
    report = verify(source, source, tokens.head(50), tolerance=0)
    assert report.passed
    assert report.same_distribution is True
    assert report.sampled is not None
    assert (report.sampled.likeness, report.sampled.tokens) == (None, None)
    assert report.sampled.agreements.mean == (1.0,) * 50


class Walker(nn.Module):
    """Frames of two numbers that follow themselves: the mean of the next is `rate` of the last, plus `shift`."""

    def __init__(self, distribution: Distribution, rate: float, shift: float = 0.0) -> None:
        super().__init__()
        self.rate, self.shift = rate, shift
        tail = (2, 2) if distribution == "gaussian" else (2,)
        self.spec = Spec(
            inputs=(TensorSpec("frame", "float32", (BATCH, 2), "frame"),),
            outputs=(TensorSpec("params", "float32", (BATCH, *tail), "params"),),
            states=(StateSpec("state.last", "next_state.last", "float32", (BATCH, 2)),),
            distribution=distribution,
            feedback=Feedback("params", "frame", start=1),
        )

    def forward(self, frame: Tensor, last: Tensor) -> tuple[Tensor, ...]:
        mean = self.rate * frame + self.shift
        if self.spec.distribution == "gaussian":
            mean = torch.stack([mean, torch.zeros_like(mean)], dim=-1)
        return mean, 0.5 * last + frame


def test_frames_have_moments_and_a_verdict() -> None:
    recording = Recording.of("frame", np.zeros((1000, 2), np.float32))
    engine = TorchEngine(Walker("gaussian", 0.5))
    near = free_running(engine, TorchEngine(Walker("gaussian", 0.5, 0.002)), recording, sampler=Sampler(), seed=1)
    far = free_running(engine, TorchEngine(Walker("gaussian", 0.5, 1.0)), recording, sampler=Sampler(), seed=1)
    assert near.first_divergence is not None
    assert (near.same_distribution, far.same_distribution) == (True, False)
    assert (far.tokens, far.margin) == (None, None)
    assert far.likeness is not None
    source, candidate, other = far.likeness.moments
    for moments, mean in ((source, 0), (candidate, 2), (other, 0)):
        assert moments.mean == pytest.approx([mean, mean], abs=0.25)
        assert moments.deviation == pytest.approx([math.sqrt(4 / 3)] * 2, rel=0.1)
        assert moments.autocorrelation == pytest.approx([0.5, 0.5], abs=0.1)
    shift = far.likeness.distances[1]
    assert shift.candidate == pytest.approx(2 / math.sqrt(4 / 3), rel=0.15)


def test_a_model_that_samples_nothing_has_no_yardstick() -> None:
    recording = Recording.of("frame", np.zeros((60, 2), np.float32))
    source, other = TorchEngine(Walker("none", 0.9)), TorchEngine(Walker("none", 0.9, 0.1))
    report = verify(source, other, recording, tolerance=None)
    assert report.sampled is not None
    assert report.sampled.likeness is not None
    assert report.same_distribution is None
    assert [None, None] == [each.yardstick for each in report.sampled.likeness.distances]
    assert len(report.sampled.likeness.moments) == 2
    record = json.loads(json.dumps(to_record(report), allow_nan=False))
    likeness = record["free_running"]["sampled"]["likeness"]
    assert likeness["distances"]["ks"]["yardstick"] is None
    assert likeness["moments"].keys() == {"source", "candidate"}
    assert record["same_distribution"] is None


def test_the_json_form_is_small_and_has_every_figure(int8_report: VerifyReport) -> None:
    text = json.dumps(to_record(int8_report), allow_nan=False)
    assert len(text) < 50_000
    record = json.loads(text)
    forced, free = record["teacher_forced"], record["free_running"]
    assert forced["max_abs"] == int8_report.teacher_forced.max_abs
    assert forced["states"][0].keys() == {"name", "max_abs", "magnitude", "relative", "diverged", "growth"}
    assert len(forced["growth"]["largest"]) == len(forced["kl_growth"]["mean"]) == 200
    assert free["agreement"] == min(free["greedy"]["agreement"], free["sampled"]["agreement"])
    assert free["sampled"]["likeness"]["distances"].keys() == {"jsd_1gram_nats", "jsd_2gram_nats", "jsd_3gram_nats"}
    assert free["sampled"]["likeness"]["moments"] is None
    unigrams = free["sampled"]["likeness"]["distances"]["jsd_1gram_nats"]
    assert unigrams["limit"] == pytest.approx(1.25 * unigrams["yardstick"] + unigrams["slack"])
    assert record["same_distribution"] is True


def test_what_is_not_finite_is_null_in_json(int8_report: VerifyReport) -> None:
    broken = replace(
        int8_report.teacher_forced,
        max_abs=math.nan,
        growth=Curve.of(np.array([1.0, math.inf])),
        states=(state_drift("h", math.nan, 0.0, 0),),
    )
    record = to_record(replace(int8_report, teacher_forced=broken, greedy=None, sampled=None, tolerance=1.0))
    forced = json.loads(json.dumps(record, allow_nan=False))["teacher_forced"]
    assert forced["max_abs"] is None
    assert forced["growth"]["largest"] == [1.0, None]
    assert forced["states"][0]["relative"] is None
    assert (record["passed"], record["free_running"], record["same_distribution"]) == (False, None, None)


def test_tokens_that_both_models_rule_out_cost_no_divergence(
    tiny_step: Callable[[str], RecurrentLMStep], tokens: Recording
) -> None:
    class Masked(nn.Module):
        spec = tiny_step("gru").spec

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            logits, *states = tiny_step("gru")(*inputs)
            return logits.masked_fill(torch.arange(logits.shape[-1]) == 4, -math.inf), *states

    forced = teacher_forced(TorchEngine(Masked()), TorchEngine(Masked()), tokens.head(5))
    assert (forced.max_abs, forced.kl_nats, forced.first_divergence) == (0, 0, None)
