"""What a profile counts and reports; never how fast anything is."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from mmap import mmap
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_export import Recording, quantize
from edgernn_export.metadata import read_model, write_spec
from edgernn_runtime import Model, load
from edgernn_runtime.bundle_spec import BUNDLE_FILE, BundleSpec, Stage, bundle_to_json
from edgernn_runtime.errors import EngineError, InputError, ModelFileError, SpecError
from edgernn_runtime.profiling import (
    BLOCK_STEPS,
    WARMUP_STEPS,
    Deadline,
    Floor,
    Latency,
    NodeTime,
    Profile,
    Trace,
    chrome_trace,
    cold_start,
    copies,
    fold,
    frame_period_us,
    interleave,
    memory,
    peak_rss_bytes,
    profile,
    read_trace,
    rss_bytes,
    soak,
    soaking,
    stepper,
    sweep,
    to_json,
    trace_steps,
)
from edgernn_runtime.profiling.measuring import real_time_factor
from edgernn_runtime.profiling.soaking import _slope
from edgernn_runtime.spec import BATCH, Spec, TensorSpec

KEYS = {
    "path", "provider", "threads", "steps", "step_us", "jitter_us", "steps_per_s", "load_ms", "first_step_ms",
    "peak_rss_bytes", "weight_bytes", "floor_us", "floor_ratio", "rtf", "deadline", "nodes",
}  # fmt: skip

LEAK = 256 * 1024


@pytest.fixture(scope="module")
def profiles(tiny_path: Callable[..., Path], frame_path: Path) -> tuple[Profile, ...]:
    return profile([tiny_path("gru"), frame_path], steps=250)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, frame_path: Path) -> Path:
    """A bundle of two frame models, of which one steps at every second step only."""
    folder = tmp_path_factory.mktemp("bundle")
    bundle = BundleSpec({"slow": Stage("slow.onnx", 2), "fast": Stage("fast.onnx")})
    for stage in bundle.stages.values():
        (folder / stage.file).write_bytes(frame_path.read_bytes())
    (folder / BUNDLE_FILE).write_text(bundle_to_json(bundle), encoding="utf-8")
    return folder


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
        assert all(value is not None for name, value in found.items() if name not in {"rtf", "deadline"})


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
    latency = profiles[1].step_us
    one, four = frame_model.spec, replace(frame_model.spec, frames_per_step=4)
    assert real_time_factor(one, latency) == pytest.approx(4 * (real_time_factor(four, latency) or 0))


def test_this_process_has_a_peak_of_memory() -> None:
    assert peak_rss_bytes() > 10_000_000


def test_this_process_has_memory_now_and_no_more_than_its_peak() -> None:
    now = rss_bytes()
    assert now is not None
    assert 10_000_000 < now <= peak_rss_bytes()


def test_a_deadline_counts_misses_and_the_most_in_a_row(profiles: tuple[Profile, ...]) -> None:
    assert Deadline.of(np.array([9.0, 9, 1, 9, 9, 9, 5]), 5) == Deadline(5, 5, 5 / 7, 3)
    text, signal = profiles
    assert text.deadline is None
    assert signal.deadline == Deadline.of(signal.durations_us, 10_000)
    (given,) = profile([text.path], steps=20, deadline_us=1e-3)
    assert given.deadline == Deadline(1e-3, 20, 1.0, 20)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_most_misses_in_a_row_are_found_anywhere(missed: list[bool]) -> None:
    found = Deadline.of(np.where(missed, 2.0, 1.0), 1.5)
    runs = [len(list(group)) for late, group in groupby(missed) if late]
    assert (found.misses, found.longest_run) == (sum(missed), max(runs, default=0))


def test_frames_of_a_step_arrive_in_a_period(frame_model: Model, tiny_model: Callable[..., Model]) -> None:
    assert frame_period_us(replace(frame_model.spec, frames_per_step=1)) == pytest.approx(10_000)
    assert frame_period_us(tiny_model("gru").spec) is None


@pytest.mark.parametrize("deadline", [0, -1.0, float("nan"), float("inf")])
def test_a_deadline_must_be_positive(tiny_path: Callable[..., Path], deadline: float) -> None:
    with pytest.raises(InputError, match="a deadline must be positive and finite"):
        profile([tiny_path("gru")], deadline_us=deadline)


def test_nodes_are_counted_by_provider(profiles: tuple[Profile, ...], frame_model: Model) -> None:
    assert profiles[1].nodes == {"cpu": len(frame_model.placement())}


def traced(path: Path, folder: Path, steps: int = 40) -> Trace:
    folder.mkdir(exist_ok=True)
    return trace_steps(path, folder, steps=steps)


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_a_trace_has_every_node_once_in_a_step(
    tmp_path: Path, tiny_path: Callable[..., Path], tiny_model: Callable[..., Model], precision: str
) -> None:
    step = read_trace(traced(tiny_path("lstm", precision), tmp_path))
    expected = {(node.node, node.operator) for node in tiny_model("lstm", precision).placement()}
    assert expected == {(node.node, node.operator) for node in step.nodes}
    assert {(1.0, "cpu", "")} == {(node.calls, node.provider, node.stage) for node in step.nodes}
    assert 0 < sum(node.us for node in step.nodes) < step.us


def test_the_graph_that_ran_lies_beside_its_trace(tmp_path: Path, tiny_path: Callable[..., Path]) -> None:
    trace = traced(tiny_path("lstm"), tmp_path)
    ran = {node.name for node in onnx.load(trace.stages[0].graph).graph.node}
    assert ran == {node.node for node in read_trace(trace).nodes}


def test_slow_calls_are_left_out_and_so_are_those_of_the_warmup(tmp_path: Path, tiny_path: Callable[..., Path]) -> None:
    trace = traced(tiny_path("gru"), tmp_path, steps=100)
    file = trace.stages[0].file
    events = json.loads(file.read_bytes())
    nodes = [event for event in events if event["cat"] == "Node"]
    count = len(nodes) // (WARMUP_STEPS + 100)
    for i, event in enumerate(nodes):
        number = i // count
        event["dur"] = 1_000_000 if number < WARMUP_STEPS or number % 20 == 0 else 7
    file.write_text(json.dumps(events))
    assert {7.0} == {node.us for node in read_trace(trace).nodes}


def test_a_trace_that_is_cut_off_is_an_error(tmp_path: Path, tiny_path: Callable[..., Path]) -> None:
    trace = traced(tiny_path("gru"), tmp_path, steps=10)
    trace.stages[0].file.write_text("[{")
    with pytest.raises(EngineError, match="could not be read"):
        read_trace(trace)


def test_the_stages_of_a_bundle_are_traced_one_by_one(tmp_path: Path, staged: Path) -> None:
    trace = traced(staged, tmp_path / "traces")
    assert [stage.stage for stage in trace.stages] == ["slow", "fast"]
    nodes = read_trace(trace).nodes
    assert {node.calls for node in nodes if node.stage == "fast"} == {1.0}
    assert {node.calls for node in nodes if node.stage == "slow"} == {0.5}
    assert {row.what.partition(":")[0] for row in fold(nodes)} == {"slow", "fast"}
    events = json.loads(chrome_trace([trace]))
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {1: f"{staged} slow", 2: f"{staged} fast"}
    assert {1, 2} == {event["pid"] for event in events}


def test_the_trace_of_one_graph_is_kept_as_it_is(tmp_path: Path, tiny_path: Callable[..., Path]) -> None:
    trace = traced(tiny_path("gru"), tmp_path, steps=10)
    assert chrome_trace([trace]) == trace.stages[0].file.read_bytes()


def test_operators_of_one_kind_and_place_are_added() -> None:
    nodes = [
        NodeTime("", "a", "Mul", "cpu", 1, 3),
        NodeTime("", "b", "Gemm", "cpu", 1, 6),
        NodeTime("", "c", "Mul", "cpu", 2, 7),
    ]
    rows = fold(nodes, lambda _: "layer", step_us=10.0)
    assert [("layer", "Mul", 3, 10.0, 10 / 16), ("layer", "Gemm", 1, 6.0, 6 / 16)] == [
        (row.what, row.operator, row.calls, row.us, row.share) for row in rows
    ]
    assert [5.5, 4.5] == [row.untraced_us for row in rows]  # 16 us in 4 calls, 6 of them tracing's
    assert ["a", "b", "c"] == [row.what for row in fold(nodes)]
    assert [row.us for row in fold(nodes)] == [row.untraced_us for row in fold(nodes)]


@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(1, 3)), min_size=1, max_size=20), st.floats(0.1, 2000))
def test_an_operator_never_takes_less_than_nothing_untraced(found: Sequence[tuple[float, int]], step_us: float) -> None:
    nodes = [NodeTime("", str(i), "Mul", "cpu", calls, us) for i, (us, calls) in enumerate(found)]
    for row in fold(nodes, step_us=step_us):
        assert -1e-9 <= row.untraced_us <= row.us


def test_casts_that_onnxruntime_puts_in_are_found(tmp_path: Path) -> None:
    graph = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float16[batch, 4] frame) => (float16[batch, 4] params) {
            bent = Elu(frame)
            params = Cast <to = 10> (bent)
        }
    """)
    tensor = TensorSpec("frame", "float16", (BATCH, 4), "frame")
    spec = Spec((tensor,), (TensorSpec("params", "float16", (BATCH, 4), "params"),), ())
    write_spec(graph, spec)
    (tmp_path / "half.onnx").write_bytes(graph.SerializeToString())
    nodes = read_trace(traced(tmp_path / "half.onnx", tmp_path / "traces")).nodes
    assert {"Cast"} == {copy.operator for copy in copies(nodes)}
    assert "inserted cast" in {row.what for row in fold(nodes)}
    assert () == copies([NodeTime("", "mine", "Cast", "cpu", 1, 1)])
    assert "copy between providers" == fold([NodeTime("", "Memcpy", "MemcpyToHost", "cuda", 1, 1)])[0].what


