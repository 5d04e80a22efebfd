"""Compiled models compute what ONNX Runtime computes: logits along a stream, tokens, snapshots, pools and bundles."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.cells import Lowering, lower
from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn.models.seq2seq import stages as seq2seq_stages
from edgernn.models.vae import RowVAE, VaeConfig
from edgernn.models.vae import stages as vae_stages
from edgernn.tasks import find_task
from edgernn.tasks.seq2seq.data import Seq2SeqData
from edgernn.tasks.seq2seq.pairs import make_pairs
from edgernn.tasks.seq2seq.settings import Seq2SeqSettings
from edgernn_export import LiftOptions, Recording, export, export_bundle, lift, quantize
from edgernn_export.compile import compile_model, find_target
from edgernn_export.compile.toolchain import FLAGS
from edgernn_export.sampler import Sampling
from edgernn_runtime import GREEDY, Model, Sampler, State, Transducer, load, load_bundle, uniforms
from edgernn_runtime.engines.library_cache import store_library
from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.sampling import GRAIN
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec
from tests.export.compile.graphs import engines, library_of
from tests.export.compile.machines import found_compiler

Precision = Literal["float32", "int8", "int4", "int8-portable", "mixed"]

FLOAT_TOLERANCE = 1e-5
QUANTIZED_TOLERANCE = 1e-4
QUANTIZED_SHARE = 0.99
TIE = 1e-5
"""How near to an edge a uniform, or how near to each other two logits, may lie for a token to be either engine's."""

STEPS = (1000, pytest.param(10_000, marks=pytest.mark.slow))
GAINS = {"elman": 1.5, "lstm": 3.0, "gru": 2.0}
"""How much livelier than torch's the weights of each cell are."""

CELLS = tuple(GAINS)
ENGINES: Sequence[EngineName] = ("onnxruntime", "native")
LOWERINGS: Sequence[Lowering] = ("cell", "fused")
QUANTIZED: Sequence[Precision] = ("int8", "int4", "int8-portable")
SAMPLERS = (
    GREEDY,
    Sampler(1.0),
    Sampler(0.7, top_k=5),
    Sampler(1.2, top_p=0.8),
    Sampler(0.9, 12, 0.9),
    Sampler(0.8, repetition_penalty=1.4),
)
START = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A language model of two layers with random weights."""

    cell: str
    precision: Precision = "float32"
    lowering: Lowering = "cell"
    hidden: int = 48
    vocabulary: int = 40
    sampling: Sampling | None = None

    def __str__(self) -> str:
        sampler = "" if self.sampling is None else f"-{self.sampling}"
        return f"{self.cell}-{self.precision}-{self.lowering}-{self.hidden}-{self.vocabulary}{sampler}"


FLOATS = [
    *(Case(cell, "float32", lowering) for cell in CELLS for lowering in LOWERINGS),
    *(Case(cell, hidden=33, vocabulary=7) for cell in CELLS),
]
CODED = [
    *(Case(cell, precision) for cell in CELLS for precision in QUANTIZED),
    Case("lstm", "int8", "fused"),
    Case("gru", "int8", hidden=33, vocabulary=7),
    Case("lstm", "int4", hidden=33, vocabulary=7),
]
OTHERS = [
    *(Case(cell, precision, "fused") for cell in CELLS for precision in QUANTIZED),
    *(Case(cell, precision, hidden=33, vocabulary=7) for cell in CELLS for precision in QUANTIZED),
]
EVERY_CODED = [*CODED, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS if each not in CODED)]

Pair = tuple[Model, Model]
Pairs = Callable[[Case], Pair]


def language_model(case: Case) -> RecurrentLMStep:
    """Return a step with lively weights."""
    with torch.random.fork_rng():
        torch.manual_seed(CELLS.index(case.cell))
        model = RecurrentLM(ModelConfig(case.cell, case.vocabulary, case.hidden, layers=2)).eval()
    with torch.no_grad():
        for layer in model.stack.layers:
            for weight in layer.kernel.parameters():
                weight.mul_(GAINS[case.cell])
        model.embedding.weight.mul_(2)
        model.head.weight.mul_(4)
    lower(model, case.lowering)
    return RecurrentLMStep(model, start=START)


@pytest.fixture(scope="module")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """Exports and quantizes the model of a case."""
    folder = tmp_path_factory.mktemp("parity")

    @cache
    def make(case: Case) -> Path:
        path = folder / f"{case}.onnx"
        if case.precision == "float32":
            return export(language_model(case), path, sample=case.sampling).path
        recording, calibration = Recording.of_tokens("token", tokens_of(case, 600)).split(300)
        return quantize(
            make(replace(case, precision="float32")),
            path,
            precision=case.precision,
            recording=recording,
            calibration=calibration,
            method="nearest",
            max_loss=0.05 if case.precision == "mixed" else None,
        ).path

    return make


@pytest.fixture(scope="module")
def pair(file_of: Callable[[Case], Path]) -> Pairs:
    """Opens the model of a case on ONNX Runtime, and compiled for this machine."""
    return cache(lambda case: engines(file_of(case)))


def tokens_of(case: Case, steps: int) -> NDArray[np.int64]:
    """Return random tokens of a case's vocabulary."""
    return np.random.default_rng(11).integers(0, case.vocabulary, steps)


