"""What a profile counts and reports; never how fast anything is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgernn_export import Recording, quantize
from edgernn_export.metadata import read_model, write_spec
from edgernn_runtime import Model, load
from edgernn_runtime.errors import EngineError, InputError, ModelFileError, SpecError
from edgernn_runtime.profiling import (
    BLOCK_STEPS,
    WARMUP_STEPS,
    Floor,
    Latency,
    Profile,
    cold_start,
    interleave,
    peak_rss_bytes,
    profile,
    stepper,
    to_json,
)

KEYS = {
    "path", "provider", "threads", "steps", "step_us", "jitter_us", "steps_per_s", "load_ms", "first_step_ms",
    "peak_rss_bytes", "weight_bytes", "floor_us", "floor_ratio", "rtf",
}  # fmt: skip


@pytest.fixture(scope="module")
def profiles(tiny_path: Callable[..., Path], frame_path: Path) -> tuple[Profile, ...]:
    return profile([tiny_path("gru"), frame_path], steps=250)


def test_models_are_profiled_side_by_side(
    profiles: tuple[Profile, ...], tiny_model: Callable[..., Model], tiny_path: Callable[..., Path], frame_path: Path
) -> None:
    assert [tiny_path("gru"), frame_path] == [each.path for each in profiles]
    assert [250, 250] == [each.steps for each in profiles]
    assert profiles[0].weight_bytes == tiny_model("gru").spec.weight_bytes > 0
    assert {("cpu", 1)} == {(each.provider, each.threads) for each in profiles}


def test_percentiles_are_in_order(profiles: tuple[Profile, ...]) -> None:
    for each in profiles:
        latency = each.step_us
        assert 0 < latency.p50 <= latency.p90 <= latency.p99 <= latency.p999 <= latency.max
        assert latency.p99 - latency.p50 == each.jitter_us
        assert latency.p50 / each.floor_us == each.floor_ratio


def test_a_profile_as_json_has_the_keys_that_scripts_rely_on(profiles: tuple[Profile, ...]) -> None:
    for each in profiles:
        found = to_json(each)
        assert set(found) >= KEYS
        assert set(found["step_us"]) == {"p50", "p90", "p99", "p999", "max", "mean"}  # type: ignore[call-overload]
        assert all(value is not None for name, value in found.items() if name != "rtf")


def test_only_a_model_of_a_signal_has_a_real_time_factor(profiles: tuple[Profile, ...]) -> None:
    text, signal = profiles
    assert text.rtf is None
    assert signal.rtf == pytest.approx(signal.step_us.mean * 1e-6 * 100)


def test_a_cold_start_takes_longer_than_the_parts_of_it(profiles: tuple[Profile, ...]) -> None:
    for each in profiles:
        assert each.cold.total_ms > each.cold.load_ms + each.cold.first_step_ms > 0
        assert each.cold.peak_rss_bytes > 10_000_000


def test_latency_in_numbers() -> None:
    latency = Latency.of(np.arange(1001, dtype=np.float64))
    assert (500, 900, 990, 1000, 500) == (latency.p50, latency.p90, latency.p99, latency.max, latency.mean)
    assert latency.p999 == pytest.approx(999)


@pytest.mark.parametrize("steps", [1, BLOCK_STEPS - 1, BLOCK_STEPS, BLOCK_STEPS + 1, 3 * BLOCK_STEPS])
def test_steppers_take_turns_in_blocks_and_every_step_is_timed_once(steps: int) -> None:
    calls: list[tuple[str, int]] = []
    pauses: list[str] = []
    taken = interleave(
        [lambda number: calls.append(("a", number)), lambda number: calls.append(("b", number))],
        steps,
        between=[lambda: pauses.append("a"), lambda: pauses.append("b")],
    )
    blocks = -(-steps // BLOCK_STEPS)
    assert [(steps,), (steps,)] == [each.shape for each in taken]
    assert all((each >= 0).all() for each in taken)
    assert ["a", "b"] * blocks == pauses
    timed = calls[2 * WARMUP_STEPS :]
    assert len(timed) == 2 * (steps + blocks)
    assert set(range(steps)) == {number for name, number in timed if name == "b"}


def test_a_stepper_steps_a_stream_of_its_own(tiny_model: Callable[..., Model], frame_model: Model) -> None:
    for model in (tiny_model("gru"), frame_model):
        call = stepper(model)
        for number in (0, 5, 5000):
            call(number)


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000])
def test_the_floor_is_measured_for_every_size(size: int) -> None:
    floor = Floor(size)
    floor.read()
    assert floor.microseconds > 0


def test_steps_must_be_positive(tiny_path: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="steps must be positive, got 0"):
        profile([tiny_path("gru")], steps=0)


def test_a_model_that_is_not_there_cannot_be_profiled(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        profile([tmp_path / "gone.onnx"])


def test_an_expanded_model_reads_more_than_its_file_has(tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    recording = Recording.of_tokens("token", np.arange(60) % 7)
    target = tmp_path / "expanded.onnx"
    quantize(tiny_path("lstm"), target, precision="int4", recording=recording, method="nearest", expand=True)
    (found,) = profile([target], steps=5)
    assert found.weight_bytes == load(tiny_path("lstm")).spec.weight_bytes


def test_more_weights_than_a_file_can_hold_are_refused(tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    proto, spec, _ = read_model(tiny_path("gru"))
    write_spec(proto, replace(spec, weight_bytes=2**40))
    (tmp_path / "large.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(SpecError, match=f"weight_bytes is {2**40}, more than the file can hold"):
        profile([tmp_path / "large.onnx"])


def test_a_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"gone\.onnx failed in a process of its own: .*does not exist"):
        cold_start(tmp_path / "gone.onnx")


def test_the_real_time_factor_counts_every_frame_of_a_step(frame_model: Model, profiles: tuple[Profile, ...]) -> None:
    from edgernn_runtime.profiling import _rtf  # noqa: PLC0415, its formula is the contract

    latency = profiles[1].step_us
    one, four = frame_model.spec, replace(frame_model.spec, frames_per_step=4)
    assert _rtf(one, latency) == pytest.approx(4 * (_rtf(four, latency) or 0))


def test_this_process_has_a_peak_of_memory() -> None:
    assert peak_rss_bytes() > 10_000_000
