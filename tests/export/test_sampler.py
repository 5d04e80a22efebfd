"""The sampler in a graph: the tokens that the runtime's sampler gives from the same logits and noise."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.models import RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, export, quantize, verify
from edgernn_export.metadata import read_model, write_spec
from edgernn_export.sampler import Sampling, check_sampler
from edgernn_runtime import GREEDY, Model, Sampler, State, load, uniforms
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import ExportError, InputError, ParityError, SpecError
from edgernn_runtime.sampling import GRAIN
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec

KINDS: Sequence[Sampling] = ("temperature", "filters")
SAMPLERS = {
    "temperature": [GREEDY, Sampler(0.6), Sampler(1.4)],
    "filters": [
        GREEDY,
        Sampler(0.9),
        Sampler(0.9, top_k=4),
        Sampler(1.0, top_p=0.7),
        Sampler(1.2, 9, 0.8),
        Sampler(1, 999),
    ],
}
CASES = [(kind, sampler) for kind in KINDS for sampler in SAMPLERS[kind]]
Made = Callable[[str, Sampling], Model]


@pytest.fixture(scope="module")
def sampling_model(models_dir: Path, tiny_step: Callable[[str], RecurrentLMStep]) -> Made:
    @cache
    def make(cell: str, kind: Sampling) -> Model:
        return load(export(tiny_step(cell), models_dir / f"{cell}.{kind}.onnx", sample=kind).path)

    return make


@pytest.mark.parametrize(("kind", "sampler"), CASES, ids=str)
def test_the_graph_gives_the_tokens_of_the_host(
    sampling_model: Made, tiny_model: Callable[..., Model], cell: str, kind: Sampling, sampler: Sampler
) -> None:
    graph = sampling_model(cell, kind).stream(seed=5, sampler=sampler)
    host = tiny_model(cell).stream(seed=5, sampler=sampler)
    if kind == "filters" and not sampler.filters:
        host._ranked = True  # a graph with filters always goes from the most probable token down
    assert list(host.generate(1000)) == list(graph.generate(1000))


@pytest.mark.parametrize(("kind", "sampler"), CASES, ids=str)
def test_100_000_draws_are_distributed_as_the_host_says(sampling_model: Made, kind: Sampling, sampler: Sampler) -> None:
    rows, steps = 1000, 100
    executor = sampling_model("gru", kind).executor(rows)
    executor.inputs["token"][:] = 3
    executor.inputs["temperature"][:] = sampler.temperature
    if kind == "filters":
        executor.inputs["top_k"][:] = min(sampler.top_k or 22, 22)
        executor.inputs["top_p"][:] = sampler.top_p
    zeros = executor.read_state()
    counts = np.zeros(22, np.int64)
    for noise in uniforms(8, 0, rows * steps).reshape(steps, rows):
        executor.inputs["noise"][:, 0] = noise + GRAIN if sampler.temperature else GRAIN
        executor.write_state(zeros)
        executor.run()
        counts += np.bincount(executor.outputs["next_token"].astype(np.int64), minlength=22)
    logits = np.asarray(executor.outputs["logits"][0], np.float32)
    weights = np.eye(22)[logits.argmax()] if sampler.temperature == 0 else sampler.probabilities(logits)
    expected = np.asarray(weights, np.float64) / np.sum(weights) * rows * steps
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    chi_square = float((np.square(counts[kept] - expected[kept]) / expected[kept]).sum())
    freedom = int(kept.sum()) - 1
    assert chi_square <= freedom + 4 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_rows_with_settings_of_their_own_do_not_disturb_each_other(sampling_model: Made, kind: Sampling) -> None:
    model = sampling_model("lstm", kind)
    alone = [list(model.stream(seed=i, sampler=sampler).generate(60)) for i, sampler in enumerate(SAMPLERS[kind])]
    rows = len(SAMPLERS[kind])
    executor = model.executor(rows)
    noise = np.stack([uniforms(seed, 0, 60) for seed in range(rows)])
    executor.inputs["token"][:] = model.spec.feedback.start if model.spec.feedback else 0
    for row, sampler in enumerate(SAMPLERS[kind]):
        executor.inputs["temperature"][row] = sampler.temperature
        if kind == "filters":
            executor.inputs["top_k"][row] = min(sampler.top_k or 22, 22)
            executor.inputs["top_p"][row] = sampler.top_p
    together = []
    for step in range(60):
        warm = executor.inputs["temperature"][:, 0] > 0
        executor.inputs["noise"][:, 0] = np.where(warm, noise[:, step] + np.float32(GRAIN), np.float32(GRAIN))
        executor.run()
        executor.inputs["token"][:] = executor.outputs["next_token"]
        together.append(executor.outputs["next_token"].tolist())
    assert alone == np.array(together).T.tolist()


def test_other_ways_to_choose_go_by_the_host_and_give_what_it_gives(
    sampling_model: Made, tiny_model: Callable[..., Model]
) -> None:
    for sampler in (Sampler(0.8, top_k=3), Sampler(0.8, repetition_penalty=1.5), Sampler(0.8, allowed=(1, 5, 7, 9))):
        graph = sampling_model("lstm", "temperature").stream(seed=2, sampler=sampler)
        host = tiny_model("lstm").stream(seed=2, sampler=sampler)
        assert list(host.generate(200)) == list(graph.generate(200))


def test_a_sampler_may_change_between_two_tokens(sampling_model: Made, tiny_model: Callable[..., Model]) -> None:
    streams = [each.stream(seed=3) for each in (sampling_model("gru", "temperature"), tiny_model("gru"))]
    made: tuple[list[int], list[int]] = ([], [])
    for sampler in [Sampler(1.0), Sampler(1.0, allowed=(2, 4)), GREEDY, Sampler(0.5, repetition_penalty=2.0)] * 20:
        for stream, tokens in zip(streams, made, strict=True):
            stream.sampler = sampler
            tokens.extend(stream.generate(2))
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_stream_that_samples_in_its_graph_goes_on_exactly(
    sampling_model: Made, kind: Sampling, tmp_path: Path
) -> None:
    model, sampler = sampling_model("lstm", kind), Sampler(0.9)
    whole = list(model.stream(seed=6, sampler=sampler).generate(80))
    first = model.stream(seed=6, sampler=sampler)
    begun = list(first.generate(30))
    first.snapshot().save(tmp_path / "state.npz")
    rest = model.stream(state=State.load(tmp_path / "state.npz")).generate(50)
    assert whole == [*begun, *rest]


def test_a_snapshot_keeps_what_the_repetition_penalty_looks_at(
    tiny_model: Callable[..., Model], tmp_path: Path
) -> None:
    model, sampler = tiny_model("gru"), Sampler(0.7, repetition_penalty=3.0, allowed=(1, 2, 3, 4, 5, 6))
    whole = list(model.stream(seed=6, sampler=sampler).generate(60))
    first = model.stream(seed=6, sampler=sampler)
    begun = list(first.generate(25))
    first.snapshot().save(tmp_path / "state.npz")
    second = model.stream(state=State.load(tmp_path / "state.npz"))
    assert sampler == second.sampler
    assert whole == [*begun, *second.generate(35)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_graph_keeps_its_sampler(
    sampling_model: Made,
    tiny_tokens: NDArray[np.int64],
    tmp_path: Path,
    kind: Sampling,
    precision: str,
    models_dir: Path,
) -> None:
    sampling_model("gru", kind)
    recording = Recording.of_tokens("token", tiny_tokens[:100])
    report = quantize(
        models_dir / f"gru.{kind}.onnx",
        tmp_path / "small.onnx",
        precision=precision,
        recording=recording,
        method="nearest",
    )
    check_sampler(OrtEngine(report.path), kind)
    assert load(report.path).spec.graph_sampler == load(models_dir / f"gru.{kind}.onnx").spec.graph_sampler


def test_verify_compares_what_the_model_computes_and_not_its_tokens(
    sampling_model: Made, tiny_path: Callable[..., Path], tiny_tokens: NDArray[np.int64], models_dir: Path
) -> None:
    sampling_model("gru", "temperature")
    recording = Recording.of_tokens("token", tiny_tokens[:200])
    sampled, plain = OrtEngine(models_dir / "gru.temperature.onnx"), OrtEngine(tiny_path("gru"))
    for source, candidate in ((sampled, plain), (plain, sampled)):
        report = verify(source, candidate, recording, tolerance=1e-4)
        assert report.passed
        assert report.teacher_forced.max_abs == 0


def test_a_sampling_graph_has_its_own_model_id(sampling_model: Made, tiny_model: Callable[..., Model]) -> None:
    ids = {tiny_model("gru").model_id, *(sampling_model("gru", kind).model_id for kind in KINDS)}
    assert len(ids) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_model_is_an_error_and_no_token(
    tiny_lm: Callable[[str], RecurrentLM], tmp_path: Path, kind: Sampling
) -> None:
    path = export(RecurrentLMStep(tiny_lm("gru"), start=0), tmp_path / "good.onnx", sample=kind).path
    proto, spec, _ = read_model(path)
    bias = next(each for each in proto.graph.initializer if list(each.dims) == [22])
    broken = onnx.numpy_helper.to_array(bias).copy()
    broken[7] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(broken, bias.name))
    write_spec(proto, spec)
    stream = Model(OrtEngine(proto.SerializeToString())).stream(sampler=Sampler(1.0))
    with pytest.raises(InputError, match="the model's output is not finite, so nothing can be chosen"):
        next(stream.generate(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampler_that_chooses_otherwise_is_not_written(
    sampling_model: Made, models_dir: Path, kind: Sampling
) -> None:
    sampling_model("elman", kind)
    proto, spec, _ = read_model(models_dir / f"elman.{kind}.onnx")
    for node in proto.graph.node:
        node.op_type = "Max" if node.name == "sampler.reached" else node.op_type
    write_spec(proto, spec)
    with pytest.raises(ParityError, match=r"the graph chose token \d+ at step \d+"):
        check_sampler(OrtEngine(proto.SerializeToString()), kind)


def test_a_model_of_frames_cannot_sample_tokens(frame_step: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="only a model that generates tokens can sample in its graph"):
        export(frame_step, tmp_path / "model.onnx", sample="temperature")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_sampler_cannot_be_set_as_an_input(sampling_model: Made) -> None:
    stream = sampling_model("gru", "temperature").stream()
    with pytest.raises(InputError, match="the model has no input temperature beside its main one"):
        stream.set_input("temperature", np.ones(1, np.float32))


class Int32Step(nn.Module):
    """A model of int32 tokens that takes one row only: its state counts, its logits follow token and count."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(np.random.default_rng(0).standard_normal((6, 6)).astype("f4")))

    @property
    def spec(self) -> Spec:
        return Spec(
            inputs=(TensorSpec("token", "int32", (1,), "token", size=6),),
            outputs=(TensorSpec("logits", "float32", (1, 6), "logits"),),
            states=(StateSpec("state.count", "next_state.count", "float32", (1, 6)),),
            distribution="categorical",
            feedback=Feedback("logits", "token", start=0),
            batch=1,
        )

    def forward(self, token: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        after = torch.sin(count + self.table[token.long()])
        return 2 * after, after


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_32_bits_and_graphs_of_one_row_can_be_sampled(tmp_path: Path, kind: Sampling) -> None:
    plain = load(export(Int32Step(), tmp_path / "plain.onnx").path)
    sampling = load(export(Int32Step(), tmp_path / "sampling.onnx", sample=kind).path)
    sampler = Sampler(1.0) if kind == "temperature" else Sampler(1.0, top_k=4)
    assert list(plain.stream(sampler=sampler).generate(300)) == list(sampling.stream(sampler=sampler).generate(300))
    assert sampling.spec.output("next_token").dtype == "int32"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("noise", "needs the input noise, float32 of the batch and 1"),
        ("temperature", "needs the input temperature"),
        ("top_p", "needs the input top_p"),
        ("cumulative", "needs the output cumulative"),
    ],
)
def test_a_spec_with_half_a_sampler_is_refused(sampling_model: Made, lost: str, message: str) -> None:
    spec = sampling_model("gru", "filters").spec
    with pytest.raises(SpecError, match=message):
        replace(
            spec,
            inputs=tuple(each for each in spec.inputs if each.name != lost),
            outputs=tuple(each for each in spec.outputs if each.name != lost),
        )


