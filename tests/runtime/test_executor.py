"""Executors: batched buffers in which no row feels another, and states that never alias."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from edgernn.models import RecurrentLM
from edgernn_export.step import StepModule
from edgernn_export.torch_engine import TorchEngine
from edgernn_runtime import Executor, Model
from edgernn_runtime.engines.ort import OrtExecutor
from edgernn_runtime.engines.singly import SinglyExecutor
from edgernn_runtime.errors import EngineError, InputError, StateError

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]

STEPS = 120


def run_rows(executor: Executor, tokens: Tokens) -> Floats:
    """Step all rows through `tokens [steps, batch]` and return the logits `[steps, batch, vocabulary]`."""
    output = executor.outputs["logits"]
    logits = np.empty((len(tokens), *output.shape), np.float32)
    for row, out in zip(tokens, logits, strict=True):
        executor.inputs["token"][...] = row
        executor.run()
        out[...] = output
    return logits


@pytest.fixture
def lanes(tiny_tokens: Tokens) -> Tokens:
    """Tokens of 8 streams, int64 `[120, 8]`."""
    return tiny_tokens[: STEPS * 8].reshape(STEPS, 8)


def test_a_thousand_steps_equal_torch(
    tiny_model: Callable[..., Model], tiny_lm: Callable[[str], RecurrentLM], tiny_tokens: Tokens, cell: str
) -> None:
    tokens = tiny_tokens.reshape(1000, 2)
    executor = tiny_model(cell).executor(2)
    model = tiny_lm(cell)
    with torch.inference_mode():
        logits, state = model.scan(torch.from_numpy(tokens), model.init(2))
    np.testing.assert_allclose(run_rows(executor, tokens), logits.numpy(), atol=2e-4)
    for expected, actual in zip(state, executor.read_state(), strict=True):
        np.testing.assert_allclose(np.asarray(actual, np.float32), expected.numpy(), atol=2e-5)


def test_a_thousand_steps_equal_numpy(frame_model: Model, frames: Floats) -> None:
    initial = frame_model.initial_state().arrays[0][0].astype(np.float64)
    impulse = np.eye(5, dtype=np.float32)
    inward = []
    for row in impulse:
        executor = frame_model.executor()
        executor.inputs["frame"][...] = row
        executor.run()
        inward.append(executor.read_state()[0][0] - 0.9 * initial)
    executor = frame_model.executor()
    level = initial
    for step, frame in enumerate(frames, start=1):
        level = 0.9 * level + frame @ np.stack(inward)
        executor.inputs["frame"][...] = frame
        executor.run()
        np.testing.assert_allclose(executor.read_state()[0][0], level, atol=1e-4)
        np.testing.assert_allclose(executor.outputs["energy"][0, 0], np.sum(level**2), rtol=1e-4, atol=1e-4)
        assert executor.read_state()[1].tolist() == [[step]]


def test_the_two_sets_of_state_buffers_share_no_memory(tiny_model: Callable[..., Model]) -> None:
    executor = tiny_model("lstm").executor(2)
    assert isinstance(executor, OrtExecutor)
    addresses = [value.data_ptr() for side in executor._states for value in side]
    assert len(addresses) == 8
    assert len(addresses) == len(set(addresses))


def test_a_step_reads_the_state_that_the_step_before_wrote_and_keeps_it(tiny_model: Callable[..., Model]) -> None:
    executor = tiny_model("lstm").executor()
    assert isinstance(executor, OrtExecutor)
    run_rows(executor, np.array([[1], [2]]))
    read = [value.numpy().copy() for value in executor._states[executor._current]]
    run_rows(executor, np.array([[3]]))
    kept = [value.numpy() for value in executor._states[1 - executor._current]]
    assert [array.tobytes() for array in read] == [array.tobytes() for array in kept]


def test_a_row_does_not_depend_on_its_mates(tiny_model: Callable[..., Model], lanes: Tokens, cell: str) -> None:
    model = tiny_model(cell)
    alone = run_rows(model.executor(1), lanes[:, :1])
    together = run_rows(model.executor(8), lanes)
    np.testing.assert_allclose(together[:, 0], alone[:, 0], atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_row_is_the_same_to_the_bit_in_every_batch_above_one(
    tiny_model: Callable[..., Model], lanes: Tokens, cell: str, precision: str
) -> None:
    model = tiny_model(cell, precision)
    expected = run_rows(model.executor(2), lanes[:, :2])[:, 0]
    for batch in (3, 4, 5, 8):
        mates = np.roll(lanes[:, :batch], batch, axis=0)
        mates[:, 0] = lanes[:, 0]
        assert expected.tobytes() == run_rows(model.executor(batch), mates)[:, 0].tobytes()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_row_does_not_feel_a_mate_whose_state_is_a_thousand_times_larger(
    tiny_model: Callable[..., Model], lanes: Tokens, cell: str, precision: str
) -> None:
    model = tiny_model(cell, precision)
    expected = run_rows(model.executor(2), lanes[:10, :2])[:, 0]
    executor = model.executor(2)
    executor.write_state(
        [np.repeat(np.array([[0.0], [1000.0]], np.float32), 24, axis=1) for _ in executor.read_state()]
    )
    assert expected.tobytes() == run_rows(executor, lanes[:10, :2])[:, 0].tobytes()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_quantized_or_float_row_gives_the_same_wherever_it_stands(
    tiny_model: Callable[..., Model], lanes: Tokens, cell: str, precision: str
) -> None:
    model = tiny_model(cell, precision)
    forward = run_rows(model.executor(8), lanes)
    backward = run_rows(model.executor(8), lanes[:, ::-1])
    np.testing.assert_allclose(backward[:, ::-1], forward, atol=0 if precision == "int8" else 1e-5)


def test_a_row_that_is_reset_starts_again_and_the_others_go_on(
    tiny_model: Callable[..., Model], lanes: Tokens, cell: str
) -> None:
    executor, other = tiny_model(cell).executor(3), tiny_model(cell).executor(3)
    run_rows(executor, lanes[:7, :3])
    run_rows(other, lanes[:7, :3])
    executor.reset_row(1)
    assert not any(array[1].any() for array in executor.read_state())
    fresh = run_rows(tiny_model(cell).executor(3), lanes[7:20, :3])
    on = run_rows(other, lanes[7:20, :3])
    actual = run_rows(executor, lanes[7:20, :3])
    assert fresh[:, 1].tobytes() == actual[:, 1].tobytes()
    assert on[:, [0, 2]].tobytes() == actual[:, [0, 2]].tobytes()


def test_a_row_that_is_reset_has_the_constant_initial_state(frame_model: Model, frames: Floats) -> None:
    executor = frame_model.executor(2)
    for steps in (0, 1, 2):
        for frame in frames[:steps]:
            executor.inputs["frame"][...] = frame
            executor.run()
        before = executor.read_state()
        executor.reset_row(1)
        level, count = executor.read_state()
        assert [0.5, -1.0, 2.0, 0.25] == level[1].tolist()
        assert count[1].tolist() == [0]
        assert before[0][0].tobytes() == level[0].tobytes()
        assert before[1][0].tobytes() == count[0].tobytes()


def test_a_row_that_is_moved_continues_there(tiny_model: Callable[..., Model], lanes: Tokens, cell: str) -> None:
    executor = tiny_model(cell).executor(3)
    run_rows(executor, lanes[:7, :3])
    before = executor.read_state()
    executor.move_row(2, 0)
    for old, new in zip(before, executor.read_state(), strict=True):
        assert old[[2, 1, 2]].tobytes() == new.tobytes()
    tokens = lanes[7:20, :3].copy()
    tokens[:, 0] = tokens[:, 2]
    logits = run_rows(executor, tokens)
    np.testing.assert_allclose(logits[:, 0], logits[:, 2], atol=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_state_that_is_written_is_read_back_and_used(
    tiny_model: Callable[..., Model], lanes: Tokens, steps: int
) -> None:
    source, target = tiny_model("lstm").executor(2), tiny_model("lstm").executor(2)
    run_rows(source, lanes[:10, :2])
    run_rows(target, lanes[20 : 20 + steps, :2])
    target.write_state(source.read_state())
    for expected, actual in zip(source.read_state(), target.read_state(), strict=True):
        assert expected.tobytes() == actual.tobytes()
    assert run_rows(source, lanes[10:20, :2]).tobytes() == run_rows(target, lanes[10:20, :2]).tobytes()


def test_reading_and_writing_a_state_copies_it(tiny_model: Callable[..., Model]) -> None:
    executor = tiny_model("gru").executor()
    arrays = executor.read_state()
    for array in arrays:
        array[...] = 1
    assert not any(array.any() for array in executor.read_state())
    executor.write_state(arrays)
    for array in arrays:
        array[...] = 2
    assert all((array == 1).all() for array in executor.read_state())


def test_a_state_that_is_written_may_be_a_strided_view(tiny_model: Callable[..., Model]) -> None:
    executor = tiny_model("gru").executor(2)
    rows = np.random.default_rng(0).standard_normal((24, 2)).astype(np.float32)
    executor.write_state([rows.T, rows.T])
    assert rows.T.tolist() == executor.read_state()[0].tolist()


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_a_state_of_another_dtype_is_never_taken_for_the_bytes_of_one(
    tiny_model: Callable[..., Model], dtype: str
) -> None:
    executor = tiny_model("gru").executor()
    with pytest.raises(StateError, match=rf"state\.0\.h must be float32\[1, 24\], got {dtype}\[1, 24\]"):
        executor.write_state([np.ones((1, 24), dtype)] * 2)
    assert not any(array.any() for array in executor.read_state())


def test_executors_of_one_model_do_not_share_their_state(tiny_model: Callable[..., Model], lanes: Tokens) -> None:
    model = tiny_model("gru")
    first, second = model.executor(2), model.executor(2)
    run_rows(first, lanes[:5, :2])
    assert not any(array.any() for array in second.read_state())


def test_a_step_that_fails_leaves_the_state_as_it_was(tiny_model: Callable[..., Model], lanes: Tokens) -> None:
    executor = tiny_model("lstm").executor(2)
    run_rows(executor, lanes[:5, :2])
    before = executor.read_state()
    executor.inputs["token"][...] = [1, 10_000]
    with pytest.raises(EngineError, match=r"ONNX Runtime failed in a step: .*out of data bounds"):
        executor.run()
    for old, new in zip(before, executor.read_state(), strict=True):
        assert old.tobytes() == new.tobytes()
    expected = tiny_model("lstm").executor(2)
    assert run_rows(expected, lanes[:10, :2])[5:].tobytes() == run_rows(executor, lanes[5:10, :2]).tobytes()


def test_inputs_that_are_uploaded_before_each_step_give_the_same(
    tiny_model: Callable[..., Model], frame_model: Model, lanes: Tokens, frames: Floats
) -> None:
    """On a device the bound input is a copy of the host array; here both lie on the host."""
    plain, uploading = tiny_model("lstm").executor(3), _with_uploads(tiny_model("lstm").executor(3))
    assert run_rows(plain, lanes[:, :3]).tobytes() == run_rows(uploading, lanes[:, :3]).tobytes()
    first, second = frame_model.executor(), _with_uploads(frame_model.executor())
    for frame in frames[:50]:
        for executor in (first, second):
            executor.inputs["frame"][...] = frame
            executor.run()
        assert first.outputs["params"].tobytes() == second.outputs["params"].tobytes()


def _with_uploads(executor: Executor) -> OrtExecutor:
    """Give an executor host arrays of its own, which it uploads into the bound ones."""
    assert isinstance(executor, OrtExecutor)
    bound = executor._inputs
    executor._inputs = {name: np.zeros_like(array) for name, array in bound.items()}
    executor._uploads = [
        (onnxruntime.OrtValue.ortvalue_from_numpy(bound[name]), array) for name, array in executor._inputs.items()
    ]
    return executor


def test_the_buffers_stay_the_same_arrays_from_step_to_step(tiny_model: Callable[..., Model], lanes: Tokens) -> None:
    executor = tiny_model("gru").executor(2)
    buffers = executor.inputs["token"], executor.outputs["logits"]
    run_rows(executor, lanes[:3, :2])
    assert executor.inputs["token"] is buffers[0]
    assert executor.outputs["logits"] is buffers[1]
    assert executor.batch == 2


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_that_is_not_positive_is_refused(tiny_model: Callable[..., Model], batch: int) -> None:
    with pytest.raises(InputError, match=f"batch must be positive, got {batch}"):
        tiny_model("gru").executor(batch)


# Fewer rows than there is room for


def _on_a_device(executor: Executor) -> OrtExecutor:
    """Make an executor read and write whole states, as it does where they do not lie on the host."""
    assert isinstance(executor, OrtExecutor)
    executor._arrays = None
    return executor


@pytest.fixture(params=["host", "device"])
def place(request: pytest.FixtureRequest) -> Callable[[Executor], Executor]:
    """What makes an executor's states lie on the host, or be handled as if they did not."""
    return _on_a_device if request.param == "device" else lambda executor: executor


