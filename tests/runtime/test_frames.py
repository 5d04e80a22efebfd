"""Streams of frames: outputs that lag behind, several frames a step, and outputs of the batch alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import LiftOptions, export, lift
from edgernn_runtime import Model, State, load
from edgernn_runtime.errors import InputError

Frames = NDArray[np.float32]


class Ahead(nn.Module):
    """Two convolutions that look three frames ahead, and a recurrence behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 5, 3, padding=1)
        self.second = nn.Conv1d(5, 6, 5, padding=2)
        self.rnn = nn.GRU(6, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x.transpose(1, 2)).relu())
        return self.rnn(y.transpose(1, 2))[0]


class Loudness(nn.Module):
    """One number a frame, of the batch alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().mean(-1).cumsum(1)


@pytest.fixture(scope="module")
def source() -> Ahead:
    torch.manual_seed(0)
    return Ahead().eval()


@pytest.fixture(scope="module", params=[1, 4])
def model(source: Ahead, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("ahead") / "model.onnx"
    options = LiftOptions(allow_delay=True, frames_per_step=request.param)
    return load(export(lift(source, "x=float32[B,T,4]", options), path).path)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return np.random.default_rng(0).standard_normal((48, 4)).astype(np.float32)


def expected(source: Ahead, frames: Frames) -> Frames:
    with torch.no_grad():
        return source(torch.from_numpy(frames)[None])[0].numpy()


def test_what_run_and_flush_return_together_is_the_whole_sequence(model: Model, source: Ahead, frames: Frames) -> None:
    stream = model.stream()
    made = [stream.run(part) for part in (frames[:4], frames[4:20], frames[20:])]
    np.testing.assert_allclose(np.concatenate([*made, stream.flush()]), expected(source, frames), atol=1e-5)


@pytest.mark.parametrize("length", [4, 8])
def test_a_sequence_shorter_than_the_delay_comes_whole_from_flush(
    model: Model, source: Ahead, frames: Frames, length: int
) -> None:
    stream = model.stream()
    made = np.concatenate([stream.run(frames[:length]), stream.flush()])
    np.testing.assert_allclose(made, expected(source, frames[:length]), atol=1e-5)


def test_a_flushed_stream_takes_no_step_until_it_is_reset(model: Model, source: Ahead, frames: Frames) -> None:
    stream = model.stream()
    stream.run(frames)
    stream.flush()
    assert stream.flush().shape == (0, 3)
    with pytest.raises(InputError, match="has ended with flush; reset it"):
        stream.run(frames)
    stream.reset()
    made = np.concatenate([stream.run(frames), stream.flush()])
    np.testing.assert_allclose(made, expected(source, frames), atol=1e-5)


def test_a_snapshot_of_an_ended_stream_stays_ended_and_one_from_before_goes_on(
    model: Model, frames: Frames, tmp_path: Path
) -> None:
    stream = model.stream()
    stream.run(frames[:20])
    stream.snapshot().save(tmp_path / "before.npz")
    rest = np.concatenate([stream.run(frames[20:]), stream.flush()])
    ended = model.stream(state=stream.snapshot())
    with pytest.raises(InputError, match="has ended"):
        ended.run(frames)
    again = model.stream(state=State.load(tmp_path / "before.npz"))
    np.testing.assert_array_equal(np.concatenate([again.run(frames[20:]), again.flush()]), rest)


def test_frames_that_fill_no_step_are_refused(model: Model, frames: Frames) -> None:
    several = model.spec.frames_per_step
    if several == 1:
        assert model.stream().run(frames[:3]).shape[1:] == (3,)
        return
    with pytest.raises(InputError, match="must be a multiple of that"):
        model.stream().run(frames[:6])


def test_an_output_of_the_batch_alone_is_a_number_that_changes_with_every_step(tmp_path: Path, frames: Frames) -> None:
    loudness = load(export(lift(Loudness(), "x=float32[B,T,4]"), tmp_path / "loudness.onnx").path)
    assert loudness.spec.main_output.shape == ("batch",)
    stream, twin = loudness.stream(), loudness.stream()
    whole = np.square(frames).mean(-1).cumsum()
    np.testing.assert_allclose(stream.run(frames), whole, rtol=1e-5)
    np.testing.assert_allclose([twin.step(frame) for frame in frames], whole, rtol=1e-5)
    out = np.zeros(())
    twin.step_into(frames[0], out)
    np.testing.assert_allclose(out, whole[-1] + whole[0], rtol=1e-5)


def test_streams_of_a_pool_are_flushed_one_by_one(model: Model, frames: Frames) -> None:
    several = model.spec.frames_per_step
    alone = model.stream()
    expected_outputs, rest = alone.run(frames[:32]), alone.flush()
    pool = model.pool()
    first, second = pool.open(), pool.open()
    values = frames[:32].reshape(-1, *model.spec.main_input.sized(1)[1:])
    made: dict[object, list[Frames]] = {first: [], second: []}
    for i, value in enumerate(values):
        fed = {first: value, second: value} if i < 4 else {second: value}
        for stream, output in pool.feed(fed):
            made[stream].append(np.asarray(output, np.float32).reshape(several, -1))
    flushed = first.flush()
    after = second.flush()
    assert len(flushed) > 0
    np.testing.assert_allclose(
        np.concatenate(made[second])[model.spec.delay_steps * several :], expected_outputs, atol=1e-6
    )
    np.testing.assert_allclose(after.reshape(rest.shape), rest, atol=1e-6)
    with pytest.raises(InputError, match="has ended with flush"):
        pool.feed({first: values[0]})
