"""One token out of the logits and one uniform number."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgernn_runtime import GREEDY, Sampler, uniforms
from edgernn_runtime.errors import InputError
from edgernn_runtime.sampling import sample_rows

Logits = NDArray[np.float32]

LOGITS = st.integers(1, 40).flatmap(lambda size: arrays(np.float32, size, elements=st.floats(-50, 50, width=32)))


def many_logits(seed: int, size: int, decimals: int) -> Logits:
    """Return logits of a large vocabulary, in -8 to 8; with few decimals, many are equal."""
    return np.random.default_rng(seed).normal(0, 2, size).clip(-8, 8).round(decimals).astype(np.float32)


MILD_LOGITS = st.one_of(
    st.integers(1, 40).flatmap(lambda size: arrays(np.float32, size, elements=st.floats(-8, 8, width=32))),
    st.builds(many_logits, st.integers(0, 2**32 - 1), st.integers(200, 3000), st.integers(0, 6)),
)
UNIFORMS = st.integers(0, 2**24 - 1).map(lambda bits: bits / 2**24)
SAMPLERS = st.builds(
    Sampler,
    temperature=st.floats(0.05, 10),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.01, 1),
)


@given(LOGITS, UNIFORMS)
def test_greedy_takes_the_highest_logit_whatever_the_uniform(logits: Logits, uniform: float) -> None:
    assert int(np.argmax(logits)) == GREEDY.sample(logits, uniform)
    assert int(np.argmax(logits)) == Sampler(temperature=0, top_k=3, top_p=0.5).sample(logits, uniform)


def test_greedy_takes_the_first_of_equal_logits() -> None:
    assert GREEDY.sample(np.array([1, 3, 3], np.float32), 0.9) == 1


@given(LOGITS, SAMPLERS, UNIFORMS)
def test_the_chosen_token_has_a_probability_above_zero(logits: Logits, sampler: Sampler, uniform: float) -> None:
    token = sampler.sample(logits, uniform)
    assert 0 <= token < logits.size
    assert sampler.probabilities(logits)[token] > 0


@given(MILD_LOGITS, st.floats(0.5, 4))
def test_without_filters_probabilities_are_a_softmax(logits: Logits, temperature: float) -> None:
    weights = Sampler(temperature).probabilities(logits).astype(np.float64)
    softmax = np.exp(logits.astype(np.float64) / temperature)
    np.testing.assert_allclose(weights / weights.sum(), softmax / softmax.sum(), rtol=1e-4)


@given(MILD_LOGITS, st.integers(1, 50), st.floats(0.5, 4))
def test_top_k_keeps_the_k_most_probable_tokens(logits: Logits, top_k: int, temperature: float) -> None:
    weights = Sampler(temperature, top_k=top_k).probabilities(logits)
    kept = np.flatnonzero(weights)
    best = sorted(range(logits.size), key=lambda token: (-logits[token], token))[:top_k]
    assert sorted(best) == kept.tolist()


@given(MILD_LOGITS, st.floats(0.01, 0.999), st.floats(0.5, 4))
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(logits: Logits, top_p: float, temperature: float) -> None:
    every = Sampler(temperature).probabilities(logits).astype(np.float64)
    kept = Sampler(temperature, top_p=top_p).probabilities(logits).astype(np.float64)
    wanted = top_p * every.sum()
    assert kept.sum() >= wanted * (1 - 1e-9)
    assert kept.sum() - kept[kept > 0].min() < wanted * (1 + 1e-9)
    assert every[kept > 0].min() >= every[kept == 0].max(initial=0)
    assert every[kept > 0].tolist() == kept[kept > 0].tolist()


def test_top_p_counts_the_mass_that_top_k_left() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    assert np.flatnonzero(Sampler(1.0, top_k=2, top_p=0.5).probabilities(logits)).tolist() == [0]
    assert np.flatnonzero(Sampler(1.0, top_p=0.5).probabilities(logits)).tolist() == [0, 1]


@given(MILD_LOGITS, SAMPLERS, UNIFORMS)
def test_the_choice_is_the_inverse_of_the_cumulative_distribution(
    logits: Logits, sampler: Sampler, uniform: float
) -> None:
    weights = [float(weight) for weight in sampler.probabilities(logits)]
    tokens = list(range(len(weights)))
    if sampler.filters:
        tokens.sort(key=lambda token: (-logits[token], token))
    total, passed, expected = math.fsum(weights), 0.0, -1
    for token in tokens:
        passed += weights[token]
        if math.isclose(passed, (uniform + 2**-24) * total, rel_tol=1e-9):
            return  # the sum's own rounding decides
        if passed > (uniform + 2**-24) * total:
            expected = token
            break
    assert expected == sampler.sample(logits, uniform)


def test_tokens_come_as_often_as_they_are_probable() -> None:
    probabilities = np.array([0.5, 0.2, 0.0, 0.3])
    logits = np.log(probabilities + 1e-30).astype(np.float32)
    tokens = [Sampler().sample(logits, float(uniform)) for uniform in uniforms(4, 0, 20_000)]
    np.testing.assert_allclose(np.bincount(tokens, minlength=4) / 20_000, probabilities, atol=0.01)


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(top_k=2), Sampler(top_p=0.5)])
@pytest.mark.parametrize(
    "logits", [[0.0, math.nan, 1.0], [math.nan] * 3, [0.0, math.inf, 1.0], [-math.inf] * 3], ids=str
)
def test_logits_of_a_broken_model_are_refused(sampler: Sampler, logits: list[float]) -> None:
    with pytest.raises(InputError, match="so nothing can be chosen"):
        sampler.sample(np.array(logits, np.float32), 0.5)


def test_the_lowest_temperature_is_almost_greedy() -> None:
    assert Sampler(1e-3).sample(np.array([1, 3, 2], np.float32), 0.999) == 1


@pytest.mark.parametrize("temperature", [-0.1, 1e-4, 1e-60, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=rf"temperature must be 0 \(greedy\) or 0.001 to 1000, got {temperature}"):
        Sampler(temperature)


def test_a_negative_top_k_is_refused() -> None:
    with pytest.raises(InputError, match=r"top_k must be 0 \(off\) or positive, got -1"):
        Sampler(top_k=-1)


@pytest.mark.parametrize("top_p", [0.0, -1.0, 1.5, math.nan])
def test_a_top_p_out_of_range_is_refused(top_p: float) -> None:
    with pytest.raises(InputError, match=rf"top_p must lie in \(0, 1\], got {top_p}"):
        Sampler(top_p=top_p)


def test_a_repeated_token_becomes_less_probable() -> None:
    logits = np.array([2.0, 1.9, -1.0], np.float32)
    sampler = Sampler(temperature=0, repetition_penalty=1.5)
    assert [sampler.sample(logits, 0.5, recent=recent) for recent in ([], [2], [0, 0], [0, 1])] == [0, 0, 1, 0]


def test_a_penalty_makes_negative_logits_more_negative() -> None:
    logits = np.array([-1.0, -1.2], np.float32)
    assert Sampler(temperature=0, repetition_penalty=1.5).sample(logits, 0.5, recent=[0]) == 1


@given(MILD_LOGITS, SAMPLERS, UNIFORMS, st.data())
def test_only_allowed_tokens_are_chosen(logits: Logits, sampler: Sampler, uniform: float, data: st.DataObject) -> None:
    allowed = data.draw(st.sets(st.integers(0, logits.size - 1), min_size=1))
    assert replace(sampler, allowed=tuple(allowed)).sample(logits, uniform) in allowed


def test_a_model_that_is_broken_where_no_token_is_allowed_still_chooses() -> None:
    assert Sampler(allowed=(1,)).sample(np.array([math.nan, 1.0], np.float32), 0.5) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetition_penalty": 0.0}, "repetition_penalty must lie in 0.01 to 100, got 0.0"),
        ({"repetition_penalty": math.nan}, "repetition_penalty must lie in 0.01 to 100, got nan"),
        ({"allowed": ()}, "allowed must hold at least one token"),
        ({"allowed": (-1,)}, "allowed must hold at least one token, integers from 0 on"),
        ({"allowed": (0.5,)}, "allowed must hold at least one token, integers from 0 on"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampler(**settings)


def test_an_allowed_token_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="allowed has token 3; the vocabulary ends at 2"):
        Sampler(allowed=(1, 3)).sample(np.zeros(3, np.float32), 0.5)


@given(
    arrays(np.float32, (5, 12), elements=st.floats(-8, 8, width=32)),
    st.lists(UNIFORMS, min_size=5, max_size=5),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.5]), min_size=5, max_size=5),
)
def test_rows_are_sampled_as_each_is_alone(logits: Logits, chances: list[float], temperatures: list[float]) -> None:
    expected = [Sampler(t).sample(row, u) for row, u, t in zip(logits, chances, temperatures, strict=True)]
    found = sample_rows(logits, np.array(chances, np.float32), np.array(temperatures, np.float32))
    assert expected == found.tolist()


def test_a_broken_row_is_marked_and_harms_no_other() -> None:
    logits = np.array([[0, 1], [math.nan, 0], [-math.inf, -math.inf], [math.inf, 0]], np.float32)
    assert sample_rows(logits, np.zeros(4, np.float32), np.ones(4, np.float32)).tolist() == [0, -1, -1, -1]


def test_integers_of_numpy_are_settings_like_others() -> None:
    sampler = Sampler(1.0, top_k=np.int64(5), allowed=tuple(np.array([3, 1])))  # type: ignore[arg-type]
    assert sampler == Sampler(1.0, top_k=5, allowed=(1, 3))
    assert type(sampler.top_k) is int
    with pytest.raises(InputError, match=r"top_k must be 0 \(off\) or positive, got 1.5"):
        Sampler(top_k=1.5)  # type: ignore[arg-type]
