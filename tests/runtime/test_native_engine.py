"""The native engine: what ONNX Runtime computes, from compiled code, with the same streams, pools and snapshots."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn_runtime import Model, Sampler, State, Stream, load
from edgernn_runtime.engine import Choosing
from edgernn_runtime.engines import native
from edgernn_runtime.engines.native import NativeExecutor
from edgernn_runtime.errors import EngineError, InputError, ProviderError, StateError, StreamError
from edgernn_runtime.sampling import GREEDY

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]

CLOSE = {"float32": 2e-5, "int8": 0.1, "int4": 0.1}
"""How far logits of the two engines may lie apart, whose deviation is 5: both round activations to 8 bits."""

SAMPLERS = [
    GREEDY,
    Sampler(1.0),
    Sampler(0.7),
    Sampler(1.3, top_k=5),
    Sampler(0.9, top_p=0.8),
    Sampler(1.0, 10, 0.5),
    Sampler(1.0, top_k=10**12),
]


@pytest.fixture(params=["float32", "int8", "int4"])
def precision(request: pytest.FixtureRequest) -> str:
    """Each precision in turn."""
    return str(request.param)


def run_rows(model: Model, tokens: Tokens) -> Floats:
    """Step a new executor of all rows through `tokens [steps, batch]`, and return its logits."""
    executor = model.executor(tokens.shape[1])
    logits = np.empty((len(tokens), *executor.outputs["logits"].shape), np.float32)
    for row, out in zip(tokens, logits, strict=True):
        executor.inputs["token"][...] = row
        executor.run()
        out[...] = executor.outputs["logits"]
    return logits


def executor_of(stream: Stream) -> NativeExecutor:
    """Return the executor of a stream of compiled code."""
    executor = stream._executor
    assert isinstance(executor, NativeExecutor)
    return executor


# What it computes


def test_a_compiled_model_computes_what_onnx_runtime_computes(
    tiny_model: Callable[..., Model],
    native_model: Callable[..., Model],
    tiny_tokens: Tokens,
    cell: str,
    precision: str,
) -> None:
    expected, actual = (model(cell, precision).stream().run(tiny_tokens) for model in (tiny_model, native_model))
    np.testing.assert_allclose(actual, expected, atol=CLOSE[precision])
    assert np.abs(actual - expected).mean() < CLOSE[precision] / 20


def test_a_compiled_model_without_tokens_computes_what_onnx_runtime_computes(
    frame_path: Path, frame_model: Model, library_of: Callable[[Path], Path], frames: Floats
) -> None:
    ort, compiled = frame_model.stream(), load(library_of(frame_path)).stream()
    np.testing.assert_allclose(compiled.run(frames), ort.run(frames), atol=1e-5)
    np.testing.assert_allclose(compiled.output("energy"), ort.output("energy"), rtol=1e-5)
    level, count = compiled.snapshot().arrays
    np.testing.assert_allclose(level, ort.snapshot().arrays[0], atol=1e-5)
    assert [[len(frames)]] == count.tolist()


def test_a_stream_without_a_state_starts_from_the_constant_that_the_spec_names(
    frame_path: Path, library_of: Callable[[Path], Path]
) -> None:
    model = load(library_of(frame_path))
    expected = model.initial_state(batch=3).arrays
    for wanted, found in zip(expected, model.executor(3).read_state(), strict=True):
        assert (wanted.dtype, wanted.tolist()) == (found.dtype, found.tolist())


def test_a_row_is_the_same_to_the_bit_in_every_batch(
    native_model: Callable[..., Model], tiny_tokens: Tokens, cell: str, precision: str
) -> None:
    lanes = tiny_tokens[:400].reshape(50, 8)
    together = run_rows(native_model(cell, precision), lanes)
    for row in (0, 3, 7):
        alone = run_rows(native_model(cell, precision), lanes[:, row : row + 1])
        assert alone[:, 0].tobytes() == together[:, row].tobytes()


def test_it_says_what_it_is(native_model: Callable[..., Model], tiny_model: Callable[..., Model]) -> None:
    model, source = native_model("lstm"), tiny_model("lstm")
    assert ("native",) == model.providers
    assert () == model.placement()
    assert (source.model_id, source.spec) == (model.model_id, model.spec)


# Streams


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_stream_generates_what_it_generates_on_onnx_runtime(
    tiny_model: Callable[..., Model], native_model: Callable[..., Model], cell: str, sampler: Sampler
) -> None:
    expected, actual = (
        list(model(cell).stream(seed=3, sampler=sampler).generate(500)) for model in (tiny_model, native_model)
    )
    assert expected == actual


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_token_that_it_chooses_is_the_samplers(
    native_model: Callable[..., Model], sampler: Sampler, precision: str
) -> None:
    stream = native_model("gru", precision).stream(seed=2**64 - 1, sampler=sampler)
    logits = stream._executor.outputs["logits"]
    for step in range(300):
        (token,) = stream.generate(1)
        assert sampler.sample(logits[0], stream._noise.uniform(step)) == token  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", [Sampler(0.8, repetition_penalty=1.3), Sampler(0.9, allowed=(3, 5, 8))], ids=str)
def test_a_sampler_that_adjusts_the_logits_works_on_them_as_on_onnx_runtime(
    tiny_model: Callable[..., Model], native_model: Callable[..., Model], sampler: Sampler
) -> None:
    expected, actual = (
        list(model("lstm").stream(seed=1, sampler=sampler).generate(200)) for model in (tiny_model, native_model)
    )
    assert expected == actual


def test_a_sampler_may_change_between_two_tokens(
    tiny_model: Callable[..., Model], native_model: Callable[..., Model]
) -> None:
    made = []
    for model in (tiny_model("lstm"), native_model("lstm")):
        stream = model.stream(seed=5)
        tokens: list[int] = []
        for sampler in (*SAMPLERS, Sampler(1.0, repetition_penalty=1.5), Sampler(0.8)):
            stream.sampler = sampler
            tokens += stream.generate(20)
        made.append((tokens, list(stream._recent), stream.step_index))
    assert made[0] == made[1]


def test_one_executor_lends_itself_to_one_sampler_at_a_time(native_model: Callable[..., Model]) -> None:
    """Two streams of one model have executors, and so settings, of their own."""
    model = native_model("gru")
    warm, cold = model.stream(seed=1, sampler=Sampler(1.0)), model.stream(sampler=GREEDY)
    mixed = [(next(warm.generate(1)), next(cold.generate(1))) for _ in range(100)]
    assert list(model.stream(seed=1, sampler=Sampler(1.0)).generate(100)) == [token for token, _ in mixed]
    assert list(model.stream(sampler=GREEDY).generate(100)) == [token for _, token in mixed]


def test_a_stream_chooses_in_one_call(native_model: Callable[..., Model], tiny_model: Callable[..., Model]) -> None:
    stream = native_model("gru").stream()
    assert isinstance(executor_of(stream), Choosing)
    assert not isinstance(tiny_model("gru").executor(), Choosing)
    calls = []
    choose = stream._choose
    stream._choose = lambda token, uniform: calls.append(token) or choose(token, uniform)  # type: ignore[func-returns-value]
    tokens = list(stream.generate(10))
    assert [tiny_model("gru").spec.feedback.start, *tokens[:-1]] == calls  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_stream_begun_on_one_engine_continues_on_the_other(
    tiny_model: Callable[..., Model], native_model: Callable[..., Model], tmp_path: Path, cut: int
) -> None:
    for first, second in ((tiny_model, native_model), (native_model, tiny_model)):
        uncut = first("lstm").stream(seed=4, sampler=Sampler(0.9))
        expected = list(uncut.generate(100))
        stream = first("lstm").stream(seed=4, sampler=Sampler(0.9))
        begun = list(stream.generate(cut))
        path = tmp_path / f"{first is tiny_model}.npz"
        stream.snapshot().save(path)
        resumed = second("lstm").stream(state=State.load(path))
        assert expected == begun + list(resumed.generate(100 - cut))


def test_a_state_of_another_model_is_refused(native_model: Callable[..., Model]) -> None:
    with pytest.raises(StateError, match="the state belongs to model"):
        native_model("lstm").stream(state=native_model("gru").stream().snapshot())


def test_a_fork_continues_exactly_like_its_parent_and_apart_from_it(native_model: Callable[..., Model]) -> None:
    parent = native_model("lstm", "int8").stream(seed=9, sampler=Sampler(1.0))
    list(parent.generate(13))
    child = parent.fork()
    assert list(parent.generate(50)) == list(child.generate(50))
    child.reset()
    assert not any(array.any() for array in child.snapshot().arrays)
    assert any(array.any() for array in parent.snapshot().arrays)


def test_a_pool_gives_each_stream_what_it_has_alone(native_model: Callable[..., Model], precision: str) -> None:
    model = native_model("gru", precision)
    expected = [list(model.stream(seed=seed, sampler=Sampler(1.0)).generate(40)) for seed in range(5)]
    pool = model.pool(capacity=2)
    streams = [pool.open(seed=seed, sampler=Sampler(1.0)) for seed in range(5)]
    made = [dict(pool.step()) for _ in range(40)]
    assert expected == [[tokens[stream] for tokens in made] for stream in streams]


def test_logits_that_are_not_finite_are_an_error_and_the_step_was_taken(
    tiny_model: Callable[..., Model], native_model: Callable[..., Model]
) -> None:
    seen = []
    for model in (tiny_model("lstm"), native_model("lstm")):
        stream = model.stream(sampler=Sampler(1.0))
        (token,) = stream.generate(1)
        state = stream.snapshot()
        broken = State(model.model_id, tuple(array * np.nan for array in state.arrays), step=1, pending=token)
        stream.restore(broken)
        stream.sampler = Sampler(1.0)
        with pytest.raises(InputError, match="the model's largest logit is nan, so nothing can be chosen"):
            next(stream.generate(1))
        seen.append((stream.step_index, stream._pending, list(stream._recent) == [token]))
    assert [(2, None, True)] * 2 == seen


def test_a_second_thread_is_refused_and_changes_nothing(native_model: Callable[..., Model]) -> None:
    stream = native_model("gru").stream(sampler=Sampler(1.0))
    choose, errors = stream._choose, []

    def another() -> None:
        try:
            next(stream.generate(1))
        except StreamError as error:
            errors.append(str(error))

    def meanwhile(token: int, uniform: float) -> int:
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        return choose(token, uniform)

    stream._choose = meanwhile
    token = next(stream.generate(1))
    assert ["another thread is stepping this stream; a stream is for one thread at a time"] == errors
    assert [token] == list(native_model("gru").stream(sampler=Sampler(1.0)).generate(1))
    assert stream.step_index == 1


def test_streams_of_one_model_may_be_stepped_by_threads_of_their_own(native_model: Callable[..., Model]) -> None:
    model = native_model("lstm")
    expected = [list(model.stream(seed=seed, sampler=Sampler(1.0)).generate(300)) for seed in range(4)]
    made: dict[int, list[int]] = {}

    def generate(seed: int) -> None:
        made[seed] = list(model.stream(seed=seed, sampler=Sampler(1.0)).generate(300))

    threads = [threading.Thread(target=generate, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected == [made[seed] for seed in range(4)]


def test_a_step_gives_the_same_with_and_without_the_interpreters_lock(
    native_model: Callable[..., Model], tiny_tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = native_model("gru")
    held = list(model.stream(seed=1, sampler=Sampler(1.0)).generate(50))
    rows = run_rows(model, tiny_tokens[:60].reshape(20, 3))
    monkeypatch.setattr(native, "_HELD_BYTES", 0)
    assert held == list(model.stream(seed=1, sampler=Sampler(1.0)).generate(50))
    assert rows.tobytes() == run_rows(model, tiny_tokens[:60].reshape(20, 3)).tobytes()


# Rows


def test_rows_at_rest_keep_their_state_and_those_that_step_go_on(
    native_model: Callable[..., Model], tiny_tokens: Tokens
) -> None:
    model, lanes = native_model("lstm", "int8"), tiny_tokens[:480].reshape(60, 8)
    alone = run_rows(model, lanes)
    executor = model.executor(8)
    rng, taken = np.random.default_rng(0), np.zeros(8, int)
    for _ in range(40):
        rows = int(rng.integers(1, 9))
        executor.resize(rows)
        executor.inputs["token"][:rows] = lanes[taken[:rows], np.arange(rows)]
        executor.run()
        for row in range(rows):
            assert alone[taken[row], row].tobytes() == executor.outputs["logits"][row].tobytes()
        taken[:rows] += 1


@pytest.mark.parametrize("rows", [0, 9])
def test_more_rows_than_there_is_room_for_are_refused(native_model: Callable[..., Model], rows: int) -> None:
    with pytest.raises(InputError, match=rf"rows must lie in 1\.\.8, got {rows}"):
        native_model("gru").executor(8).resize(rows)


def test_the_verbs_of_single_rows_touch_that_row_alone(frame_path: Path, library_of: Callable[[Path], Path]) -> None:
    executor = load(library_of(frame_path)).executor(4)
    rng = np.random.default_rng(2)
    for _ in range(50):
        executor.inputs["frame"][...] = rng.standard_normal((4, 5))
        executor.run()
        expected = executor.read_state()
        source, target = (int(row) for row in rng.integers(0, 4, 2))
        executor.move_row(source, target)
        for array in expected:
            array[target] = array[source]
        executor.reset_row(source)
        for array, first in zip(expected, ([0.5, -1.0, 2.0, 0.25], [0]), strict=True):
            array[source] = first
        for array, found in zip(expected, executor.read_state(), strict=True):
            assert (array.dtype, array.tolist()) == (found.dtype, found.tolist())
        row = executor.read_row(target)
        assert [(1, 4), (1, 1)] == [array.shape for array in row]
        executor.write_row(0, row)
        assert [array.tolist() for array in row] == [array.tolist() for array in executor.read_row(0)]


def test_a_state_of_another_shape_or_dtype_is_refused_and_changes_nothing(native_model: Callable[..., Model]) -> None:
    executor = native_model("gru").executor(2)
    for wrong in (np.ones((2, 24), np.float64), np.ones((1, 24), np.float32)):
        with pytest.raises(StateError, match=r"state\.0\.h must be float32\[2, 24\]"):
            executor.write_state([wrong, wrong])
    with pytest.raises(StateError, match=r"state\.0\.h must be float32\[1, 24\]"):
        executor.write_row(1, [np.ones((2, 24), np.float32)] * 2)
    assert not any(array.any() for array in executor.read_state())


def test_states_that_are_read_are_copies(native_model: Callable[..., Model]) -> None:
    executor = native_model("gru").executor(2)
    for array in (*executor.read_state(), *executor.read_row(1)):
        array[...] = 1
    assert not any(array.any() for array in executor.read_state())


def test_what_was_lent_for_choosing_outlives_its_executor(native_model: Callable[..., Model]) -> None:
    executor = native_model("gru").executor()
    assert isinstance(executor, NativeExecutor)
    choose, kept = executor.chooser(GREEDY), weakref.ref(executor._memory.base)
    del executor
    gc.collect()
    assert kept() is not None
    assert list(native_model("gru").stream().generate(1)) == [choose(native_model("gru").spec.feedback.start, 0.0)]  # type: ignore[union-attr]
    del choose
    gc.collect()
    assert kept() is None


def test_the_state_of_each_row_begins_at_a_multiple_of_64_bytes(native_model: Callable[..., Model]) -> None:
    for _ in range(5):
        executor = native_model("gru").executor(3)
        assert isinstance(executor, NativeExecutor)
        assert [0, 0, 0] == [executor._memory[row].ctypes.data % 64 for row in range(3)]


@pytest.mark.parametrize("token", [-100, 10_000, 2**40])
def test_a_step_that_fails_names_the_input_and_leaves_the_state_as_it_was(
    native_model: Callable[..., Model], token: int
) -> None:
    executor = native_model("lstm").executor(2)
    executor.inputs["token"][...] = 3
    executor.run()
    before = executor.read_state()
    executor.inputs["token"][...] = [1, token]
    size = native_model("lstm").spec.vocabulary
    with pytest.raises(EngineError, match=rf"token must lie in 0\.\.{size - 1}, got {token}"):
        executor.run()
    for old, new in zip(before, executor.read_state(), strict=True):
        assert old.tobytes() == new.tobytes()


def test_an_engine_that_fails_to_choose_takes_no_step(native_model: Callable[..., Model]) -> None:
    stream = native_model("gru").stream(sampler=Sampler(1.0))
    (token,) = stream.generate(1)
    before = stream.snapshot()
    stream._pending = 10_000
    with pytest.raises(EngineError, match="the engine failed in a step"):
        next(stream.generate(1))
    stream._pending = token
    after = stream.snapshot()
    assert (before.step, before.recent) == (after.step, after.recent)
    assert [array.tobytes() for array in before.arrays] == [array.tobytes() for array in after.arrays]


# Opening


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 2}, InputError, "computes a step in one thread, got threads=2; use engine='onnxruntime'"),
        ({"spinning": True}, InputError, "computes a step in one thread, got threads=1 and spinning"),
        ({"providers": "cuda"}, ProviderError, "compiled code runs on the cpu, got cuda"),
        ({"providers": ["cpu", "cuda"]}, ProviderError, "compiled code runs on the cpu, got cpu, cuda"),
        ({"providers": []}, ProviderError, "compiled code runs on the cpu"),
        ({"engine": "onnxruntime"}, InputError, "is a compiled library, which only engine='native' can run"),
        ({"engine": "tract"}, InputError, "engine must be onnxruntime or native, got 'tract'"),
        ({"threads": 0}, InputError, r"threads must lie in 1\.\.256, got 0"),
    ],
)
def test_what_compiled_code_has_not_is_refused(
    tiny_library: Callable[..., Path], options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(tiny_library("gru"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("providers", ["cpu", ["CPUExecutionProvider"], [("cpu", {})]], ids=str)
def test_the_cpu_is_what_it_has(tiny_library: Callable[..., Path], providers: str) -> None:
    assert ("native",) == load(tiny_library("gru"), providers=providers, engine="native", strict=True).providers


def test_compiled_code_runs_without_onnx_runtime(tiny_library: Callable[..., Path]) -> None:
    code = (
        "import sys; from edgernn_runtime import load; model = load(sys.argv[1]); "
        "print(len(list(model.stream().generate(5))), 'onnxruntime' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_library("gru"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["5", "False"]


def test_a_library_on_a_device_is_checked_like_a_model(tiny_library: Callable[..., Path]) -> None:
    path = tiny_library("gru")
    command = [sys.executable, "-m", "edgernn_runtime", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{path}: float32, state of 48 numbers" in done.stdout
    assert "provider native, 1000 steps" in done.stdout
    done = subprocess.run([*command, "--prompt", "a", "--engine", "native"], capture_output=True, check=True)
    assert len(done.stdout.decode()) > 100
