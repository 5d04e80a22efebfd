"""The search for the smallest mix of precisions within a budget, and what each matrix costs alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgernn_export import QuantizeReport, Recording, quantize
from edgernn_export.likelihood import kl_nats
from edgernn_export.metadata import write_spec
from edgernn_export.outputs import outputs_along
from edgernn_export.quality import Judge
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import calibrate
from edgernn_export.quantization.formats import INT4, INT8, Plan
from edgernn_export.quantization.search import Candidate, Search
from edgernn_export.quantization.sensitivity import sensitivities
from edgernn_export.quantization.source import Source
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import GateError

CELLS = ("elman", "lstm", "gru")
LOOSE, IMPOSSIBLE = 5.0, 1e-9
PARTS = {
    "elman": [
        "0.kernel.weight_hh_l0.T",
        "0.kernel.weight_ih_l0.T.table",
        "1.kernel.weight_ih_l0.T",
        "1.kernel.weight_hh_l0.T",
    ],
    "lstm": [
        "0.kernel.weight_hh_l0.T.gates",
        "0.kernel.weight_ih_l0.T.table.gates",
        "1.kernel.weight_ih_l0.T",
        "1.kernel.weight_hh_l0.T.gates",
    ],
    "gru": [
        "0.kernel.weight_ih_l0.T.table",
        "0.kernel.weight_hh_l0.T",
        "1.kernel.weight_ih_l0.T",
        "1.kernel.weight_hh_l0.T",
    ],
}


class Divergence:
    """A metric that is 1 for the model itself, and more by what each of a form's distributions differs from its."""

    def __init__(self, engine: Engine, recording: Recording) -> None:
        self.logits = outputs_along(engine, recording)

    def __call__(self, engine: Engine, recording: Recording) -> NDArray[np.float64]:
        rows = zip(self.logits, outputs_along(engine, recording), strict=True)
        return np.array([1 + kl_nats(before[None], after[None]) for before, after in rows])


class Bench:
    """What a search needs, made once for each cell, and a budget between what int4 and int8 cost."""

    def __init__(self, path: Path, tokens: NDArray[np.int64]) -> None:
        self.source = Source.open(path)
        self.recording = Recording.of_tokens("token", tokens[:401])
        self.calibration = Recording.of_tokens("token", tokens[1000:1401])
        self.builder = Builder(self.source, calibrate(self.source, self.calibration))
        engine = self.source.engine()
        self.metric = Divergence(engine, self.recording)
        self.judge = Judge(engine, self.recording, self.metric)
        self.progress: list[tuple[str, int, int]] = []
        self.sensitivities = sensitivities(self.source, self.builder, self.judge, self._note)
        most, least = (self.cost(dict.fromkeys(self.source.weights, form)) for form in (INT8, INT4))
        self.tight = math.sqrt(most * least)

    def cost(self, plan: Plan) -> float:
        return self.judge.quality(self.source.opened(self.builder.build(plan, "mixed"))).upper

    def search(self, budget: float) -> Search:
        return Search(self.source, self.builder, self.judge, budget, self._note)

    def find(self, budget: float) -> Candidate:
        return self.search(budget).run(self.sensitivities)

    def _note(self, what: str, done: int, whole: int) -> None:
        self.progress.append((what, done, whole))


@pytest.fixture(scope="module")
def benches(tiny_path: Callable[..., Path], tiny_tokens: NDArray[np.int64]) -> dict[str, Bench]:
    return {cell: Bench(tiny_path(cell), tiny_tokens) for cell in CELLS}


def test_a_loose_budget_leaves_every_matrix_in_the_fewest_bits(benches: dict[str, Bench], cell: str) -> None:
    bench = benches[cell]
    search = bench.search(LOOSE)
    found = search.run(bench.sensitivities)
    kinds = {name: weight.kind for name, weight in bench.source.weights.items()}
    assert found.plan == {name: INT4 if kind == "product" else INT8 for name, kind in kinds.items()}
    assert sorted(kinds.values()) == ["product"] * (len(kinds) - 1) + ["table"]
    assert search.frontier == (found,)


def test_a_tight_budget_gives_more_bits_and_is_kept(benches: dict[str, Bench], cell: str) -> None:
    bench = benches[cell]
    loose, tight = bench.find(LOOSE), bench.find(bench.tight)
    assert loose.quality.upper > bench.tight >= tight.quality.upper
    assert tight.kept
    assert tight.bytes > loose.bytes
    assert tight.plan != loose.plan
    assert tight.bytes < len(bench.source.graphs[""].content)


@pytest.mark.parametrize("misled", [False, True])
def test_no_matrix_of_the_mix_could_have_fewer_bits(benches: dict[str, Bench], cell: str, misled: bool) -> None:  # noqa: FBT001
    bench = benches[cell]
    told = [replace(each, kl_nats=1 / each.damage if misled else each.damage) for each in bench.sensitivities]
    found = bench.search(bench.tight).run(told)
    products = [name for name, weight in bench.source.weights.items() if weight.kind == "product"]
    raised = [name for name in products if found.plan[name] == INT8]
    assert raised
    for name in raised:
        assert bench.cost({**found.plan, name: INT4}) > bench.tight


