"""A snapshot of a stream, its file, and the models that refuse it."""

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgernn_runtime import Model, Sampler, State
from edgernn_runtime.errors import OutputError, OutputExistsError, StateError

DTYPES = st.sampled_from(["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"])
STATES = st.builds(
    State,
    model_id=st.text("0123456789abcdef", min_size=64, max_size=64),
    arrays=st.lists(DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(max_dims=3, max_side=4))), max_size=3).map(
        tuple
    ),
    step=st.integers(0, 2**62),
    seed=st.integers(0, 2**64 - 1),
    sampler=st.builds(Sampler, st.floats(1e-3, 100), st.integers(0, 100), st.floats(0.01, 1)),
    pending=st.none() | st.integers(0, 2**31),
    held=st.binary(max_size=3),
)


def content(state: State) -> list[object]:
    plain = [getattr(state, field.name) for field in fields(state) if field.name != "arrays"]
    return [*plain, *((array.dtype, array.shape, array.tobytes()) for array in state.arrays)]


@pytest.fixture
def snapshot(tiny_model: Callable[..., Model]) -> State:
    stream = tiny_model("lstm").stream(seed=3, sampler=Sampler(0.9, 5, 0.95))
    list(stream.generate(10))
    return stream.snapshot()


@pytest.fixture
def saved(snapshot: State, tmp_path: Path) -> Path:
    snapshot.save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def save_with_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the header of a saved state."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays.pop("edgernn.state")))
    change(header)
    np.savez(path, allow_pickle=False, **{"edgernn.state": np.array(json.dumps(header))}, **arrays)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(STATES)
def test_a_saved_state_comes_back(tmp_path_factory: pytest.TempPathFactory, state: State) -> None:
    path = tmp_path_factory.mktemp("state") / "state.npz"
    state.save(path)
    assert content(state) == content(State.load(path))


def test_a_snapshot_cannot_be_changed(snapshot: State) -> None:
    with pytest.raises(ValueError, match="read-only"):
        snapshot.arrays[0][...] = 0
    with pytest.raises(AttributeError):
        snapshot.step = 0  # type: ignore[misc]


def test_a_snapshot_does_not_change_when_its_stream_goes_on(tiny_model: Callable[..., Model]) -> None:
    stream = tiny_model("lstm").stream()
    stream.step(1)
    state = stream.snapshot()
    before = content(state)
    stream.run([2, 3, 4])
    assert before == content(state)


def test_a_state_leaves_the_caller_s_arrays_writeable() -> None:
    array = np.zeros((1, 2), np.float32)
    state = State("id", (array,))
    array[...] = 1
    assert state.arrays[0].tolist() == [[0, 0]]


def test_the_initial_state_has_the_constants_of_the_spec_in_every_row(frame_model: Model) -> None:
    level, count = frame_model.initial_state(batch=3).arrays
    assert [[0.5, -1.0, 2.0, 0.25]] * 3 == level.tolist()
    assert np.float32 == level.dtype
    assert [[0]] * 3 == count.tolist()
    assert np.int64 == count.dtype


def test_a_stream_at_its_start_has_the_initial_state(frame_model: Model) -> None:
    assert content(frame_model.initial_state()) == content(replace(frame_model.stream().snapshot(), sampler=Sampler(0)))


def test_another_model_s_state_is_refused(tiny_model: Callable[..., Model], snapshot: State) -> None:
    other = tiny_model("gru")
    with pytest.raises(StateError) as caught:
        other.stream(state=snapshot)
    assert str(caught.value) == (
        f"the state belongs to model {snapshot.model_id[:12]}, this is model {other.model_id[:12]}; "
        "a state continues only on the model that made it"
    )


def test_the_quantized_model_refuses_a_state_of_the_float_one(
    tiny_model: Callable[..., Model], snapshot: State
) -> None:
    with pytest.raises(StateError, match="a state continues only on the model that made it"):
        tiny_model("lstm", "int8").stream(state=snapshot)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((1, 24), np.float64), "float64[1, 24]"),
        (np.zeros((1, 12), np.float32), "float32[1, 12]"),
        (np.zeros((1, 24, 1), np.float32), "float32[1, 24, 1]"),
        (np.zeros((24,), np.float32), "float32[24]"),
    ],
)
def test_a_state_of_the_wrong_dtype_or_shape_is_refused_with_what_to_do(
    tiny_model: Callable[..., Model], snapshot: State, array: np.ndarray[Any, Any], got: str
) -> None:
    state = replace(snapshot, arrays=(snapshot.arrays[0], array, *snapshot.arrays[2:]))
    with pytest.raises(StateError) as caught:
        tiny_model("lstm").stream(state=state)
    expected = f"state.0.c must be float32[1, 24], got {got}; start from model.initial_state(batch=1)"
    assert expected == str(caught.value)


@pytest.mark.parametrize("shape", [(), (0, 24), (24,), (1, 12)], ids=str)
def test_a_first_array_of_the_wrong_shape_is_refused(
    tiny_model: Callable[..., Model], snapshot: State, shape: tuple[int, ...]
) -> None:
    state = replace(snapshot, arrays=(np.zeros(shape, np.float32), *snapshot.arrays[1:]))
    with pytest.raises(StateError):
        tiny_model("lstm").stream(state=state)