def test_rows_that_rest_keep_their_state_and_those_that_step_go_on(
    tiny_model: Callable[..., Model], lanes: Tokens, cell: str, place: Callable[[Executor], Executor]
) -> None:
    model = tiny_model(cell)
    executor = place(model.executor(8))
    rng, taken = np.random.default_rng(0), np.zeros(8, int)
    alone = [run_rows(model.executor(1), lanes[:, row : row + 1])[:, 0] for row in range(8)]
    for _ in range(60):
        rows = int(rng.integers(1, 9))
        executor.resize(rows)
        for _ in range(int(rng.integers(0, 4))):
            if taken[:rows].max() == len(lanes):
                return
            executor.inputs["token"][:rows] = lanes[taken[:rows], np.arange(rows)]
            executor.run()
            for row in range(rows):
                np.testing.assert_allclose(executor.outputs["logits"][row], alone[row][taken[row]], atol=2e-5)
            taken[:rows] += 1


def test_the_verbs_of_single_rows_find_rows_at_rest(
    tiny_model: Callable[..., Model], lanes: Tokens, place: Callable[[Executor], Executor]
) -> None:
    executor, other = place(tiny_model("lstm").executor(6)), tiny_model("lstm").executor(6)
    expected = [array.copy() for array in other.read_state()]
    rng = np.random.default_rng(1)
    for step in range(100):
        rows = int(rng.integers(1, 7))
        source, target = (int(row) for row in rng.integers(0, 6, 2))
        executor.resize(rows)
        executor.inputs["token"][:] = other.inputs["token"][:] = lanes[step, :6]
        executor.run()
        other.write_state(expected)
        other.run()
        for array, after in zip(expected, other.read_state(), strict=True):
            array[:rows] = after[:rows]
        verb = ("move", "reset", "write", "read")[int(rng.integers(4))]
        _change_row(verb, executor, expected, source, target)
        found = executor.read_row(target)
        assert [(1, *array.shape[1:]) for array in expected] == [array.shape for array in found]
        for array, row in zip(expected, found, strict=True):
            np.testing.assert_allclose(row[0], array[target], atol=1e-5)
        if verb == "read":
            for array, state in zip(expected, executor.read_state(), strict=True):
                np.testing.assert_allclose(state, array, atol=1e-5)