def test_a_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(4)
    x = np.linspace(0, 5, 60)
    y = 3 * x + rng.standard_normal(60)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    assert _slope(x, y) == pytest.approx((slope, covariance[0, 0] ** 0.5))


def test_a_soak_samples_memory_and_sees_what_is_kept(tiny_path: Callable[..., Path]) -> None:
    found = soak(tiny_path("gru"), steps=1000)
    assert len(found.sampled) == len(found.rss) == 200
    assert found.sampled[-1] == 1000
    assert found.slope is not None
    assert found.error is not None


def test_a_soak_sees_memory_that_is_kept_at_every_step(
    tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[mmap] = []
    take = stepper

    def leaking(model: Model) -> Callable[[int], None]:
        step = take(model)

        def both(number: int) -> None:
            step(number)
            kept.append(mmap(-1, LEAK))  # pages that were never used before, unlike those of an allocator
            kept[-1].write(b"x" * LEAK)

        return both

    monkeypatch.setattr(soaking, "stepper", leaking)
    found = soak(tiny_path("gru"), steps=300)
    for each in kept:
        each.close()
    assert found.slope == pytest.approx(LEAK * 1e6, rel=0.05)


def test_a_soak_needs_enough_steps_and_a_system_that_says(
    tmp_path: Path, tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="a soak needs 10 steps at least, got 9"):
        soak(tiny_path("gru"), steps=9)
    monkeypatch.setattr(memory, "_STATM", tmp_path / "absent")
    found = soak(tiny_path("gru"), steps=10)
    assert ((), None, None) == (found.rss, found.slope, found.error)


def test_a_sweep_tries_every_number_of_threads(tiny_path: Callable[..., Path], frame_path: Path) -> None:
    swept = sweep([tiny_path("gru"), frame_path], steps=20, cores=2)
    for variants in swept:
        assert [(1, False), (2, False), (2, True)] == [(each.threads, each.spinning) for each in variants]
        (best,) = [each for each in variants if each.best]
        assert best.p50_us == min(each.p50_us for each in variants)
    with pytest.raises(InputError, match="steps must be positive, got 0"):
        sweep([frame_path], steps=0)
