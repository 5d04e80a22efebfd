"""Models that draw in their graph: fed the uniforms of each step, alone and in a pool."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgernn_export import export
from edgernn_runtime import Model, Sampler, load
from edgernn_runtime.errors import InputError, SpecError
from edgernn_runtime.noise import lane_uniforms
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec


class Walk(nn.Module):
    """A driven random walk of two numbers: fed a push, it adds three uniforms a step, in two inputs."""

    spec = Spec(
        inputs=(
            TensorSpec("first", "float32", (BATCH, 2), "noise"),
            TensorSpec("push", "float32", (BATCH, 2), "frame"),
            TensorSpec("second", "float32", (BATCH, 1), "noise"),
        ),
        outputs=(TensorSpec("place", "float32", (BATCH, 2), "frame"),),
        states=(StateSpec("state.place", "next_state.place", "float32", (BATCH, 2)),),
    )

    def forward(self, first: Tensor, push: Tensor, second: Tensor, place: Tensor) -> tuple[Tensor, ...]:
        place = place + push + first - second
        return place, 1.0 * place


class Dice(nn.Module):
    """A gaussian that is drawn outside the graph, whose mean is drawn inside."""

    spec = Spec(
        inputs=(
            TensorSpec("value", "float32", (BATCH, 1), "frame"),
            TensorSpec("noise", "float32", (BATCH, 1), "noise"),
        ),
        outputs=(TensorSpec("params", "float32", (BATCH, 1, 2), "params"),),
        states=(),
        distribution="gaussian",
        feedback=Feedback("params", "value", start=0),
    )

    def forward(self, value: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        return (torch.stack([noise + 0 * value, 0 * value], dim=-1),)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(Walk(), tmp_path_factory.mktemp("walk") / "m.onnx").path)


PUSH = np.array([1.0, -1.0], np.float32)
SEED, STEPS = 2**63 + 5, 300


def expected(seed: int, steps: int) -> np.ndarray:
    """Return the places of a walk that is pushed at every step, `[steps, 2]`."""
    noise = lane_uniforms(seed, 0, steps, 3)
    return np.cumsum(PUSH + noise[:, :2] - noise[:, 2:], axis=0)


def test_a_stream_feeds_the_uniforms_of_its_seed_and_step(walk: Model) -> None:
    assert walk.spec.main_input.name == "push"
    found = walk.stream(seed=SEED).run(np.tile(PUSH, (STEPS, 1)))
    np.testing.assert_allclose(expected(SEED, STEPS), found, atol=1e-3)


def test_a_stream_that_is_cut_forked_or_reset_draws_the_same(walk: Model) -> None:
    stream = walk.stream(seed=SEED)
    stream.run(np.tile(PUSH, (7, 1)))
    snapshot, fork = stream.snapshot(), stream.fork()
    uncut = stream.run(np.tile(PUSH, (20, 1)))
    assert uncut.tolist() == fork.run(np.tile(PUSH, (20, 1))).tolist()
    assert uncut.tolist() == walk.stream(state=snapshot).run(np.tile(PUSH, (20, 1))).tolist()
    stream.reset()
    np.testing.assert_allclose(expected(SEED, 9), stream.run(np.tile(PUSH, (9, 1))), atol=1e-4)


def test_streams_of_a_pool_draw_what_they_draw_alone(walk: Model) -> None:
    pool = walk.pool(capacity=2)
    streams = [pool.open(seed=seed) for seed in (3, SEED, 4)]
    for i in range(20):
        pool.feed(dict.fromkeys(streams[: 1 + i % 3], PUSH))
    found = dict(pool.feed(dict.fromkeys(streams, PUSH)))
    for stream, seed, steps in zip(streams, (3, SEED, 4), (20, 13, 6), strict=True):
        np.testing.assert_allclose(expected(seed, steps + 1)[-1], found[stream], atol=1e-4)


def test_noise_is_set_by_no_caller(walk: Model) -> None:
    with pytest.raises(InputError, match="no input first beside its main one; it has none"):
        walk.stream().set_input("first", np.zeros(2, np.float32))


def test_what_the_graph_draws_and_what_is_drawn_outside_are_apart(tmp_path: Path) -> None:
    model = load(export(Dice(), tmp_path / "m.onnx").path)
    frames = list(model.stream(seed=9, sampler=Sampler(temperature=0)).generate_frames(50))
    assert lane_uniforms(9, 0, 50, 3)[:, 2].tolist() == [float(frame[0]) for frame in frames]
    pool = model.pool()
    pool.open(seed=9, sampler=Sampler(temperature=0))
    pooled = [float(frame[0]) for _ in range(50) for _, frame in pool.step()]
    assert pooled == [float(frame[0]) for frame in frames]


def test_noise_of_another_kind_is_refused() -> None:
    with pytest.raises(SpecError, match="noise is noise, so it must be float32 of the batch and a number of uniforms"):
        Spec(
            inputs=(TensorSpec("x", "float32", (BATCH, 1), "frame"), TensorSpec("noise", "int64", (BATCH, 1), "noise")),
            outputs=(TensorSpec("y", "float32", (BATCH, 1), "frame"),),
            states=(),
        )