def _change_row(verb: str, executor: Executor, expected: list[NDArray[np.generic]], source: int, target: int) -> None:
    """Change one row, in an executor and in the states that it is expected to have."""
    if verb == "move":
        executor.move_row(source, target)
    elif verb == "reset":
        executor.reset_row(target)
    elif verb == "write":
        executor.write_row(target, executor.read_row(source))
    for array in expected:
        if verb != "read":
            array[target] = 0 if verb == "reset" else array[source]


def test_a_state_that_is_written_while_rows_rest_is_that_of_all_rows(
    tiny_model: Callable[..., Model], lanes: Tokens, place: Callable[[Executor], Executor]
) -> None:
    source, executor = tiny_model("gru").executor(4), place(tiny_model("gru").executor(4))
    run_rows(source, lanes[:7, :4])
    executor.resize(1)
    run_rows_of(executor, lanes[:3, :1])
    executor.write_state(source.read_state())
    run_rows_of(executor, lanes[7:8, :1])
    executor.resize(4)
    for row in (1, 2, 3):
        assert source.read_row(row)[0].tobytes() == executor.read_row(row)[0].tobytes()


def run_rows_of(executor: Executor, tokens: Tokens) -> None:
    """Step the first rows, as many as `tokens [steps, rows]` has columns."""
    for row in tokens:
        executor.inputs["token"][: len(row)] = row
        executor.run()


