"""Tokens and text as they are made: start, stop, and characters that are never broken."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgernn_export.metadata import read_model, write_spec
from edgernn_runtime import AsyncPool, CharacterCodec, Model, Sampler, State, load
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import BATCH, Spec, TensorSpec
from edgernn_runtime.text_output import generate_to

LIVELY = Sampler(0.9, top_k=12, top_p=0.97)
WILD = Sampler(50.0)


@pytest.fixture
def model(tiny_model: Callable[..., Model]) -> Model:
    return tiny_model("gru")


def test_greedy_tokens_are_the_most_probable_ones(model: Model, start_token: int) -> None:
    reference, token, expected = model.stream(), start_token, []
    for _ in range(50):
        token = int(np.argmax(reference.step(token)))
        expected.append(token)
    assert expected == list(model.stream().generate(50))


def test_a_stream_without_a_prompt_begins_with_the_start_token(model: Model, start_token: int) -> None:
    prompted = model.stream(seed=1, sampler=LIVELY)
    prompted.prefill([start_token])
    assert list(prompted.generate(30)) == list(model.stream(seed=1, sampler=LIVELY).generate(30))


def test_without_a_prompt_and_a_start_token_there_is_nothing_to_generate_from(byte_model: Model) -> None:
    with pytest.raises(InputError, match="nothing is pending to generate from; prefill a prompt first"):
        next(byte_model.stream().generate(1))


def test_the_start_token_does_not_begin_a_stream_that_is_under_way(model: Model) -> None:
    stream = model.stream()
    stream.step(1)
    with pytest.raises(InputError, match="nothing is pending to generate from; prefill a prompt first"):
        next(stream.generate(1))
    assert stream.step_index == 1


@pytest.mark.parametrize("count", [0, 1, 7])
def test_as_many_tokens_are_generated_as_were_asked_for(model: Model, count: int) -> None:
    stream = model.stream()
    assert len(list(stream.generate(count))) == count
    assert stream.step_index == count


def test_generation_goes_on_where_it_ended(model: Model) -> None:
    parts, whole = model.stream(seed=3, sampler=LIVELY), model.stream(seed=3, sampler=LIVELY)
    tokens = [token for count in (3, 0, 1, 16) for token in parts.generate(count)]
    assert list(whole.generate(20)) == tokens


def test_a_stop_token_ends_the_generation_and_is_pending(model: Model) -> None:
    free = list(model.stream(seed=3, sampler=LIVELY).generate(60))
    stop = free[25]
    end = free.index(stop)
    stream = model.stream(seed=3, sampler=LIVELY)
    assert free[:end] == list(stream.generate(60, stop={stop}))
    assert stream.snapshot().pending == stop
    assert free[end + 1 :] == list(stream.generate(59 - end))


def test_a_stop_token_that_never_comes_changes_nothing(model: Model) -> None:
    free = list(model.stream().generate(30))
    unused = next(token for token in range(model.spec.vocabulary) if token not in free)
    assert free == list(model.stream().generate(30, stop=[unused]))


def test_text_is_that_of_the_tokens(model: Model, characters: CharacterCodec) -> None:
    tokens = list(model.stream(seed=1, sampler=LIVELY).generate(100))
    pieces = list(model.stream(seed=1, sampler=LIVELY).generate_text(100))
    assert [characters.symbols[token] for token in tokens] == pieces


def test_text_of_bytes_comes_in_whole_characters(byte_model: Model, memorised: str) -> None:
    stream = byte_model.stream()
    stream.prefill(memorised)
    pieces = list(stream.generate_text(2 * len(memorised.encode())))
    assert list(memorised * 2) == pieces


@pytest.mark.parametrize("seed", range(4))
def test_text_of_wild_bytes_is_what_python_decodes(byte_model: Model, seed: int) -> None:
    stream = byte_model.stream(seed=seed, sampler=WILD)
    stream.prefill("a")
    tokens = bytes(stream.fork().generate(500))
    text = "".join(stream.generate_text(500)) + stream.snapshot().held.decode("utf-8", "replace")
    assert tokens.decode("utf-8", "replace") == text
    assert len(set(text)) > 50


def test_half_a_character_survives_a_snapshot(byte_model: Model, memorised: str, tmp_path: Path) -> None:
    size = len(memorised.encode())
    for cut in range(size):
        stream = byte_model.stream()
        stream.prefill(memorised)
        before = "".join(stream.generate_text(cut))
        stream.snapshot().save(tmp_path / "state.npz", overwrite=True)
        other = byte_model.stream(state=State.load(tmp_path / "state.npz"))
        assert memorised == before + "".join(other.generate_text(size - cut))
        assert memorised.startswith(before)


def test_half_a_character_goes_into_a_fork_and_not_into_a_reset_stream(byte_model: Model, memorised: str) -> None:
    stream = byte_model.stream()
    stream.prefill("a")
    list(stream.generate_text(1))
    assert stream.snapshot().held == b"\xc3"
    assert next(stream.fork().generate_text(1)) == memorised[1]
    stream.reset()
    assert stream.snapshot().held == b""


def test_a_token_is_decoded_on_its_own(model: Model, characters: CharacterCodec) -> None:
    token = int(characters.encode("☃")[0])
    assert model.stream().decode(token) == "☃"
    for wrong in (-1, characters.size):
        with pytest.raises(InputError, match=rf"a token must lie in 0\.\.{characters.size - 1}, got {wrong}"):
            model.stream().decode(wrong)


def test_text_of_one_token_has_a_token(model: Model, byte_model: Model, characters: CharacterCodec) -> None:
    assert characters.encode("é")[0] == model.stream().token_of("é")
    assert byte_model.stream().token_of("a") == 97
    with pytest.raises(InputError, match="'ab' is 2 tokens; one is needed"):
        model.stream().token_of("ab")
    with pytest.raises(InputError, match="'é' is 2 tokens; one is needed"):
        byte_model.stream().token_of("é")


def test_a_model_that_only_listens_generates_nothing(frame_model: Model) -> None:
    stream = frame_model.stream()
    for generation in (stream.generate(3), stream.generate_text(3)):
        with pytest.raises(InputError, match="the model does not generate tokens: its Spec has no feedback"):
            next(generation)
    with pytest.raises(InputError, match="the model has no codec of text, so its tokens are not text"):
        stream.decode(0)


def test_generated_text_is_handed_over_token_by_token(byte_model: Model, memorised: str) -> None:
    seen: list[tuple[int, str]] = []
    stream = byte_model.stream(seed=5)
    summary = generate_to(stream, lambda *pair: seen.append(pair), prompt=memorised, max_tokens=3)
    assert [(97, "a"), (0xC3, ""), (0xA9, "é")] == seen
    assert (3, 5) == (summary.tokens, summary.seed)
    assert summary.first_token_ms is not None
    assert summary.tokens_per_s is not None


def test_a_summary_without_tokens_has_no_times(model: Model) -> None:
    summary = generate_to(model.stream(), lambda *_: None, prompt="", max_tokens=0)
    assert (0, None, None) == (summary.tokens, summary.first_token_ms, summary.tokens_per_s)
    with pytest.raises(InputError, match="max_tokens must not be negative, got -1"):
        generate_to(model.stream(), lambda *_: None, prompt="", max_tokens=-1)


def test_a_prompt_with_unknown_characters_writes_nothing(model: Model) -> None:
    seen: list[object] = []
    with pytest.raises(InputError, match="trained without"):
        generate_to(model.stream(), lambda *pair: seen.append(pair), prompt="aß", max_tokens=5)
    assert [] == seen


def rewritten(
    source: Path, target: Path, graph: Callable[[onnx.GraphProto], None], spec: Callable[[Spec], Spec]
) -> Model:
    """Load a model file whose graph and Spec were changed together."""
    proto, before, _ = read_model(source)
    graph(proto.graph)
    write_spec(proto, spec(before))
    onnx.save(proto, target)
    return load(target)


def test_what_is_sampled_is_the_feedback_s_output_wherever_it_stands(
    tiny_path: Callable[..., Path], model: Model, tmp_path: Path
) -> None:
    def add_peak(graph: onnx.GraphProto) -> None:
        graph.node.append(onnx.helper.make_node("ReduceMax", ["logits"], ["peak"], axes=None, keepdims=1))
        del graph.node[-1].attribute[:]
        graph.node[-1].input.append("peak.axes")
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "peak.axes"))
        graph.output.insert(0, onnx.helper.make_tensor_value_info("peak", onnx.TensorProto.FLOAT, [BATCH, 1]))

    peak = TensorSpec("peak", "float32", (BATCH, 1), "params")
    other = rewritten(
        tiny_path("gru"), tmp_path / "peak.onnx", add_peak, lambda spec: replace(spec, outputs=(peak, *spec.outputs))
    )
    expected = list(model.stream(seed=1, sampler=LIVELY).generate(40))
    assert expected == list(other.stream(seed=1, sampler=LIVELY).generate(40))


def test_what_is_fed_back_goes_into_the_feedback_s_input_wherever_it_stands(
    tiny_path: Callable[..., Path], model: Model, tmp_path: Path
) -> None:
    size = model.spec.vocabulary

    def add_offset(graph: onnx.GraphProto) -> None:
        producer = next(node for node in graph.node if "logits" in node.output)
        producer.output[list(producer.output).index("logits")] = "plain"
        graph.node.append(onnx.helper.make_node("Add", ["plain", "offset"], ["logits"]))
        graph.input.insert(0, onnx.helper.make_tensor_value_info("offset", onnx.TensorProto.FLOAT, [BATCH, size]))

    offset = TensorSpec("offset", "float32", (BATCH, size), "control")
    other = rewritten(
        tiny_path("gru"),
        tmp_path / "offset.onnx",
        add_offset,
        lambda spec: replace(spec, inputs=(offset, *spec.inputs)),
    )
    expected = list(model.stream(seed=1, sampler=LIVELY).generate(40))
    assert expected == list(other.stream(seed=1, sampler=LIVELY).generate(40))


@pytest.mark.parametrize("stop", ["a", ["zz"], [99999], 3, [-1]])
def test_what_stops_a_generation_must_be_tokens(byte_model: Model, stop: Any) -> None:
    stream = byte_model.stream()
    stream.prefill("a")
    with pytest.raises(InputError, match="token"):
        next(stream.generate(5, stop=stop))
    assert stream.step_index == 0
    with pytest.raises(InputError, match="token"):
        AsyncPool(byte_model).stream("a", stop=stop)
