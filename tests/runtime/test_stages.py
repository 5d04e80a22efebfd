"""Stages that step at different rates: one stream, the same as a plain loop that steps them by hand."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import StagedModules, export_bundle
from edgernn_runtime import (
    BundleSpec,
    CharacterCodec,
    Link,
    Model,
    Sampler,
    Spec,
    Stage,
    State,
    Stream,
    load,
    load_bundle,
)
from edgernn_runtime.bundle_spec import check_bundle
from edgernn_runtime.errors import EngineError, InputError, SpecError, StateError
from edgernn_runtime.spec import BATCH, Feedback, StateSpec, TensorSpec
from edgernn_runtime.spec_json import spec_from_json, spec_to_json

CODEC = CharacterCodec.from_text("abcdefghij")
TOKENS, CLASSES, HIDDEN, CONTEXT, EVERY, START = CODEC.size, 3, 6, 4, 4, 1
WARM = Sampler()
CLASS = TensorSpec("class", "int64", (BATCH,), "condition", CLASSES)
ACCENT = replace(CLASS, name="accent")
H = StateSpec("state.h", "next_state.h", "float32", (BATCH, HIDDEN))


class Begin(nn.Module):
    """The first state of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(CLASSES, HIDDEN)

    @property
    def spec(self) -> Spec:
        return Spec((CLASS,), (TensorSpec("first", "float32", (BATCH, HIDDEN), "params"),), ())

    def forward(self, kind: Tensor) -> tuple[Tensor]:
        return (self.table(kind).tanh(),)