def test_what_is_read_of_a_row_is_a_copy(tiny_model: Callable[..., Model], lanes: Tokens) -> None:
    executor = tiny_model("gru").executor(2)
    read = executor.read_row(1)
    kept = [array.copy() for array in read]
    run_rows(executor, lanes[:2, :2])
    assert [array.tobytes() for array in kept] == [array.tobytes() for array in read]


def test_a_row_of_another_shape_is_refused(
    tiny_model: Callable[..., Model], place: Callable[[Executor], Executor]
) -> None:
    executor = place(tiny_model("gru").executor(2))
    with pytest.raises(StateError, match=r"state\.0\.h must be float32\[1, 24\], got float32\[2, 24\]"):
        executor.write_row(0, executor.read_state())


@pytest.mark.parametrize("rows", [0, 4])
def test_more_rows_than_there_are_or_none_are_refused(tiny_model: Callable[..., Model], rows: int) -> None:
    singly = SinglyExecutor(tiny_model("gru").spec, tiny_model("gru").executor, 3)
    for executor in (tiny_model("gru").executor(3), singly):
        with pytest.raises(InputError, match=f"rows must lie in 1..3, got {rows}"):
            executor.resize(rows)


def test_an_executor_that_steps_all_rows_together_refuses_fewer(frame_step: StepModule) -> None:
    executor = TorchEngine(frame_step).executor(3)
    executor.resize(3)
    with pytest.raises(InputError, match="all 3 rows step together, so rows must be 3, got 2"):
        executor.resize(2)
    executor.write_row(1, [np.full((1, 4), 7, np.float32), np.full((1, 1), 7)])
    assert [0, 7, 0] == executor.read_state()[1][:, 0].tolist()
    assert [[7.0] * 4] == executor.read_row(1)[0].tolist()