def test_a_sampler_of_other_shapes_is_refused(sampling_model: Made) -> None:
    spec = sampling_model("gru", "temperature").spec
    for name, shape in (("next_token", (BATCH, 2)), ("cumulative", (BATCH, 3))):
        outputs = tuple(replace(each, shape=shape) if each.name == name else each for each in spec.outputs)
        with pytest.raises(SpecError, match=f"{name} must be"):
            replace(spec, outputs=outputs)


class TwoHeads(nn.Module):
    """A model with logits of something else before those of its tokens."""

    spec = Spec(
        inputs=(TensorSpec("token", "int64", (BATCH,), "token"),),
        outputs=(
            TensorSpec("aside", "float32", (BATCH, 50), "logits"),
            TensorSpec("logits", "float32", (BATCH, 7), "logits"),
        ),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 7)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=0),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.aside = nn.Embedding(7, 7), nn.Linear(7, 50)

    def forward(self, token: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = torch.tanh(self.embedding(token) + 0.5 * h)
        return self.aside(h), 3 * h, h


def test_the_sampler_chooses_by_the_logits_that_are_fed_back(tmp_path: Path) -> None:
    sampling = load(export(TwoHeads(), tmp_path / "sampling.onnx", sample="filters").path)
    plain = load(export(TwoHeads(), tmp_path / "plain.onnx").path)
    sampler = Sampler(1.0, top_k=4)
    assert list(plain.stream(sampler=sampler).generate(200)) == list(sampling.stream(sampler=sampler).generate(200))