class Slow(nn.Module):
    """A recurrence over groups of tokens; its state starts away from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.kinds = nn.Embedding(TOKENS, 3), nn.Embedding(CLASSES, 2)
        self.cell = nn.GRUCell(EVERY * 3 + 2, HIDDEN)
        self.head = nn.Linear(HIDDEN, CONTEXT)

    @property
    def spec(self) -> Spec:
        return Spec(
            (TensorSpec("tokens", "int64", (BATCH, EVERY), "token", TOKENS), CLASS),
            (TensorSpec("context", "float32", (BATCH, CONTEXT), "params"),),
            (replace(H, initial=(0.5,) * HIDDEN),),
        )

    def forward(self, tokens: Tensor, kind: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(torch.cat([self.table(tokens).flatten(1), self.kinds(kind)], -1), h)
        return self.head(h), h


class Fast(nn.Module):
    """A language model of single tokens, with the context of their group."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.kinds, self.accents = (
            nn.Embedding(*size) for size in ((TOKENS, 3), (CLASSES, 2), (CLASSES, 2))
        )
        self.cell = nn.GRUCell(3 + 2 + 2 + CONTEXT, HIDDEN)
        self.head = nn.Linear(HIDDEN, TOKENS)

    @property
    def spec(self) -> Spec:
        return Spec(
            (
                TensorSpec("token", "int64", (BATCH,), "token", TOKENS),
                TensorSpec("context", "float32", (BATCH, CONTEXT), "condition"),
                CLASS,
                ACCENT,
            ),
            (TensorSpec("logits", "float32", (BATCH, TOKENS), "logits"),),
            (H,),
            distribution="categorical",
            feedback=Feedback("logits", "token", START),
            codec=CODEC,
        )

    def forward(self, token: Tensor, context: Tensor, kind: Tensor, accent: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(torch.cat([self.table(token), self.kinds(kind), self.accents(accent), context], -1), h)
        return self.head(h) * 3, h


class OtherClass(Slow):
    """A slow stage whose input `class` is the tokens."""

    @property
    def spec(self) -> Spec:
        tokens, kind = super().spec.inputs
        return replace(super().spec, inputs=(replace(tokens, name="class"), replace(kind, name="kind")))


STEPS = {"begin": 0, "slow": EVERY, "fast": 1}
LINKS = (
    Link("begin", "first", "fast", "state.h"),
    Link("slow", "context", "fast", "context"),
    Link("fast", "logits", "slow", "tokens"),
)


@dataclass(frozen=True)
class Modules:
    begin: Begin
    slow: Slow
    fast: Fast

    def teacher_forced(self, tokens: list[int], kind: int) -> NDArray[np.float32]:
        """Return the logits of a plain loop that steps the stages by hand."""
        kinds, row, logits = torch.tensor([kind]), [0] * EVERY, []
        with torch.no_grad():
            (h,), slow_h = self.begin(kinds), torch.full((1, HIDDEN), 0.5)
            for i, token in enumerate(tokens):
                row = [*row[1:], token]
                if i % EVERY == 0:
                    context, slow_h = self.slow(torch.tensor([row]), kinds, slow_h)
                given_logits, h = self.fast(torch.tensor([token]), context, kinds, torch.tensor([0]), h)
                logits.append(given_logits[0].numpy())
        return np.array(logits)


@pytest.fixture(scope="module")
def modules() -> Modules:
    torch.manual_seed(0)
    return Modules(Begin().eval(), Slow().eval(), Fast().eval())


@pytest.fixture(scope="module")
def folder(modules: Modules, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("staged") / "model"
    stages = {"fast": modules.fast, "slow": modules.slow, "begin": modules.begin}
    export_bundle(StagedModules(stages, STEPS, LINKS), target)
    return target


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder)


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    return np.random.default_rng(1).integers(0, TOKENS, 41).tolist()


def of_class(model: Model, kind: int, *, seed: int = 0) -> Stream:
    stream = model.stream(seed=seed, sampler=WARM)
    stream.set_input("class", np.array(kind))
    return stream


@pytest.mark.parametrize("kind", range(CLASSES))
def test_every_step_is_that_of_a_loop_by_hand(model: Model, modules: Modules, tokens: list[int], kind: int) -> None:
    made = of_class(model, kind).run(tokens)
    np.testing.assert_allclose(made, modules.teacher_forced(tokens, kind), atol=1e-5)


def test_generated_tokens_are_fed_to_the_slow_stage_too(model: Model, modules: Modules) -> None:
    made = list(of_class(model, 2, seed=3).generate(30))
    assert len(set(made)) > 3
    logits = modules.teacher_forced([START, *made[:-1]], 2)
    again = of_class(model, 2).run([START, *made[:-1]])
    np.testing.assert_allclose(again, logits, atol=1e-5)
    greedy = model.stream()
    greedy.set_input("class", np.array(2))
    expected = [START]
    for _ in range(20):
        expected.append(int(modules.teacher_forced(expected, 2)[-1].argmax()))
    assert expected[1:] == list(greedy.generate(20))


def test_a_prompt_of_text_is_fed_to_every_stage(model: Model, modules: Modules) -> None:
    stream = of_class(model, 0)
    stream.prefill("abcdefg")
    expected = modules.teacher_forced([*CODEC.encode("abcdefgh").tolist()], 0)[-1]
    np.testing.assert_allclose(stream.step(CODEC.encode("h")[0]), expected, atol=1e-5)


def test_the_bundle_gives_the_model_that_load_gives(folder: Path, model: Model, tokens: list[int]) -> None:
    bundle = load_bundle(folder)
    assert (model.model_id, model.spec) == (bundle.model.model_id, bundle.model.spec)
    assert {"begin", "slow", "fast"} == set(bundle.stages)
    stream = bundle.stream()
    stream.set_input("class", np.array(1))
    np.testing.assert_array_equal(of_class(model, 1).run(tokens), stream.run(tokens))


def test_a_stage_with_a_stream_of_its_own_can_begin_what_others_step(
    modules: Modules, tokens: list[int], tmp_path: Path
) -> None:
    stages = {"begin": modules.begin, "slow": modules.slow, "fast": modules.fast}
    export_bundle(StagedModules(stages, {**STEPS, "begin": None}, LINKS), tmp_path)
    bundle = load_bundle(tmp_path)
    begin = bundle.stages["begin"].stream()
    begin.step(np.array(2))
    stream = bundle.stream({"begin": begin})
    stream.set_input("class", np.array(2))
    np.testing.assert_allclose(stream.run(tokens), modules.teacher_forced(tokens, 2), atol=1e-5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(cut=st.integers(0, 13))
def test_a_stream_cut_anywhere_in_a_slow_period_continues_exactly(model: Model, tmp_path: Path, cut: int) -> None:
    whole = list(of_class(model, 1, seed=8).generate(30))
    stream = of_class(model, 1, seed=8)
    before = list(stream.generate(cut))
    stream.snapshot().save(tmp_path / "state.npz", overwrite=True)
    continued = model.stream(state=State.load(tmp_path / "state.npz"))
    fork = stream.fork()
    for each in (continued, fork, stream):
        assert whole == before + list(each.generate(30 - cut))


def test_a_stream_goes_back_to_a_snapshot_of_an_earlier_place_in_the_period(model: Model) -> None:
    stream = of_class(model, 1, seed=8)
    list(stream.generate(6))
    state = stream.snapshot()
    ahead = list(stream.generate(9))
    stream.restore(state)
    assert ahead == list(stream.generate(9))


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_a_reset_stream_begins_as_a_new_one(model: Model, tokens: list[int], steps: int) -> None:
    stream = of_class(model, 1)
    stream.run(tokens[:steps])
    stream.reset()
    np.testing.assert_array_equal(model.stream().run(tokens), stream.run(tokens))


def test_streams_of_one_model_do_not_touch_each_other(model: Model, tokens: list[int]) -> None:
    one, other = of_class(model, 0), of_class(model, 2)
    steps = [(one.step(token), other.step(token)) for token in tokens]
    for stream, made in zip((of_class(model, 0), of_class(model, 2)), zip(*steps, strict=True), strict=True):
        np.testing.assert_array_equal(stream.run(tokens), np.array(made))


@pytest.mark.parametrize("place", [0, 4, 6])
@pytest.mark.parametrize(("name", "right"), [("class", 1), ("accent", 0)])
def test_a_step_that_failed_in_any_stage_was_not_taken(
    model: Model, tokens: list[int], place: int, name: str, right: int
) -> None:
    stream = of_class(model, 1)
    stream.run(tokens[:place])
    stream.set_input(name, np.array(CLASSES + 5))
    for _ in range(2):
        with pytest.raises(EngineError):
            stream.step(tokens[place])
    stream.set_input(name, np.array(right))
    assert place == stream.step_index
    np.testing.assert_array_equal(of_class(model, 1).run(tokens)[place:], stream.run(tokens[place:]))


def test_stages_take_one_row(model: Model) -> None:
    for refused in (model.executor, model.initial_state):
        with pytest.raises(InputError, match="batch must be 1, got 2"):
            refused(2)


def test_the_spec_is_that_of_the_voice_with_the_inputs_and_states_of_all(model: Model, modules: Modules) -> None:
    spec, voice = model.spec, modules.fast.spec
    assert (voice.feedback, voice.codec, 1) == (spec.feedback, spec.codec, spec.batch)
    assert ["token", "class", "accent"] == [tensor.name for tensor in spec.inputs]
    assert {"slow/state.h", "fast/state.h", "slow/tokens", "fast/context", "bundle/steps"} == {
        state.input for state in spec.states
    }
    assert spec == spec_from_json(spec_to_json(spec))


def test_a_change_of_the_bundle_makes_another_model(folder: Path, model: Model, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert model.model_id == load(copy).model_id
    content = json.loads((copy / "bundle.json").read_text())
    content["links"].pop()
    (copy / "bundle.json").write_text(json.dumps(content))
    changed = load(copy)
    assert model.model_id != changed.model_id
    with pytest.raises(StateError, match="a state continues only on the model that made it"):
        changed.stream(state=model.stream().snapshot())


def test_an_input_that_stages_share_must_be_one(modules: Modules, tmp_path: Path) -> None:
    apart = StagedModules({"slow": OtherClass().eval(), "fast": modules.fast}, STEPS, LINKS[1:2])
    with pytest.raises(SpecError, match="two stages have an input class, of different dtypes or shapes"):
        export_bundle(apart, tmp_path)
    assert list(tmp_path.iterdir()) == []


SPECS = {"begin": Begin().spec, "slow": Slow().spec, "fast": Fast().spec}


def staged(links: tuple[Link, ...], **every: int | None) -> None:
    stages = {name: Stage(f"{name}.onnx", step) for name, step in {**STEPS, **every}.items()}
    check_bundle(BundleSpec(stages, links), {name: SPECS[name] for name in stages})


def test_the_bundle_of_these_tests_fits() -> None:
    staged(LINKS)


@pytest.mark.parametrize(
    ("links", "every", "message"),
    [
        ((), {"fast": 2}, "a bundle needs a stage that steps at every step"),
        ((Link("none", "x", "fast", "context"),), {}, "a link names none, which is no stage; there are begin, slow, f"),
        ((Link("slow", "context", "none", "x"),), {}, "a link names none, which is no stage"),
        (LINKS[2:], {"slow": None}, "slow has a stream of its own, so it cannot take what fast gives"),
        (LINKS[1:2], {"slow": None, "fast": None, "begin": 1}, "fast has a stream of its own, so it cannot take"),
        (LINKS[2:], {"slow": 0}, "slow steps once, before fast has stepped"),
        (
            (Link("slow", "context", "begin", "class"),),
            {"slow": 0},
            "begin steps once, before slow has stepped",
        ),
        (
            LINKS[1:2],
            {"slow": 3, "fast": 2, "begin": 1},
            "slow steps every 3 and fast every 2; one must be a multiple of the other",
        ),
        (LINKS[2:], {"slow": 1}, "slow steps before fast, so it cannot take what fast gives"),
        (
            (Link("fast", "logits", "slow", "tokens"),),
            {"slow": 4, "fast": 2, "begin": 1},
            "slow can take only what begin sampled, not fast",
        ),
        (
            (Link("begin", "first", "slow", "tokens"),),
            {"begin": 1, "fast": None},
            "slow.tokens takes what is sampled, and first is not",
        ),
        ((Link("fast", "context", "slow", "tokens"),), {}, "fast has no output context; it has logits"),
        ((Link("slow", "context", "fast", "x"),), {}, "fast has no state or input x to link; it has token, context, c"),
        (
            (Link("slow", "context", "fast", "state.h"),),
            {},
            "fast has no state or input state.h to link; it has token, context, class, accent",
        ),
        (
            LINKS[2:],
            {"slow": 5},
            r"fast.logits is int64\[5\], but slow.tokens is int64\[4\]",
        ),
        (
            (Link("begin", "first", "fast", "context"),),
            {},
            r"begin.first is float32\[6\], but fast.context is float32\[4\]",
        ),
        ((*LINKS, Link("slow", "context", "fast", "context")), {}, "two links end at fast.context"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(
    links: tuple[Link, ...], every: dict[str, int | None], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        staged(links, **every)


def test_bundles_in_a_pool_are_stepped_one_by_one_and_yield_what_they_yield_alone(model: Model) -> None:
    alone = [list(of_class(model, kind, seed=kind).generate(30)) for kind in range(CLASSES)]
    pool = model.pool(capacity=1)
    streams = [pool.open(seed=kind, sampler=WARM) for kind in range(CLASSES)]
    for kind, stream in enumerate(streams):
        stream.set_input("class", np.array(kind))
    made: dict[int, list[int]] = {kind: [] for kind in range(CLASSES)}
    for _ in range(30):
        for stream, token in pool.step():
            made[streams.index(stream)].append(int(token))
    assert alone == list(made.values())