def generated(model: Model, sampler: Sampler, count: int, *, seed: int = 5) -> list[int]:
    """Return the first tokens of a new stream."""
    return list(model.stream(seed=seed, sampler=sampler).generate(count))


def check_tokens(model: Model, sampler: Sampler, expected: Sequence[int], actual: Sequence[int]) -> None:
    """Assert that tokens are those of a model's stream of seed 5, up to the first tie."""
    different = [i for i, (left, right) in enumerate(zip(expected, actual, strict=True)) if left != right]
    if different:
        step = different[0]
        margin = margin_of(model, sampler, expected[:step])
        assert margin < TIE, f"token {step} is {actual[step]}, not {expected[step]}, and no tie: the margin is {margin}"


def margin_of(model: Model, sampler: Sampler, before: Sequence[int]) -> float:
    """Return how near a stream of seed 5 is to another token after those `before` it.

    That is the least distance of its uniform to an edge of the chosen token's share, of the share of tokens that top-p
    keeps to its limit, and of two logits whose order matters.
    """
    logits = model.stream().run([START, *before])[-1].astype(np.float32)
    adjusted = sampler._adjusted(logits, (START, *before)[-64:]).astype(np.float64)
    order = np.argsort(-adjusted, kind="stable")
    falls = -np.diff(adjusted[order])
    if sampler.temperature == 0:
        return float(falls[0])
    weights = np.exp((adjusted[order] - adjusted.max()) / sampler.temperature)
    kept = min(sampler.top_k or weights.size, weights.size)
    mass = weights[:kept].cumsum() / weights[:kept].sum()
    near = [1.0]
    if sampler.top_k and kept < weights.size:
        near.append(float(falls[kept - 1]))
    if sampler.top_p < 1:
        near.append(float(np.abs(mass - sampler.top_p).min()))
        kept = int(mass.searchsorted(sampler.top_p)) + 1
    shares = weights[:kept] if sampler.filters else np.exp((adjusted - adjusted.max()) / sampler.temperature)
    edges = shares.cumsum() / shares.sum()
    uniform = float(uniforms(5, len(before), 1)[0]) + GRAIN
    if sampler.filters:
        chosen = int(edges.searchsorted(uniform))
        near += falls[max(chosen - 1, 0) : chosen + 1].tolist()
    return min(*near, float(np.abs(edges - uniform).min()))


# Logits


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("case", FLOATS, ids=str)
def test_float_logits_stay_within_a_hundred_thousandth_along_a_stream(pair: Pairs, case: Case, steps: int) -> None:
    expected, actual = (model.stream().run(tokens_of(case, steps)) for model in pair(case))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("case", EVERY_CODED, ids=str)
def test_quantized_logits_agree_in_nearly_all_steps_from_the_same_state(pair: Pairs, case: Case, steps: int) -> None:
    assert share_within(pair(case), tokens_of(case, steps)) >= QUANTIZED_SHARE


