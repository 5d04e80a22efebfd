"""A stream continues exactly: after a cut, a fork, a reset, or in another process."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgernn.models import RecurrentLM
from edgernn_runtime import GREEDY, CharacterCodec, Model, Sampler, State, Stream, uniforms
from edgernn_runtime.errors import InputError, StateError, StreamError

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]

LIVELY = Sampler(0.9, top_k=12, top_p=0.97)

CONTINUE = """
import json, sys
from edgernn_runtime import State, load
model, state, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
stream = load(model).stream(state=State.load(state))
tokens = list(stream.generate(count))
after = stream.snapshot()
print(json.dumps([tokens, stream.step(1).tobytes().hex(), [array.tobytes().hex() for array in after.arrays]]))
"""


def condition(stream: Stream) -> list[object]:
    """Everything that decides how a stream goes on."""
    state = stream.snapshot()
    arrays = [array.tobytes() for array in state.arrays]
    return [state.step, state.seed, state.sampler, state.pending, state.held, *arrays]


@pytest.fixture
def model(tiny_model: Callable[..., Model]) -> Model:
    return tiny_model("lstm")


# Continuing


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_stream_cut_saved_and_continued_in_a_new_process_equals_the_uncut_one(
    tiny_model: Callable[..., Model], tiny_path: Callable[..., Path], tmp_path: Path, precision: str
) -> None:
    model = tiny_model("lstm", precision)
    cuts = np.random.default_rng(1).integers(1, 300, 2)
    for number, cut in enumerate(map(int, cuts)):
        whole = model.stream(seed=number, sampler=LIVELY)
        tokens = list(whole.generate(320))
        first = model.stream(seed=number, sampler=LIVELY)
        assert tokens[:cut] == list(first.generate(cut))
        first.snapshot().save(tmp_path / f"{cut}.npz")
        arguments = [str(tiny_path("lstm", precision)), str(tmp_path / f"{cut}.npz"), str(320 - cut)]
        done = subprocess.run([sys.executable, "-c", CONTINUE, *arguments], capture_output=True, text=True, check=True)
        rest, logits, arrays = json.loads(done.stdout)
        assert tokens[cut:] == rest
        assert [array.tobytes().hex() for array in whole.snapshot().arrays] == arrays
        assert whole.step(1).tobytes().hex() == logits


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
@pytest.mark.parametrize("cut", [0, 1, 2, 255, 256, 257, 399])
def test_a_stream_cut_anywhere_and_restored_equals_the_uncut_one(
    tiny_model: Callable[..., Model], cell: str, precision: str, cut: int
) -> None:
    model = tiny_model(cell, precision)
    whole = list(model.stream(seed=5, sampler=LIVELY).generate(400))
    first = model.stream(seed=5, sampler=LIVELY)
    before = list(first.generate(cut))
    second = model.stream(state=first.snapshot())
    assert whole == before + list(second.generate(400 - cut))


def test_a_frame_stream_cut_and_restored_equals_the_uncut_one(
    frame_model: Model, frames: Floats, tmp_path: Path
) -> None:
    whole = frame_model.stream().run(frames)
    first = frame_model.stream()
    before = first.run(frames[:333])
    first.snapshot().save(tmp_path / "state.npz")
    second = frame_model.stream(state=State.load(tmp_path / "state.npz"))
    assert whole.tobytes() == np.concatenate([before, second.run(frames[333:])]).tobytes()
    assert second.snapshot().arrays[1].tolist() == [[1000]]


def test_a_forked_stream_continues_exactly_like_its_parent(model: Model) -> None:
    parent = model.stream(seed=7, sampler=LIVELY)
    list(parent.generate(20))
    child = parent.fork()
    assert condition(parent) == condition(child)
    assert list(parent.generate(300)) == list(child.generate(300))


def test_a_forked_stream_goes_its_own_way(model: Model) -> None:
    parent = model.stream(seed=7, sampler=LIVELY)
    list(parent.generate(20))
    child = parent.fork()
    before = condition(parent)
    child.sampler = Sampler(2.0)
    list(child.generate(20))
    child.run([1, 2, 3])
    child.reset(seed=1)
    assert before == condition(parent)


def test_a_generation_that_is_left_early_stands_at_the_last_token_it_gave(model: Model) -> None:
    left, ended = model.stream(seed=2, sampler=LIVELY), model.stream(seed=2, sampler=LIVELY)
    assert list(islice(left.generate(100), 5)) == list(ended.generate(5))
    assert condition(ended) == condition(left)


def test_a_snapshot_brings_its_seed_and_its_sampler(model: Model) -> None:
    first = model.stream(seed=12, sampler=LIVELY)
    list(first.generate(3))
    second = model.stream(seed=1, state=first.snapshot())
    assert second.seed == 12
    assert LIVELY == second.sampler


def test_restoring_after_other_generation_forgets_the_noise_of_before(model: Model) -> None:
    stream = model.stream(seed=3, sampler=LIVELY)
    list(stream.generate(10))
    state = stream.snapshot()
    expected = list(stream.generate(50))
    stream.reset(seed=99)
    list(stream.generate(30))
    stream.restore(state)
    assert expected == list(stream.generate(50))


# Seeds, noise and samplers


def test_the_same_seed_gives_the_same_text_again(model: Model) -> None:
    texts = {"".join(model.stream(seed=4, sampler=LIVELY).generate_text(200)) for _ in range(3)}
    assert len(texts) == 1


def test_another_seed_gives_another_text(model: Model) -> None:
    seeds = [0, 1, 2**32, 2**64 - 1]
    assert len({"".join(model.stream(seed=seed, sampler=LIVELY).generate_text(50)) for seed in seeds}) == len(seeds)


def test_a_greedy_stream_does_not_depend_on_its_seed(model: Model) -> None:
    assert list(model.stream(seed=1).generate(50)) == list(model.stream(seed=2).generate(50))


def test_the_noise_of_a_token_depends_on_the_seed_and_its_step_alone(model: Model, tiny_tokens: Tokens) -> None:
    prompt = tiny_tokens[:300]
    stream = model.stream(seed=6, sampler=LIVELY)
    stream.prefill(prompt)
    actual = list(stream.generate(300))
    reference, token, expected = model.stream(), int(prompt[-1]), []
    reference.run(prompt[:-1])
    for step in range(299, 599):
        logits = np.asarray(reference.step(token), np.float32)
        token = LIVELY.sample(logits, float(uniforms(6, step, 1)[0]))
        expected.append(token)
    assert expected == actual


def test_a_reset_stream_starts_again_with_its_seed(model: Model) -> None:
    stream = model.stream(seed=8, sampler=LIVELY)
    expected = list(stream.generate(40))
    stream.reset()
    assert condition(model.stream(seed=8, sampler=LIVELY)) == condition(stream)
    assert expected == list(stream.generate(40))


def test_a_stream_reset_to_another_seed_is_one_of_that_seed(model: Model) -> None:
    stream = model.stream(seed=8, sampler=LIVELY)
    list(stream.generate(40))
    stream.reset(seed=9)
    assert list(model.stream(seed=9, sampler=LIVELY).generate(40)) == list(stream.generate(40))


def test_a_reset_stream_has_the_constant_initial_state(frame_model: Model, frames: Floats) -> None:
    stream = frame_model.stream()
    expected = stream.run(frames[:20])
    stream.reset()
    assert stream.snapshot().arrays[0].tolist() == [[0.5, -1.0, 2.0, 0.25]]
    assert stream.step_index == 0
    assert expected.tobytes() == stream.run(frames[:20]).tobytes()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(model: Model, seed: int) -> None:
    with pytest.raises(InputError, match=r"seed must lie in 0\.\.2\*\*64 - 1"):
        model.stream(seed=seed)
    with pytest.raises(InputError, match=r"seed must lie in 0\.\.2\*\*64 - 1"):
        model.stream().reset(seed=seed)


def test_the_sampler_may_change_on_the_way(model: Model) -> None:
    stream = model.stream(seed=1, sampler=LIVELY)
    list(stream.generate(10))
    other = model.stream(state=replace(stream.snapshot(), sampler=GREEDY))
    stream.sampler = GREEDY
    assert list(other.generate(50)) == list(stream.generate(50))


# Stepping


def test_steps_equal_torch(model: Model, tiny_lm: Callable[[str], RecurrentLM], tiny_tokens: Tokens) -> None:
    source = tiny_lm("lstm")
    with torch.inference_mode():
        logits, _ = source.scan(torch.from_numpy(tiny_tokens[:200, None]), source.init(1))
    actual = np.asarray(model.stream().run(tiny_tokens[:200]), np.float32)
    np.testing.assert_allclose(actual, logits[:, 0].numpy(), atol=1e-4)


def test_step_and_step_into_and_run_give_the_same(model: Model, tiny_tokens: Tokens) -> None:
    tokens = tiny_tokens[:50]
    whole = model.stream().run(tokens)
    stepped, written = model.stream(), model.stream()
    out = np.empty(whole.shape[1:], np.float32)
    for token, expected in zip(tokens, whole, strict=True):
        assert expected.tobytes() == stepped.step(token).tobytes()
        written.step_into(token, out)
        assert expected.tobytes() == out.tobytes()
    assert whole.dtype == np.float32
    assert stepped.step_index == written.step_index == 50


def test_no_values_are_no_steps(model: Model, frame_model: Model) -> None:
    stream = model.stream()
    assert stream.run([]).shape == (0, model.spec.vocabulary)
    assert stream.step_index == 0
    assert frame_model.stream().run(np.empty((0, 5), np.float32)).shape == (0, 3)


def test_what_step_returns_belongs_to_the_caller(model: Model) -> None:
    stream = model.stream()
    first = stream.step(1)
    kept = first.copy()
    second = stream.step(2)
    assert kept.tobytes() == first.tobytes()
    second[...] = 0
    assert stream.output("logits").any()


def test_every_output_of_the_last_step_can_be_read(frame_model: Model, frames: Floats) -> None:
    stream = frame_model.stream()
    params = stream.step(frames[0])
    assert params.tobytes() == stream.output("params").tobytes()
    energy = np.asarray(stream.output("energy"), np.float32)
    level = np.asarray(stream.snapshot().arrays[0], np.float32)
    np.testing.assert_allclose(energy, [np.sum(level**2)], rtol=1e-5)
    stream.output("energy")[...] = -1
    assert energy.tobytes() == stream.output("energy").tobytes()
    with pytest.raises(KeyError):
        stream.output("loudness")


def test_the_zeros_of_an_input_can_be_stepped(model: Model, frame_model: Model) -> None:
    assert model.stream().step(0).tobytes() == model.stream().step(model.spec.inputs[0].zero()).tobytes()
    expected = frame_model.stream().step(np.zeros(5, np.float32))
    assert expected.tobytes() == frame_model.stream().step(frame_model.spec.inputs[0].zero()).tobytes()


@pytest.mark.parametrize("token", [3, np.int64(3), np.int32(3), np.uint8(3), np.array(3)], ids=repr)
def test_every_kind_of_integer_is_a_token(model: Model, token: int) -> None:
    assert model.stream().step(3).tobytes() == model.stream().step(token).tobytes()


@pytest.mark.parametrize("token", [1.0, 1.5, np.float32(1), float("nan"), "a", None, [1], np.array([1, 2])], ids=repr)
def test_a_token_that_is_no_integer_is_refused(model: Model, token: int) -> None:
    stream = model.stream()
    with pytest.raises(InputError, match="a token must be an integer, got "):
        stream.step(token)
    assert stream.step_index == 0


@pytest.mark.parametrize("token", [-1, 22, 2**70])
def test_a_token_outside_the_vocabulary_is_refused(model: Model, token: int) -> None:
    stream = model.stream()
    with pytest.raises(InputError, match=rf"a token must lie in 0\.\.21, got {token}"):
        stream.step(token)
    assert condition(model.stream()) == condition(stream)


def test_a_refused_token_leaves_the_stream_and_what_is_pending_as_they_were(model: Model) -> None:
    stream = model.stream(seed=1, sampler=LIVELY)
    list(stream.generate(5))
    before = condition(stream)
    for wrong in (-1, 22, 1.5):
        with pytest.raises(InputError):
            stream.step(wrong)  # type: ignore[arg-type]
    assert before == condition(stream)


def test_a_run_with_a_wrong_token_takes_no_step(model: Model) -> None:
    stream = model.stream()
    with pytest.raises(InputError):
        stream.run([1, 2, 99, 3])
    assert condition(model.stream()) == condition(stream)


@pytest.mark.parametrize(
    ("frame", "got"),
    [
        (np.zeros(4, np.float32), r"float32\[4\]"),
        (np.zeros((1, 5), np.float32), r"float32\[1, 5\]"),
        (np.zeros(5, np.float64), r"float64\[5\]"),
        (3, r"int64\[\]"),
    ],
)
def test_a_frame_of_another_shape_or_dtype_is_refused(frame_model: Model, frame: Floats, got: str) -> None:
    stream = frame_model.stream()
    with pytest.raises(InputError, match=rf"frame must be float32\[5\], got {got}"):
        stream.step(frame)
    assert condition(frame_model.stream()) == condition(stream)


# Prompts


@pytest.mark.parametrize("as_text", [True, False])
def test_a_prompt_is_fed_but_for_its_last_token_which_is_pending(
    model: Model, characters: CharacterCodec, *, as_text: bool
) -> None:
    tokens = characters.encode("abcdé☃").tolist()
    stream, expected = model.stream(), model.stream()
    stream.prefill("abcdé☃" if as_text else tokens)
    expected.run(tokens[:-1])
    assert stream.step_index == 5
    assert stream.snapshot().pending == tokens[-1]
    assert condition(expected)[5:] == condition(stream)[5:]


def test_a_prompt_in_parts_is_the_whole_prompt(model: Model) -> None:
    whole, parts = model.stream(), model.stream()
    whole.prefill("abcdefgh")
    for part in ("abc", "", "d", "efgh"):
        parts.prefill(part)
    assert condition(whole) == condition(parts)


def test_what_is_pending_is_fed_before_a_step(model: Model) -> None:
    prompted, stepped = model.stream(), model.stream()
    prompted.prefill([1, 2, 3])
    stepped.run([1, 2, 3])
    assert stepped.step(4).tobytes() == prompted.step(4).tobytes()
    assert condition(stepped) == condition(prompted)


def test_an_empty_prompt_does_nothing(model: Model) -> None:
    stream = model.stream()
    stream.prefill("")
    stream.prefill([])
    stream.prefill(np.empty(0, np.int64))
    assert condition(model.stream()) == condition(stream)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("abcßdef", "the model was trained without 1 of the text's characters"),
        ([1, 2, 22], r"a token must lie in 0\.\.21, got 22"),
        ([1, -1], r"a token must lie in 0\.\.21, got -1"),
        (np.array([1, 2, 99]), r"a token must lie in 0\.\.21, got 99"),
        ([1, 2.5], "a token must be an integer"),
        (np.array([1.5, 2.0]), "a token must be an integer"),
        (np.array([[1, 2], [3, 4]]), "a token must be an integer"),
    ],
    ids=str,
)
def test_a_prompt_that_the_model_cannot_take_feeds_nothing(model: Model, prompt: list[int], message: str) -> None:
    stream = model.stream()
    stream.prefill("ab")
    before = condition(stream)
    with pytest.raises(InputError, match=message):
        stream.prefill(prompt)
    assert before == condition(stream)


def test_a_model_of_frames_takes_no_prompt(frame_model: Model) -> None:
    with pytest.raises(
        InputError, match="the model generates nothing, so nothing can follow a prompt; feed it with step or run"
    ):
        frame_model.stream().prefill([1])


def test_a_stream_restored_from_a_state_that_does_not_fit_goes_on(
    model: Model, tiny_model: Callable[..., Model]
) -> None:
    stream, expected = model.stream(seed=1, sampler=LIVELY), model.stream(seed=1, sampler=LIVELY)
    list(stream.generate(5))
    with pytest.raises(StateError):
        stream.restore(tiny_model("gru").initial_state())
    assert list(expected.generate(20))[5:] == list(stream.generate(15))


def test_a_stream_in_the_middle_of_a_step_refuses_every_other_call(model: Model) -> None:
    stream = model.stream(sampler=LIVELY)
    list(stream.generate(3))
    before, saved = condition(stream), stream.snapshot()
    refused: list[str] = []
    calls: list[Callable[[], object]] = [
        lambda: stream.step(1),
        lambda: stream.step_into(1, np.empty(22, np.float32)),
        lambda: stream.run([1]),
        lambda: next(stream.generate(1)),
        lambda: stream.prefill([1]),
        stream.snapshot,
        lambda: stream.restore(saved),
        stream.reset,
        stream.fork,
    ]

    def from_another_thread() -> None:
        for call in calls:
            try:
                call()
            except StreamError as error:
                refused.append(str(error))

    stream._alone.enter()  # as a step does while ONNX Runtime computes it
    thread = threading.Thread(target=from_another_thread)
    thread.start()
    thread.join()
    stream._alone.leave()
    assert ["another thread is stepping this stream; a stream is for one thread at a time"] * len(calls) == refused
    assert before == condition(stream)


def test_two_threads_on_one_stream_take_whole_steps_or_none(model: Model) -> None:
    stream, taken = model.stream(), [0, 0]

    def step(number: int) -> None:
        for _ in range(2000):
            try:
                stream.step(number)
            except StreamError:
                continue
            taken[number] += 1

    threads = [threading.Thread(target=step, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == stream.step_index > 0
