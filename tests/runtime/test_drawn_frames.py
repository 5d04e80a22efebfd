"""Streams that draw frames: the noise is the seed's, and a stream cut between two frames continues."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import export
from edgernn_runtime import Model, Sampler, State, Stream, load
from edgernn_runtime.distributions import PARAMETER_AXES, UNIFORMS, draw
from edgernn_runtime.errors import InputError, StateError
from edgernn_runtime.noise import lane_uniforms
from edgernn_runtime.spec import BATCH, Distribution, Feedback, Spec, StateSpec, TensorSpec

Frames = NDArray[np.float32]
HIDDEN = 6
START = 1
WARM = Sampler()


class DrawnStep(nn.Module):
    """A GRU cell that gives the parameters of the next frame; two latents, of 3 numbers and of 1, shift its input."""

    def __init__(self, distribution: Distribution, frame: tuple[int, ...]) -> None:
        super().__init__()
        self.distribution, self.frame = distribution, frame
        self.behind = {0: (), 1: (2,), 2: (4, 3)}[PARAMETER_AXES[distribution]]
        self.cell = nn.GRUCell(int(np.prod(frame)) + 4, HIDDEN)
        self.head = nn.Linear(HIDDEN, int(np.prod(frame + self.behind)))

    @property
    def spec(self) -> Spec:
        return Spec(
            inputs=(
                TensorSpec("x", "float32", (BATCH, *self.frame), "frame"),
                TensorSpec("z", "float32", (BATCH, 3), "latent"),
                TensorSpec("w", "float32", (BATCH, 1), "latent"),
            ),
            outputs=(TensorSpec("params", "float32", (BATCH, *self.frame, *self.behind), "params"),),
            states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, HIDDEN)),),
            distribution=self.distribution,
            feedback=Feedback("params", "x", START),
        )

    def forward(self, x: Tensor, z: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(torch.cat([x.reshape(-1, int(np.prod(self.frame))), z, w], -1), h)
        return self.head(h).reshape(-1, *self.frame, *self.behind), h


KINDS = {
    "gaussian": ("gaussian", (3,)),
    "pixel": ("bernoulli", ()),
    "level": ("gaussian", ()),
    "mixture": ("logistic_mixture", (2, 2)),
    "certain": ("none", (3,)),
}


@pytest.fixture(scope="module")
def steps() -> dict[str, DrawnStep]:
    torch.manual_seed(0)
    return {name: DrawnStep(*kind).eval() for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def models(steps: dict[str, DrawnStep], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("drawn")
    return {name: load(export(step, folder / f"{name}.onnx").path) for name, step in steps.items()}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(models: dict[str, Model], kind: str) -> Model:
    return models[kind]


def frames_of(stream: Stream, count: int) -> Frames:
    return np.array(list(stream.generate_frames(count)))


def by_hand(step: DrawnStep, count: int, *, seed: int, sampler: Sampler) -> Frames:
    """Draw frames in a plain loop around torch."""
    x, h, made = torch.full((1, *step.frame), float(START)), torch.zeros(1, HIDDEN), []
    for i in range(count):
        with torch.no_grad():
            params, h = step(x, torch.zeros(1, 3), torch.zeros(1, 1), h)
        noise = lane_uniforms(seed, i, 1, UNIFORMS[step.distribution] * int(np.prod(step.frame)))[0]
        value = draw(step.distribution, params[0].numpy(), noise, temperature=sampler.temperature)
        made.append(value)
        x = torch.from_numpy(value)[None]
    return np.array(made)


@pytest.mark.parametrize("sampler", [WARM, Sampler(temperature=0), Sampler(temperature=0.3)])
def test_frames_are_those_of_a_loop_by_hand(
    models: dict[str, Model], steps: dict[str, DrawnStep], kind: str, sampler: Sampler
) -> None:
    made = frames_of(models[kind].stream(seed=4, sampler=sampler), 50)
    assert (50, *steps[kind].frame) == made.shape
    np.testing.assert_allclose(made, by_hand(steps[kind], 50, seed=4, sampler=sampler), atol=1e-4)


def test_the_seed_decides_the_frames(models: dict[str, Model]) -> None:
    made = [frames_of(models["gaussian"].stream(seed=seed, sampler=WARM), 20).tolist() for seed in (4, 4, 5)]
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_a_reset_stream_draws_the_same_frames_again(model: Model) -> None:
    stream = model.stream(seed=4, sampler=WARM)
    before = frames_of(stream, 20)
    stream.reset()
    np.testing.assert_array_equal(before, frames_of(stream, 20))


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_stream_saved_between_two_frames_continues_like_the_uncut_one(model: Model, tmp_path: Path, cut: int) -> None:
    whole, stream = model.stream(seed=9, sampler=WARM), model.stream(seed=9, sampler=WARM)
    for each in (whole, stream):
        each.draw_latents()
    before = list(stream.generate_frames(cut))
    stream.snapshot().save(tmp_path / "state.npz")
    after = list(model.stream(state=State.load(tmp_path / "state.npz")).generate_frames(20 - cut))
    np.testing.assert_array_equal(frames_of(whole, 20), np.array(before + after))


def test_a_forked_stream_draws_exactly_like_its_parent(model: Model) -> None:
    stream = model.stream(seed=9, sampler=WARM)
    frames_of(stream, 5)
    fork = stream.fork()
    np.testing.assert_array_equal(frames_of(stream, 9), frames_of(fork, 9))


def test_changing_a_yielded_frame_or_a_snapshot_changes_no_stream(models: dict[str, Model]) -> None:
    stream, other = (models["gaussian"].stream(seed=9, sampler=WARM) for _ in range(2))
    for frame in stream.generate_frames(5):
        frame[...] = 99
    pending = stream.snapshot().pending
    assert isinstance(pending, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        pending[...] = 99
    frames_of(other, 5)
    np.testing.assert_array_equal(frames_of(other, 5), frames_of(stream, 5))


def test_what_follows_a_prompt_of_frames_is_drawn_from_its_last_one(models: dict[str, Model]) -> None:
    prompt = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    prompted, stepped = (models["gaussian"].stream(sampler=Sampler(temperature=0)) for _ in range(2))
    prompted.prefill(prompt)
    assert prompted.step_index == 5
    expected = stepped.run(prompt)[-1][:, 0]
    np.testing.assert_array_equal(expected, next(prompted.generate_frames(1)))


def test_a_prompt_in_two_parts_is_the_prompt(models: dict[str, Model]) -> None:
    prompt = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    whole, parts = (models["gaussian"].stream(sampler=WARM) for _ in range(2))
    whole.prefill(prompt)
    for part in (prompt[:0], prompt[:2], prompt[2:]):
        parts.prefill(part)
    np.testing.assert_array_equal(frames_of(whole, 5), frames_of(parts, 5))


def test_a_prompt_stays_as_it_was_given_when_its_array_changes(models: dict[str, Model]) -> None:
    prompt = np.ones((2, 3), np.float32)
    one, other = (models["gaussian"].stream() for _ in range(2))
    one.prefill(prompt)
    other.prefill(prompt.copy())
    prompt[...] = 5
    np.testing.assert_array_equal(frames_of(other, 3), frames_of(one, 3))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("once", "the model takes frames, and no text"),
        (np.ones((2, 4), np.float32), r"x must be float32\[3\], got float32\[4\]"),
        (np.ones((2, 3), np.float64), r"x must be float32\[3\], got float64\[3\]"),
        ([1, 2], r"x must be float32\[3\], got int64\[\]"),
    ],
)
def test_a_prompt_that_is_no_frames_is_refused(models: dict[str, Model], prompt: object, message: str) -> None:
    stream = models["gaussian"].stream()
    with pytest.raises(InputError, match=message):
        stream.prefill(prompt)
    assert stream.step_index == 0


def test_a_model_of_tokens_generates_no_frames(tiny_model: Callable[..., Model]) -> None:
    with pytest.raises(InputError, match="the model does not generate frames: it generates tokens"):
        next(tiny_model("gru").stream().generate_frames(1))


def test_a_model_that_only_listens_generates_no_frames(frame_model: Model) -> None:
    with pytest.raises(InputError, match="the model does not generate frames: its Spec has no feedback"):
        next(frame_model.stream().generate_frames(1))


def test_a_model_of_frames_generates_no_tokens_and_no_text(model: Model) -> None:
    stream = model.stream()
    for generation in (stream.generate(1), stream.generate_text(1)):
        with pytest.raises(InputError, match="the model does not generate tokens: it generates frames"):
            next(generation)


def test_after_a_step_there_must_be_a_prompt(models: dict[str, Model]) -> None:
    stream = models["gaussian"].stream()
    stream.step(np.zeros(3, np.float32))
    with pytest.raises(InputError, match="nothing is pending to generate from; prefill a prompt first"):
        next(stream.generate_frames(1))


@pytest.mark.parametrize(
    ("pending", "message"),
    [
        (3, "the model takes no tokens, so none can be pending, got 3"),
        (np.zeros(4, np.float32), r"the pending frame must be float32\[3\], got \[4\]"),
    ],
)
def test_a_state_with_something_else_pending_is_refused(
    models: dict[str, Model], pending: int | Frames, message: str
) -> None:
    model = models["gaussian"]
    state = State(model.model_id, model.initial_state().arrays, pending=pending)
    with pytest.raises(StateError, match=message):
        model.stream(state=state)


def test_a_pending_frame_is_refused_by_a_model_of_tokens(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("gru")
    state = State(model.model_id, model.initial_state().arrays, pending=np.zeros(3, np.float32))
    with pytest.raises(StateError, match="pending"):
        model.stream(state=state)


def latents(model: Model, seed: int) -> Frames:
    stream = model.stream(seed=seed)
    stream.draw_latents()
    return np.concatenate([array[0] for array in stream.snapshot().inputs])


def test_the_seed_decides_the_latents_and_a_step_changes_nothing_about_them(models: dict[str, Model]) -> None:
    model = models["gaussian"]
    stream = model.stream(seed=3)
    frames_of(stream, 5)
    stream.draw_latents()
    assert latents(model, 3).tolist() == np.concatenate([array[0] for array in stream.snapshot().inputs]).tolist()
    assert latents(model, 3).tolist() != latents(model, 4).tolist()


def test_the_latents_of_many_seeds_are_standard_normal_and_independent(models: dict[str, Model]) -> None:
    drawn = np.array([latents(models["gaussian"], seed) for seed in range(2000)]).astype(np.float64)
    error = 4 / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0)) < error).all()
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(4), atol=error * np.sqrt(2))


def test_latents_change_what_is_drawn(models: dict[str, Model]) -> None:
    with_latents, without = (models["gaussian"].stream() for _ in range(2))
    with_latents.draw_latents()
    assert frames_of(with_latents, 3).tolist() != frames_of(without, 3).tolist()


def test_frames_are_drawn_when_they_are_asked_for(models: dict[str, Model]) -> None:
    stream = models["gaussian"].stream()
    assert len(list(islice(stream.generate_frames(100), 3))) == 3
    assert stream.step_index == 3