def share_within(models: Pair, tokens: NDArray[np.int64]) -> float:
    """Return the share of steps whose logits agree, each taken from the state of the first engine."""
    reference, compiled = (model.executor() for model in models)
    near = 0
    for token in tokens:
        compiled.write_state(reference.read_state())
        for executor in (reference, compiled):
            executor.inputs["token"][...] = token
            executor.run()
        apart = np.abs(np.subtract(reference.outputs["logits"], compiled.outputs["logits"])).max()
        near += bool(apart <= QUANTIZED_TOLERANCE)
    return near / len(tokens)


@pytest.mark.slow
def test_a_mix_of_precisions_agrees_as_each_of_them(file_of: Callable[[Case], Path]) -> None:
    case = Case("lstm", "mixed")
    models = engines(file_of(case))
    assert models[0].spec.precision == "mixed"
    assert share_within(models, tokens_of(case, 1000)) >= QUANTIZED_SHARE


# Tokens


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("case", [FLOATS[0], FLOATS[3], *FLOATS[6:]], ids=str)
def test_tokens_are_the_same_up_to_the_first_tie(pair: Pairs, case: Case, sampler: Sampler, count: int) -> None:
    expected, actual = (generated(model, sampler, count) for model in pair(case))
    assert len(set(expected)) > 1
    check_tokens(pair(case)[0], sampler, expected, actual)