def test_rows_that_step_singly_give_what_they_give_together(tiny_model: Callable[..., Model], lanes: Tokens) -> None:
    model = tiny_model("lstm")
    executor, together = SinglyExecutor(model.spec, model.executor, 4), model.executor(4)
    np.testing.assert_allclose(run_rows(executor, lanes[:20, :4]), run_rows(together, lanes[:20, :4]), atol=1e-5)
    for each in (executor, together):
        each.move_row(1, 3)
        each.reset_row(2)
        each.write_row(0, each.read_row(3))
    for one, other in zip(executor.read_state(), together.read_state(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    executor.write_state(together.read_state())
    assert executor.batch == 4
    np.testing.assert_allclose(run_rows(executor, lanes[20:40, :4]), run_rows(together, lanes[20:40, :4]), atol=1e-5)


def test_a_row_that_fails_singly_leaves_all_rows_where_they_were(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("gru")
    executor = SinglyExecutor(model.spec, model.executor, 3)
    executor.inputs["token"][:] = [1, 2, 3]
    executor.run()
    before = executor.read_state()
    for bad in ([99, 1, 1], [1, 99, 1], [1, 1, 99]):
        executor.inputs["token"][:] = bad
        with pytest.raises(EngineError):
            executor.run()
        for old, new in zip(before, executor.read_state(), strict=True):
            assert old.tobytes() == new.tobytes()
