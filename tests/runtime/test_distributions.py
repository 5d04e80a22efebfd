"""Drawing numbers: the moments of many draws are those of the distribution."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn_runtime.distributions import PARAMETER_AXES, UNIFORMS, draw, normals
from edgernn_runtime.noise import lane_uniforms, uniforms

DRAWS = 40_000
EDGES = (0.0, 1 - 2**-24)
PARAMETERS = {
    "none": np.array([0.5, -2], np.float32),
    "bernoulli": np.array([0.5, -2], np.float32),
    "gaussian": np.array([[0.5, -1], [-2, 0.5]], np.float32),
    "logistic_mixture": np.array(
        [[[0, 1, -1], [1, -1, -2], [-1, 3, -1]], [[-2, 0, 0], [0, 5, -1], [1, 6, -2]]], np.float32
    ),
}
"""Parameters of two numbers, by distribution."""


def many(distribution: str, *, temperature: float) -> NDArray[np.float32]:
    """Draw both numbers many times, [draws, 2]."""
    parameters = PARAMETERS[distribution]
    parameters = np.broadcast_to(parameters, (DRAWS, *parameters.shape))
    noise = lane_uniforms(7, 0, 1, UNIFORMS[distribution] * DRAWS * 2)[0]
    return draw(distribution, parameters, noise, temperature=temperature)


def moments(distribution: str, *, temperature: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the variance of both numbers, as the distribution has them."""
    parameters = PARAMETERS[distribution].astype(np.float64)
    if distribution == "bernoulli":
        p = 1 / (1 + np.exp(-parameters / temperature))
        return p, p * (1 - p)
    if distribution == "gaussian":
        return parameters[:, 0], (temperature * np.exp(parameters[:, 1])) ** 2
    weights = np.exp(parameters[..., 0] / temperature)
    weights /= weights.sum(-1, keepdims=True)
    means, scales = parameters[..., 1], temperature * np.exp(parameters[..., 2])
    mean = (weights * means).sum(-1)
    return mean, (weights * (means**2 + scales**2 * math.pi**2 / 3)).sum(-1) - mean**2


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("distribution", ["bernoulli", "gaussian", "logistic_mixture"])
def test_many_draws_have_the_mean_and_the_variance_of_the_distribution(distribution: str, temperature: float) -> None:
    mean, variance = moments(distribution, temperature=temperature)
    drawn = many(distribution, temperature=temperature).astype(np.float64)
    error = np.sqrt(variance / DRAWS)
    assert (np.abs(drawn.mean(0) - mean) < 4 * error).all()
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.1)


def test_numbers_that_are_drawn_together_do_not_depend_on_each_other() -> None:
    for distribution in ("bernoulli", "gaussian", "logistic_mixture"):
        drawn = many(distribution, temperature=1.0)
        assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / math.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [("none", [0.5, -2]), ("bernoulli", [1, 0]), ("gaussian", [0.5, -2]), ("logistic_mixture", [-1, 6])],
)
def test_temperature_0_takes_the_most_probable_whatever_the_noise(distribution: str, expected: list[float]) -> None:
    for seed in range(5):
        noise = lane_uniforms(seed, 0, 1, UNIFORMS[distribution] * 2)[0]
        assert expected == draw(distribution, PARAMETERS[distribution], noise, temperature=0).tolist()


@pytest.mark.parametrize("distribution", PARAMETERS)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_value_is_a_float32_array_without_the_axes_of_its_parameters(
    distribution: str, shape: tuple[int, ...], temperature: float
) -> None:
    behind = PARAMETERS[distribution].shape[1:]
    assert PARAMETER_AXES[distribution] == len(behind)
    parameters = np.broadcast_to(PARAMETERS[distribution][0], (*shape, *behind))
    value = draw(
        distribution, parameters, uniforms(0, 0, UNIFORMS[distribution] * math.prod(shape)), temperature=temperature
    )
    assert isinstance(value, np.ndarray)
    assert (np.float32, shape) == (value.dtype, value.shape)


@pytest.mark.parametrize("distribution", PARAMETERS)
@pytest.mark.parametrize("first", EDGES)
@pytest.mark.parametrize("second", EDGES)
@pytest.mark.parametrize("temperature", [0.001, 1.0, 1000.0])
def test_uniforms_at_the_edges_give_finite_values(
    distribution: str, first: float, second: float, temperature: float
) -> None:
    noise = np.array([first, first, second, second], np.float32)[: UNIFORMS[distribution] * 2]
    assert np.isfinite(draw(distribution, PARAMETERS[distribution], noise, temperature=temperature)).all()


@pytest.mark.parametrize("first", EDGES)
@pytest.mark.parametrize("second", EDGES)
def test_normals_of_the_edges_are_finite(first: float, second: float) -> None:
    assert np.isfinite(normals(np.array([first, second], np.float32))).all()


def test_a_component_of_a_mixture_without_weight_is_never_drawn() -> None:
    parameters = np.array([[-200, -50, -9], [0, 1, -9], [-200, 50, -9]], np.float32)
    for first in EDGES:
        value = draw("logistic_mixture", parameters, np.array([first, 0.5], np.float32), temperature=1.0)
        assert abs(float(value) - 1) < 0.01


def test_what_is_drawn_is_not_the_output_of_the_model() -> None:
    for distribution, parameters in PARAMETERS.items():
        for temperature in (0, 1.0):
            value = draw(
                distribution, parameters, uniforms(0, 0, 4)[: UNIFORMS[distribution] * 2], temperature=temperature
            )
            assert not np.shares_memory(value, parameters)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 9))
def test_the_uniforms_of_a_step_are_those_of_its_lanes(seed: int, step: int, count: int) -> None:
    lanes = [float(uniforms(seed, step, 1, lane=lane)[0]) for lane in range(count)]
    assert lanes == lane_uniforms(seed, step, 1, count)[0].tolist()