@pytest.mark.parametrize("sampling", ["temperature", "filters"])
@pytest.mark.parametrize("cell", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_sampler_in_the_graph_chooses_the_same_tokens(pair: Pairs, cell: str, sampling: Sampling) -> None:
    models = pair(Case(cell, sampling=sampling))
    for sampler in (GREEDY, Sampler(0.9)) if sampling == "temperature" else (GREEDY, *SAMPLERS[2:5]):
        expected, actual = (generated(model, sampler, 300) for model in models)
        check_tokens(models[0], sampler, expected, actual)


def test_a_quantized_sampler_in_the_graph_chooses_from_its_own_logits_as_the_runtime_does(pair: Pairs) -> None:
    compiled = pair(Case("gru", "int8", sampling="filters"))[1]
    stream, sampler = compiled.stream(seed=5, sampler=SAMPLERS[4]), SAMPLERS[4]
    for step, token in enumerate(stream.generate(200)):
        uniform = float(uniforms(5, step, 1)[0])
        assert sampler.sample(stream.output("logits").astype(np.float32), uniform) == token


# Streams and pools


@pytest.mark.parametrize("case", [FLOATS[0], FLOATS[3], FLOATS[5]], ids=str)
def test_a_stream_begun_on_one_engine_continues_on_the_other(pair: Pairs, case: Case, tmp_path: Path) -> None:
    sampler, tokens = Sampler(0.8, repetition_penalty=1.4), tokens_of(case, 200)
    for first, second in (pair(case), pair(case)[::-1]):
        stream = first.stream(seed=5, sampler=sampler)
        begun = [*stream.generate(100)]
        path = tmp_path / f"{first.providers[0]}.npz"
        stream.snapshot().save(path)
        resumed = second.stream(state=State.load(path))
        check_tokens(pair(case)[0], sampler, generated(first, sampler, 200), begun + list(resumed.generate(100)))
        logits = [each.stream(state=State.load(path)).run(tokens) for each in (first, second)]
        np.testing.assert_allclose(*logits, rtol=0, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("precision", ["float32", *QUANTIZED])
def test_a_pool_of_compiled_streams_gives_each_what_it_has_alone(pair: Pairs, precision: Precision) -> None:
    model = pair(Case("lstm", precision))[1]
    seeds = range(len(SAMPLERS))
    alone = [generated(model, sampler, 60, seed=seed) for seed, sampler in zip(seeds, SAMPLERS, strict=True)]
    pool = model.pool(capacity=3)
    streams = [pool.open(seed=seed, sampler=sampler) for seed, sampler in zip(seeds, SAMPLERS, strict=True)]
    made = [dict(pool.step()) for _ in range(60)]
    assert alone == [[tokens[stream] for tokens in made] for stream in streams]


class Moody(nn.Module):
    """Logits of 7 tokens pushed by a mood, from a learned state that is not zero."""

    INITIAL = (0.5, -1.0, 2.0, 0.25, -0.125, 3.0, -0.7)
    spec = Spec(
        inputs=(
            TensorSpec("mood", "float32", (BATCH, 7), "condition"),
            TensorSpec("token", "int64", (BATCH,), "token"),
        ),
        outputs=(TensorSpec("logits", "float32", (BATCH, 7), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 7), INITIAL),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=START),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 7)
        self.cell = nn.GRUCell(7, 7)

    def forward(self, mood: Tensor, token: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = self.cell(self.embedding(token) + mood, h)
        return 3 * h, h


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return engines(export(Moody(), tmp_path_factory.mktemp("moody") / "moody.onnx").path)


MOOD = np.linspace(-1, 1, 7, dtype=np.float32)


def test_inputs_beside_the_token_and_states_that_do_not_begin_at_zero_are_the_same(moody: Pair) -> None:
    tokens = np.random.default_rng(2).integers(0, 7, 1000)
    logits, drawn = [], []
    for model in moody:
        stream = model.stream(seed=5, sampler=Sampler(1.0))
        assert np.float32(Moody.INITIAL).tolist() == stream.snapshot().arrays[0][0].tolist()
        plain = stream.step(int(tokens[0]))
        stream.set_input("mood", MOOD)
        logits.append(np.concatenate([plain[None], stream.run(tokens)]))
        stream.prefill([START])
        drawn.append(list(stream.generate(200)))
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=FLOAT_TOLERANCE)
    assert drawn[0] == drawn[1]


def test_a_pool_keeps_the_inputs_beside_the_token_apart(moody: Pair) -> None:
    model = moody[1]
    moods = [MOOD * scale for scale in (0, 1, -2, 0.5)]
    alone = []
    for seed, mood in enumerate(moods):
        stream = model.stream(seed=seed, sampler=Sampler(1.0))
        stream.set_input("mood", mood)
        alone.append(list(stream.generate(60)))
    pool = model.pool(capacity=2)
    streams = [pool.open(seed=seed, sampler=Sampler(1.0)) for seed in range(len(moods))]
    for stream, mood in zip(streams, moods, strict=True):
        stream.set_input("mood", mood)
    made = [dict(pool.step()) for _ in range(60)]
    assert alone == [[tokens[stream] for tokens in made] for stream in streams]


# Frames and bundles


class Halved(nn.Module):
    """A strided convolution over time, and a GRU on every second frame."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(6, 9, 4, stride=2)
        self.rnn = nn.GRU(9, 11, 2, batch_first=True)
        self.head = nn.Linear(11, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        halved = self.convolution(nn.functional.pad(x, (2, 0))).relu()
        return self.head(self.rnn(halved.transpose(1, 2))[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("steps", STEPS)
def test_a_model_that_takes_several_frames_a_step_computes_the_same(tmp_path: Path, steps: int) -> None:
    lifted = lift(Halved().eval(), "x=float32[B,6,T]", LiftOptions(frames_per_step=2))
    models = engines(export(lifted, tmp_path / "halved.onnx").path)
    assert models[1].spec.main_input.frames == 2
    frames = np.random.default_rng(0).standard_normal((2 * steps, 6)).astype(np.float32)
    expected, actual = (model.stream().run(frames) for model in models)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("steps", STEPS)
def test_a_model_of_frames_computes_the_same(frame_path: Path, tmp_path: Path, steps: int) -> None:
    (tmp_path / "frames.onnx").write_bytes(frame_path.read_bytes())
    frames = np.random.default_rng(1).standard_normal((steps, 5)).astype(np.float32)
    expected, actual = (model.stream().run(frames) for model in engines(tmp_path / "frames.onnx"))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=FLOAT_TOLERANCE)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Compiles the stages of a bundle into a cache of the test's own."""
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))

    def compile_stages(folder: Path) -> Path:
        for stage in sorted(folder.glob("*.onnx")):
            store_library(library_of(stage).read_bytes(), load(stage).model_id)
        return folder

    return compile_stages