def test_a_state_of_several_rows_is_refused_by_a_stream(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("lstm")
    with pytest.raises(StateError, match="a stream takes a state of batch 1, got batch 2"):
        model.stream(state=model.initial_state(batch=2))


def test_a_state_with_too_few_arrays_is_refused(tiny_model: Callable[..., Model], snapshot: State) -> None:
    with pytest.raises(StateError, match="the model has 4 states, got 3 arrays"):
        tiny_model("lstm").stream(state=replace(snapshot, arrays=snapshot.arrays[:3]))


@pytest.mark.parametrize("pending", [-1, 22, 10**9])
def test_a_pending_token_outside_the_vocabulary_is_refused(
    tiny_model: Callable[..., Model], snapshot: State, pending: int
) -> None:
    vocabulary = tiny_model("lstm").spec.vocabulary
    with pytest.raises(StateError, match=rf"the pending token must lie in 0\.\.{vocabulary - 1}, got {pending}"):
        tiny_model("lstm").stream(state=replace(snapshot, pending=pending))


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 2**64), ("step", -1)])
def test_a_seed_or_step_out_of_range_is_refused(snapshot: State, name: str, value: int) -> None:
    with pytest.raises(StateError, match=name):
        replace(snapshot, seed=value) if name == "seed" else replace(snapshot, step=value)


def test_a_refused_state_leaves_the_stream_as_it_was(tiny_model: Callable[..., Model], snapshot: State) -> None:
    stream = tiny_model("lstm").stream(seed=9)
    list(stream.generate(5))
    before = content(stream.snapshot())
    for wrong in (
        replace(snapshot, pending=-1),
        replace(snapshot, model_id="x"),
        replace(snapshot, arrays=snapshot.arrays[1:]),
    ):
        with pytest.raises(StateError):
            stream.restore(wrong)
    assert before == content(stream.snapshot())


def test_a_saved_state_is_kept_unless_it_may_be_replaced(snapshot: State, saved: Path) -> None:
    changed = replace(snapshot, step=77)
    with pytest.raises(OutputExistsError):
        changed.save(saved)
    assert State.load(saved).step == snapshot.step
    changed.save(saved, overwrite=True)
    assert State.load(saved).step == 77


def test_a_state_is_saved_under_the_name_that_was_given(snapshot: State, tmp_path: Path) -> None:
    snapshot.save(tmp_path / "no suffix")
    assert [tmp_path / "no suffix"] == list(tmp_path.iterdir())


def test_a_state_cannot_be_saved_into_a_folder_that_is_not_there(snapshot: State, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        snapshot.save(tmp_path / "nowhere" / "state.npz")


def test_a_missing_file_holds_no_state(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"gone\.npz could not be read: No such file or directory"):
        State.load(tmp_path / "gone.npz")
    with pytest.raises(StateError, match="could not be read"):
        State.load(tmp_path)


def test_a_file_cut_anywhere_holds_no_state(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 61):
        saved.write_bytes(whole[:length])
        with pytest.raises(StateError):
            State.load(saved)


def test_a_damaged_file_loads_or_is_refused_as_a_state(saved: Path) -> None:
    """Also its zip structure may be damaged: flags say encrypted, the compression is unknown."""
    whole = saved.read_bytes()
    other = {}
    for position in range(len(whole)):
        for flip in (0x01, 0x08, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= flip
            saved.write_bytes(damaged)
            try:
                State.load(saved)
            except StateError:
                pass
            except Exception as error:  # noqa: BLE001, whatever it is, it is collected
                other[f"{type(error).__name__}: {error}"] = f"byte {position} ^ {flip:#x}"
    assert {} == other


@pytest.mark.parametrize("foreign", ["random", "npz", "npy", "text"])
def test_a_file_of_another_kind_holds_no_state(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "foreign"
    if foreign == "npz":
        np.savez(path.with_suffix(".npz"), weights=np.zeros(3))
        path = path.with_suffix(".npz")
    elif foreign == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(np.random.default_rng(0).bytes(500) if foreign == "random" else b"hello")
    with pytest.raises(StateError, match="holds no saved state"):
        State.load(path)


def test_nothing_in_a_state_file_is_ever_unpickled(saved: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (trap,)

    with np.load(saved) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["0"] = np.array([Trap()], dtype=object)
    np.savez(saved, allow_pickle=True, **arrays)
    with pytest.raises(StateError, match="holds no saved state"):
        State.load(saved)
    saved.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StateError, match="holds no saved state"):
        State.load(saved)
    assert not trap.exists()
    with np.load(io.BytesIO(_npz(arrays)), allow_pickle=True) as file:
        assert file["0"].size
    assert trap.exists(), "the trap itself must work"


def _npz(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def test_a_state_of_a_newer_version_is_refused(saved: Path) -> None:
    save_with_header(saved, lambda header: header.update(version=3))
    with pytest.raises(StateError, match="has state version 3, this edgernn reads 2"):
        State.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "many"},
        {"step": None},
        {"step": float("inf")},
        {"seed": float("nan")},
        {"pending": "a"},
        {"held": "zz"},
        {"held": None},
        {"sampler": {"temperature": -1}},
        {"sampler": {"heat": 1}},
        {"sampler": {"temperature": "hot"}},
        {"sampler": None},
    ],
    ids=str,
)
def test_a_header_with_a_wrong_value_is_no_state(saved: Path, change: dict[str, object]) -> None:
    save_with_header(saved, lambda header: header.update(change))
    with pytest.raises(StateError, match="holds no saved state"):
        State.load(saved)


@pytest.mark.parametrize("name", ["model_id", "step", "seed", "sampler", "pending", "held", "version"])
def test_a_header_without_a_field_is_no_state(saved: Path, name: str) -> None:
    save_with_header(saved, lambda header: header.pop(name))
    with pytest.raises(StateError, match="holds no saved state"):
        State.load(saved)