def test_a_budget_that_cannot_be_kept_is_an_error_that_says_how_near_it_was(
    benches: dict[str, Bench], cell: str
) -> None:
    search = benches[cell].search(IMPOSSIBLE)
    with pytest.raises(GateError, match=r"no mix .* the nearest, with weights in int8, costs [+-]\d\.\d+%"):
        search.run(benches[cell].sensitivities)
    assert not any(each.kept for each in search.frontier)
    assert {form for each in search.frontier for form in each.plan.values()} == {INT4, INT8}


def test_each_point_of_the_frontier_is_larger_and_better_than_the_one_before(
    benches: dict[str, Bench], cell: str
) -> None:
    bench = benches[cell]
    kept, lost = bench.search(bench.tight), bench.search(IMPOSSIBLE)
    assert kept.run(bench.sensitivities) in kept.frontier
    with pytest.raises(GateError):
        lost.run(bench.sensitivities)
    for search in (kept, lost):
        sizes = [each.bytes for each in search.frontier]
        losses = [each.quality.upper for each in search.frontier]
        assert len(sizes) > 1
        assert all(small < large for small, large in pairwise(sizes))
        assert all(worse > better for worse, better in pairwise(losses))


def test_sensitivities_name_every_part_of_every_matrix(benches: dict[str, Bench], cell: str) -> None:
    bench = benches[cell]
    parts = [each.part.removeprefix("model.stack.cells.").replace(".biased", "") for each in bench.sensitivities]
    assert parts == [*PARTS[cell], "model.head.weight.T"]
    assert {each.weight for each in bench.sensitivities} == bench.source.weights.keys()
    assert all(each.format == ("int8" if "table" in each.part else "int4") for each in bench.sensitivities)
    assert all(each.damage > 0 and each.damage == each.kl_nats for each in bench.sensitivities)
    for name, weight in bench.source.weights.items():
        ends = [(part.start, part.stop) for part in weight.parts]
        assert ends[0][0] == 0
        assert ends[-1][1] == len(weight.array)
        assert all(one[1] == two[0] for one, two in pairwise(ends)), name


def test_each_part_of_a_merged_matrix_is_rounded_apart(benches: dict[str, Bench]) -> None:
    bench = benches["lstm"]
    found = {each.part: each for each in bench.sensitivities}
    (name,) = (name for name in bench.source.weights if "+" in name)
    weight = bench.source.weights[name]
    for part in weight.parts:
        array = bench.builder.part_alone(name, part, INT4)
        changed = np.flatnonzero((array != weight.array).any(axis=1))
        assert (changed.min(), changed.max()) == (part.start, part.stop - 1)
        proto = onnx.ModelProto.FromString(bench.source.cell_contents()[""])
        (tensor,) = (each for each in proto.graph.initializer if each.name == name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
        write_spec(proto, bench.source.graphs[""].spec)
        quality = bench.judge.quality(OrtEngine(proto.SerializeToString()))
        assert (found[part.name].relative, found[part.name].kl_nats) == (quality.relative, quality.kl_nats)
    assert len({found[part.name].kl_nats for part in weight.parts}) == 2


def test_a_weight_stays_as_it_was_after_its_sensitivity_was_measured(benches: dict[str, Bench]) -> None:
    bench = benches["gru"]
    original = Source.open(bench.source.path).weights
    for name, weight in bench.source.weights.items():
        np.testing.assert_array_equal(weight.array, original[name].array)


def test_progress_is_told_and_ends(benches: dict[str, Bench]) -> None:
    measured = [each for each in benches["gru"].progress if each[0] == "sensitivity"]
    assert measured == [("sensitivity", done, 5) for done in range(6)]


def mixed(bench: Bench, target: Path) -> QuantizeReport:
    return quantize(
        bench.source.path,
        target,
        precision="mixed",
        recording=bench.recording,
        calibration=bench.calibration,
        metric=bench.metric,
        max_loss=bench.tight,
    )


def test_the_same_arguments_give_the_same_plan_and_the_same_bytes(benches: dict[str, Bench], tmp_path: Path) -> None:
    bench = benches["gru"]
    one, two = (mixed(bench, tmp_path / name) for name in ("one.onnx", "two.onnx"))
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.nodes == two.nodes
    plan = bench.find(bench.tight).plan
    assert {node.name: node.format for node in one.nodes} == {name: form.name for name, form in plan.items()}
    first, second = ([replace(point, p50_us=0.0) for point in report.frontier] for report in (one, two))
    assert first == second


def test_the_report_of_a_mix_tells_its_frontier(benches: dict[str, Bench], tmp_path: Path) -> None:
    report = mixed(benches["elman"], tmp_path / "mixed.onnx")
    (chosen,) = (point for point in report.frontier if point.chosen)
    assert chosen.bytes == report.bytes_after == report.path.stat().st_size
    assert chosen.quality == report.quality
    assert chosen.formats.keys() == benches["elman"].source.weights.keys()
    assert set(chosen.formats.values()) <= {"int4", "int8", "float32"}
    assert report.float_p50_us is not None
    assert min(report.float_p50_us, *(point.p50_us for point in report.frontier)) > 0
    assert len(report.sensitivities) == 5