def test_a_bundle_draws_the_same_picture(cached: Callable[[Path], Path], tmp_path: Path) -> None:
    torch.manual_seed(4)
    config = VaeConfig("gru", width=10, height=12, latent=4, hidden=24, layers=2, dropout=0.0, every_step=True)
    model = RowVAE(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    export_bundle(vae_stages(model.eval()), tmp_path / "bundle")
    folder = cached(tmp_path / "bundle")
    rows = np.random.default_rng(3).random((12, 10), np.float32)
    drawn = []
    for engine in ENGINES:
        bundle = load_bundle(folder, engine=engine)
        encoder = bundle.stages["encode"].stream()
        encoder.run(rows)
        drawn.append(np.stack(list(bundle.stream({"encode": encoder}).generate_frames(12))))
    assert np.ptp(drawn[0], axis=0).max() > 0.1
    np.testing.assert_allclose(drawn[1], drawn[0], rtol=0, atol=FLOAT_TOLERANCE)


def test_a_bundle_with_attention_writes_the_same_words(cached: Callable[[Path], Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(list("abc"), rng.integers(2, 10))) for _ in range(400)]
    settings = Seq2SeqSettings(hidden=12, embedding=6, features=5, places=12, batch=16, max_steps=1)
    data = Seq2SeqData(make_pairs((word, tuple(word.upper())) for word in words), settings)
    torch.manual_seed(0)
    task: Any = find_task("seq2seq")
    model = task.model(settings, data.facts)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.8)
    export_bundle(seq2seq_stages(model.eval()), tmp_path / "bundle")
    folder = cached(tmp_path / "bundle")
    transducers = [Transducer(load_bundle(folder, engine=engine), max_tokens=30) for engine in ENGINES]
    expected, actual = ([each.transduce(word).symbols for word in words[:60]] for each in transducers)
    assert len(set(expected)) > 3
    assert expected == actual


# C


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
int main(int argc, char **argv) {
    const model_sampler sampler = {strtof(argv[2], NULL), atoi(argv[3]), strtof(argv[4], NULL), strtof(argv[5], NULL)};
    static model_stream stream;
    model_begin(&stream, strtoull(argv[1], NULL, 10), sampler);
    int count = atoi(argv[6]);
    for (int i = 7; i < argc; ++i) {
        const int32_t token = atoi(argv[i]);
        if (model_prefill(&stream, &token, 1))
            return 2;
    }
    while (count-- > 0)
        printf("%ld\\n", (long)model_next(&stream));
    return 0;
}
"""


def c_program(model: Path, folder: Path) -> Path:
    """Build a program that prints the tokens of a stream."""
    source = compile_model(model, folder, name="model").source
    (folder / "main.c").write_text(MAIN)
    target = find_target("host")
    compiler = found_compiler(target, None)
    options = [*compiler.options(target), *FLAGS, "-Wall", "-Wextra", "-Werror"]
    compiler.run([*options, "main.c", str(source), "-lm", "-o", "main"], folder=folder)
    return folder / "main"


@pytest.mark.parametrize("case", [FLOATS[2], Case("gru", "int8")], ids=str)
def test_a_program_in_c_prints_the_tokens_of_the_runtime(
    file_of: Callable[[Case], Path], pair: Pairs, case: Case, tmp_path: Path
) -> None:
    program, prompt = c_program(file_of(case), tmp_path), [7, 1, 30]
    reference = pair(case)[0 if case.precision == "float32" else 1]
    for seed, sampler in enumerate(SAMPLERS, start=2**63):
        for begin in ([], prompt):
            stream = reference.stream(seed=seed, sampler=sampler)
            stream.prefill(begin)
            expected = list(stream.generate(150))
            settings = (seed, sampler.temperature, sampler.top_k, sampler.top_p, sampler.repetition_penalty, 150)
            command = [program, *map(str, (*settings, *begin))]
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            assert expected == [int(line) for line in told.stdout.split()]


def test_a_program_in_c_refuses_a_token_that_is_out_of_range(file_of: Callable[[Case], Path], tmp_path: Path) -> None:
    program = c_program(file_of(FLOATS[0]), tmp_path)
    for token, code in ((39, 0), (40, 2), (-1, 2)):
        command = [program, *map(str, (0, 1, 0, 1, 1, 1, token))]
        assert code == subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
