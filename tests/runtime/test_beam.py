"""Beam search finds the most probable sequences, on a model in one graph, on one that takes one row, and on bundles."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import nn

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn.models.seq2seq import Seq2Seq, Seq2SeqConfig, stages
from edgernn_export import export, export_bundle
from edgernn_runtime import (
    GREEDY,
    BeamSearch,
    Bundle,
    Hypothesis,
    Model,
    Sampler,
    Spec,
    State,
    SymbolCodec,
    beam_search,
    load,
    load_bundle,
)
from edgernn_runtime.engines.singly import SinglyExecutor
from edgernn_runtime.engines.staged import StagedExecutor
from edgernn_runtime.errors import InputError, StateError

Started = tuple[Model, State]

TARGET: Final = SymbolCodec.of("xyz", separator=" ")
SOURCE: Final = SymbolCodec(("a", "b", "c"), "", "reverse")
LONGEST: Final = 4
EVERY: Final = 5**LONGEST
"""As many sequences as there are; a beam so wide drops none."""


def lively(model: nn.Module) -> None:
    torch.manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    model.eval()


class OneRow(RecurrentLMStep):
    """A language model whose graph takes one row only."""

    @property
    def spec(self) -> Spec:
        spec = super().spec
        return replace(
            spec,
            inputs=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.inputs),
            outputs=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.outputs),
            states=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.states),
            batch=1,
        )


@pytest.fixture(scope="module")
def lm() -> RecurrentLM:
    model = RecurrentLM(ModelConfig("lstm", TARGET.size, 6, layers=2))
    lively(model)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beam")


@pytest.fixture(scope="module")
def batched(lm: RecurrentLM, folder: Path) -> Model:
    return load(export(RecurrentLMStep(lm, codec=TARGET, start=0), folder / "batched.onnx").path)


@pytest.fixture(scope="module")
def one_row(lm: RecurrentLM, folder: Path) -> Model:
    return load(export(OneRow(lm, codec=TARGET, start=0), folder / "one.onnx").path)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    model = Seq2Seq(Seq2SeqConfig("gru", SOURCE, TARGET, 6, 2, embedding=4, places=5, features=3, dropout=0.0))
    lively(model)
    export_bundle(stages(model), folder / "bundle")
    return load_bundle(folder / "bundle")


@pytest.fixture(params=["batched", "one_row", "bundle"])
def started(request: pytest.FixtureRequest) -> Started:
    """A model and a state to begin with, for each way in which rows step."""
    if request.param != "bundle":
        model: Model = request.getfixturevalue(request.param)
        return model, model.initial_state()
    bundle: Bundle = request.getfixturevalue("bundle")
    encoder = bundle.stages["encode"].stream()
    encoder.run(SOURCE.encode("abca"))
    return bundle.model, bundle.initial_state({"encode": encoder})


def log_probability(model: Model, state: State, tokens: tuple[int, ...]) -> float:
    """Return that of tokens fed one by one to one stream, which no beam has touched."""
    stream, total = model.stream(state=state), 0.0
    for before, token in zip((0, *tokens), tokens, strict=False):
        logits = stream.step(before).astype(np.float64)
        total += float(logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum()))
    return total


def all_sequences(model: Model, state: State) -> dict[tuple[int, ...], float]:
    """Return every sequence that ends within the room that there is, without its end, and its log-probability."""
    going = [token for token in range(TARGET.size) if token != TARGET.end]
    ended = [rest for length in range(LONGEST) for rest in product(going, repeat=length)]
    return {tokens: log_probability(model, state, (*tokens, 1)) for tokens in ended}


def test_a_beam_that_drops_nothing_finds_every_sequence_in_the_order_of_its_probability(started: Started) -> None:
    model, state = started
    found = beam_search(model, state, width=EVERY, max_tokens=LONGEST)
    expected = all_sequences(model, state)
    finished = {each.tokens: each.log_probability for each in found if each.finished}
    assert expected.keys() == finished.keys()
    assert max(abs(expected[tokens] - finished[tokens]) for tokens in expected) < 1e-5
    assert sorted(finished.values(), reverse=True) == list(finished.values())
    assert len(found) == len(expected) + 4**LONGEST


@pytest.mark.parametrize("width", [2, 3, 5])
def test_every_hypothesis_is_as_probable_as_a_stream_of_its_own_says(started: Started, width: int) -> None:
    model, state = started
    found = beam_search(model, state, width=width, max_tokens=12, stop=[])
    assert len(found) == width
    for each in found:
        assert len(each.tokens) == 12
        assert not each.finished
        assert abs(each.log_probability - log_probability(model, state, each.tokens)) < 1e-5


def test_a_search_can_be_made_again_with_the_same_rows(started: Started) -> None:
    model, state = started
    search = BeamSearch(model, width=4)
    first = search.run(state, max_tokens=9, stop=[])
    assert search.run(state, max_tokens=3) == beam_search(model, state, width=4, max_tokens=3)
    assert search.run(state, max_tokens=9, stop=[]) == first


def test_rows_step_together_where_the_graphs_allow_it(batched: Model, one_row: Model, bundle: Bundle) -> None:
    assert not isinstance(batched.lockstep(3), SinglyExecutor)
    assert isinstance(one_row.lockstep(3), SinglyExecutor)
    assert isinstance(bundle.model.lockstep(3), StagedExecutor)
    assert [3, 3, 3] == [model.lockstep(3).batch for model in (batched, one_row, bundle.model)]


def test_a_bundle_in_lockstep_takes_no_rows_at_different_steps(bundle: Bundle) -> None:
    executor = bundle.model.lockstep(2)
    arrays = executor.read_state()
    arrays[-1][1] = 4
    with pytest.raises(StateError, match=r"all rows must be at the same step, got \[0, 4\]"):
        executor.write_state(arrays)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_beam_of_one_writes_what_greedy_generation_does(
    tiny_model: Callable[..., Model], cell: str, precision: str
) -> None:
    model = tiny_model(cell, precision)
    stream = model.stream(sampler=GREEDY)
    stream.prefill("a bead")
    state = stream.snapshot()
    (found,) = beam_search(model, state, width=1, max_tokens=60)
    assert list(stream.generate(60)) == list(found.tokens)


def test_a_beam_of_one_ends_where_greedy_generation_does(bundle: Bundle) -> None:
    encoder, lengths = bundle.stages["encode"].stream(), set()
    for word in ("a", "b", "c", "ab", "bc", "ccb", "cab", "bbb", "acca"):
        encoder.reset()
        encoder.run(SOURCE.encode(word))
        (found,) = beam_search(bundle.model, bundle.initial_state({"encode": encoder}), width=1, max_tokens=20)
        greedy = tuple(bundle.stream({"encode": encoder}).generate(20))
        assert greedy == found.tokens
        assert found.finished == (len(greedy) < 20)
        lengths.add(len(greedy))
    assert len(lengths) > 1


def test_wider_beams_find_more_probable_text(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("gru")
    best = [beam_search(model, model.initial_state(), width=width, max_tokens=30)[0] for width in (1, 4, 32)]
    probabilities = [each.log_probability for each in best]
    assert sorted(probabilities) == probabilities
    assert probabilities[0] < probabilities[-1]


def test_equally_probable_sequences_rank_by_their_tokens(lm: RecurrentLM, tmp_path: Path) -> None:
    even = RecurrentLM(lm.config)
    nn.init.zeros_(even.head.weight)
    nn.init.zeros_(even.head.bias)
    model = load(export(RecurrentLMStep(even, codec=TARGET, start=0), tmp_path / "even.onnx").path)
    found = beam_search(model, model.initial_state(), width=7, max_tokens=3, stop=[])
    assert [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 1, 0), (0, 1, 1)] == [
        each.tokens for each in found
    ]


def test_a_length_penalty_divides_log_probabilities_and_favours_longer_sequences(batched: Model) -> None:
    state = batched.initial_state()
    plain = beam_search(batched, state, width=EVERY, max_tokens=LONGEST)
    penalised = beam_search(batched, state, width=EVERY, max_tokens=LONGEST, length_penalty=2.0)
    assert [each.log_probability for each in plain] == [each.score for each in plain]
    for each in penalised:
        length = len(each.tokens) + each.finished
        assert np.isclose(each.score, each.log_probability / ((5 + length) / 6) ** 2)
    assert {each.tokens for each in plain} == {each.tokens for each in penalised}

    def mean_rank(found: tuple[Hypothesis, ...]) -> float:
        return float(np.mean([i for i, each in enumerate(found) if each.finished and len(each.tokens) == 3]))

    assert mean_rank(penalised) < mean_rank(plain)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_search_that_ends_early_finds_what_one_does_that_never_does(
    batched: Model, monkeypatch: pytest.MonkeyPatch, penalty: float
) -> None:
    search, state = BeamSearch(batched, width=6, length_penalty=penalty), batched.initial_state()
    steps = []
    reorder = search._reorder
    monkeypatch.setattr(search, "_reorder", lambda parents: (steps.append(parents), reorder(parents)))
    found = search.run(state, max_tokens=60)
    assert len(steps) < 50
    monkeypatch.setattr(search, "_is_settled", lambda *_: False)
    assert found == search.run(state, max_tokens=60)
    assert all(each.finished for each in found)
    assert len(found) == 6


def test_a_search_goes_on_from_what_is_pending(batched: Model) -> None:
    stream = batched.stream()
    stream.prefill([2, 3, 4])
    state = stream.snapshot()
    found = beam_search(batched, state, width=3, max_tokens=5, stop=[])
    for each in found:
        fed = batched.stream()
        outputs = fed.run([2, 3, 4, *each.tokens])[2:-1].astype(np.float64)
        nats = np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(5), each.tokens]
        assert abs(each.log_probability + nats.sum()) < 1e-5


def test_tokens_that_a_sampler_does_not_allow_are_in_no_hypothesis(batched: Model) -> None:
    state = batched.stream(sampler=Sampler(allowed=(2, 4))).snapshot()
    found = beam_search(batched, state, width=16, max_tokens=3, stop=[])
    assert set(product((2, 4), repeat=3)) == {each.tokens for each in found}


def test_a_model_that_samples_in_its_graph_is_searched_as_one_that_does_not(
    batched: Model, lm: RecurrentLM, tmp_path: Path
) -> None:
    step = RecurrentLMStep(lm, codec=TARGET, start=0)
    sampling = load(export(step, tmp_path / "sampling.onnx", sample="filters").path)
    found = beam_search(sampling, sampling.initial_state(), width=4, max_tokens=8, stop=[])
    expected = beam_search(batched, batched.initial_state(), width=4, max_tokens=8, stop=[])
    assert [each.tokens for each in expected] == [each.tokens for each in found]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0, "max_tokens": 3}, r"the width of a beam must lie in 1\.\.4096, got 0"),
        ({"width": 5000, "max_tokens": 3}, r"the width of a beam must lie in 1\.\.4096, got 5000"),
        ({"max_tokens": 0}, "max_tokens must be positive, got 0"),
        ({"max_tokens": 3, "stop": [5]}, r"a token must lie in 0\.\.4, got 5"),
        ({"max_tokens": 3, "length_penalty": -1}, "length_penalty must be 0 or positive, got -1"),
        ({"max_tokens": 3, "length_penalty": float("nan")}, "length_penalty must be 0 or positive, got nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(batched: Model, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        beam_search(batched, batched.initial_state(), **settings)


def test_what_cannot_be_searched_is_refused(batched: Model, one_row: Model, frame_model: Model) -> None:
    with pytest.raises(InputError, match="the model generates no tokens"):
        BeamSearch(frame_model, width=2)
    search = BeamSearch(batched, width=2)
    with pytest.raises(StateError, match="the state belongs to model"):
        search.run(one_row.initial_state(), max_tokens=3)
    with pytest.raises(StateError, match="a beam search begins with a state of batch 1, got batch 2"):
        search.run(batched.initial_state(batch=2), max_tokens=3)
    stream = batched.stream()
    stream.step(0)
    with pytest.raises(InputError, match="nothing is pending"):
        search.run(stream.snapshot(), max_tokens=3)
    with pytest.raises(InputError, match="rows must be positive, got 0"):
        batched.lockstep(0)


def test_an_output_that_is_not_finite_is_an_error(batched: Model) -> None:
    arrays = tuple(np.full_like(array, np.nan) for array in batched.initial_state().arrays)
    with pytest.raises(InputError, match="the model's output is not finite"):
        beam_search(batched, State(batched.model_id, arrays), max_tokens=3)
