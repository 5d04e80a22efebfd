"""Benchmarks: what peers compute is checked, what is timed is what was checked, and records hold it."""

import json
import os
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from edgernn.bench.case import PRECISIONS, Case, Logits, Material, Precision, Tokens, cases, make_model
from edgernn.bench.checking import BOUNDS, STEPS, Reference
from edgernn.bench.fastest import fastest
from edgernn.bench.figure import bench_figure, picture
from edgernn.bench.peer import Peer, Step
from edgernn.bench.record import Machine, Record, Row, read_record, to_record
from edgernn.bench.registry import PEERS, find_peers
from edgernn.bench.running import LEAST_STEPS, run
from edgernn.bench.silence import quiet
from edgernn.eager import eager_steps
from edgernn.models import RecurrentLM
from edgernn_runtime.errors import DataError, InputError

ROOT = Path(__file__).parents[2]
HIDDEN = 16
INSTALLED = ("edgernn", "torch-eager", "torch-ao", "onnxruntime")
FORMS = [
    (peer, precision, cell, batch)
    for peer in map(PEERS.__getitem__, INSTALLED)
    for precision in peer.precisions
    for cell, batch in (("lstm", 3), ("gru", 1))
    if peer.missing(Case(cell, HIDDEN, batch, 1), precision) is None
]


def exchanged(model: RecurrentLM, first: int, second: int) -> RecurrentLM:
    """Return the model with the rows of two gates exchanged in every layer."""
    wrong = make_model(model.config.cell, model.config.hidden)
    with torch.no_grad():
        for weight in wrong.stack.parameters():
            gates = list(weight.split(model.config.hidden))
            gates[first], gates[second] = gates[second], gates[first]
            weight.copy_(torch.cat(gates))
    return wrong


def row(**changed: Any) -> Row:
    made = Row(
        cell="lstm", hidden=64, layers=2, vocabulary=128, batch=1, threads=1, precision="float32", steps=50,
        bound=1e-3, results={"edgernn": 10.0, "torch-eager": 40.0, "litert": 8.0}, p99_us={"edgernn": 12.0},
        checked={"edgernn": 1e-7}, missing={"tract": "tract not installed"}, failed={},
    )  # fmt: skip
    return replace(made, **changed)


def record(*rows: Row) -> Record:
    return Record(Machine("a processor", 2, "Linux", "3.11.7", {"torch": "2.13.0"}), rows or (row(),))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where the files of a cell's model lie, shared by the tests."""
    made: dict[str, Path] = {}
    return lambda cell: made.setdefault(cell, tmp_path_factory.mktemp(cell))


@pytest.mark.parametrize(
    ("peer", "precision", "cell", "batch"), FORMS, ids=lambda each: each.name if isinstance(each, Peer) else str(each)
)
def test_a_peer_computes_what_torch_computes_and_keeps_its_state(
    peer: Peer, precision: Precision, cell: str, batch: int, folders: Callable[[str], Path]
) -> None:
    material = Material(Case(cell, HIDDEN, batch, 1), make_model(cell, HIDDEN), folders(cell))
    with quiet():
        step = peer.open(material, precision)
    reference = Reference.of(material.model, material.case)
    error = reference.error(step)
    assert error <= BOUNDS[precision]
    assert precision == "float32" or error > 1e-4, "it was not quantized"
    assert reference.error(step) > error, "the state of the first 64 steps was not kept"


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
@pytest.mark.parametrize("hidden", [64, 256])
def test_gates_in_another_order_fail_the_check_of_every_precision(
    cell: str, gates: int, hidden: int, batch: int
) -> None:
    model = make_model(cell, hidden)
    reference = Reference.of(model, Case(cell, hidden, batch, 1))
    for first in range(gates):
        for second in range(first):
            error = reference.error(eager_steps(exchanged(model, first, second))["cells"])
            assert error > max(BOUNDS.values()), (first, second)


class Wrong(Peer):
    """Torch with two gates exchanged."""

    name: ClassVar[str] = "wrong"

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, the signature of a peer
        return eager_steps(exchanged(material.model, 0, 1))["cells"]


class Broken(Peer):
    """Cannot be opened."""

    name: ClassVar[str] = "broken"

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, the signature of a peer
        raise RuntimeError("no such kernel\nand more")


class Absent(Peer):
    """Needs packages that nobody has."""

    name: ClassVar[str] = "absent"
    packages: ClassVar[tuple[str, ...]] = ("numpy", "no_such_package", "nor_this")

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, the signature of a peer
        raise AssertionError("it is absent")


def test_wrong_broken_and_absent_peers_are_named_and_not_timed() -> None:
    peers = [PEERS["torch-eager"], Wrong(), Broken(), Absent()]
    (found,) = run([Case("gru", HIDDEN, 2, 1)], peers, ["float32"], seconds_per_case=0)
    assert ["torch-eager"] == list(found.results) == list(found.p99_us)
    assert {"absent": "no_such_package, nor_this not installed"} == found.missing
    assert found.failed.keys() == {"wrong", "broken"}
    assert found.failed["broken"] == "RuntimeError: no such kernel"
    assert found.failed["wrong"].startswith("differs from torch by ")
    assert found.failed["wrong"].endswith(" of the largest logit, more than 0.001")
    assert found.checked["wrong"] > max(BOUNDS.values())
    assert found.checked["torch-eager"] < BOUNDS["float32"]


def test_every_precision_of_a_case_is_a_row_and_steps_are_never_too_few() -> None:
    rows = list(run(cases(["lstm"], [HIDDEN], [1], [1]), [PEERS["torch-ao"]], PRECISIONS, seconds_per_case=0))
    assert list(PRECISIONS) == [each.precision for each in rows]
    assert [[], ["torch-ao"], []] == [list(each.results) for each in rows]
    assert {LEAST_STEPS} == {each.steps for each in rows}
    assert (2, 128) == (rows[0].layers, rows[0].vocabulary)


def test_more_seconds_are_more_steps() -> None:
    case = [Case("lstm", HIDDEN, 1, 1)]
    (found,) = run(case, [PEERS["torch-eager"]], ["float32"], seconds_per_case=0.2)
    assert found.steps > 2 * LEAST_STEPS


def test_a_dynamic_quantizer_that_leaves_a_gru_alone_is_left_out() -> None:
    found = {cell: PEERS["onnxruntime"].missing(Case(cell, HIDDEN, 1, 1), "int8") for cell in ("lstm", "gru")}
    assert {"lstm": None, "gru": "quantize_dynamic leaves a GRU in float32"} == found


def test_steps_that_give_nan_or_another_shape_do_not_pass() -> None:
    reference = Reference.of(make_model("lstm", HIDDEN), Case("lstm", HIDDEN, 2, 1))
    assert (STEPS, 2) == reference.tokens.shape
    assert np.inf == reference.error(lambda tokens: np.full((len(tokens), 128), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"logits must be float32\[2, 128\], got float32\[128\]"):
        reference.error(lambda _: np.zeros(128, np.float32))


def test_of_several_forms_the_fastest_is_made_anew() -> None:
    made: list[str] = []

    def maker(name: str, turns: int) -> Callable[[], Step]:
        def make() -> Step:
            made.append(name)

            def step(tokens: Tokens) -> Logits:
                for _ in range(turns):
                    np.sort(np.arange(2000)[::-1])
                return np.zeros((len(tokens), 128), np.float32)

            return step

        return make

    fastest([maker("slow", 50), maker("quick", 1), maker("slower", 100)], 1)
    assert ["slow", "quick", "slower", "quick"] == made


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cell": "elman"}, "no cell is called elman; there are lstm, gru"),
        ({"hidden": 0}, "hidden must be positive, got 0"),
        ({"batch": -1}, "batch must be positive, got -1"),
        ({"threads": 0}, "threads must be positive, got 0"),
    ],
)
def test_a_case_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(Case("lstm", HIDDEN, 1, 1), **changed)


def test_peers_come_in_the_order_of_tables_and_unknown_ones_are_refused() -> None:
    assert ["edgernn", "tract"] == [peer.name for peer in find_peers(["tract", "edgernn"])]
    with pytest.raises(InputError, match="no peer is called tvm; there are edgernn, edgernn-native, torch-eager, "):
        find_peers(["edgernn", "tvm"])


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(row(), row(precision="int8", results={}, failed={"edgernn": "so"}))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(to_record(written)))
    assert written == read_record(path)
    assert ["edgernn", "torch-eager", "litert"] == written.peers


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": {}, "cases": []}', "\udcff", '{"machine": 3}'])
def test_a_file_that_holds_no_record_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match="holds no benchmark that edgernn bench saved"):
        read_record(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"results": {"edgernn": "10"}}, "results must hold numbers"),
        ({"p99_us": {"edgernn": -1.0}}, "p99_us must hold numbers"),
        ({"checked": [1.0]}, "has no attribute 'values'"),
        ({"hidden": 0}, "hidden, batch and threads must be positive integers"),
        ({"missing": {"tract": 3}}, "missing and failed must hold reasons"),
    ],
)
def test_a_record_of_other_values_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(to_record(record(row(**changed)))))
    with pytest.raises(DataError, match=message):
        read_record(path)


def test_a_record_without_a_case_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({**to_record(record()), "cases": []}))
    with pytest.raises(DataError, match="it has no case"):
        read_record(path)


def test_the_best_and_the_lead_are_of_those_that_were_measured() -> None:
    assert ("litert", 0.8) == (row().best, row().lead())
    assert row(results={"edgernn": 4.0, "edgernn-native": 2.0, "litert": 3.0}).lead() == 1.5
    assert (None, None) == (row(results={}).best, row(results={}).lead())
    assert ("edgernn", None) == (row(results={"edgernn": 3.0}).best, row(results={"edgernn": 3.0}).lead())
    assert row(results={"litert": 3.0}).lead() is None


def test_the_figure_has_a_panel_for_each_cell_and_batch_and_a_line_for_each_peer() -> None:
    rows = [
        row(cell=cell, batch=batch, hidden=hidden)
        for cell in ("lstm", "gru")
        for batch in (1, 64)
        for hidden in (64, 128)
    ]
    figure = bench_figure(record(*rows, row(precision="int8", results={"edgernn": 7.0})))
    assert [
        "LSTM, batch 1, 1 thread",
        "GRU, batch 1, 1 thread",
        "LSTM, batch 64, 1 thread",
        "GRU, batch 64, 1 thread",
    ] == [panel.get_title() for panel in figure.axes]
    assert [4, 3, 3, 3] == [len(panel.lines) for panel in figure.axes]
    assert all((panel.get_xscale(), panel.get_yscale()) == ("log", "log") for panel in figure.axes)
    assert {"edgernn", "torch-eager", "litert", "float32", "int8"} == {
        text.get_text() for text in figure.legends[0].get_texts()
    }
    assert picture(bench_figure(record()), "svg") == picture(bench_figure(record()), "svg")
    assert picture(bench_figure(record()), "png").startswith(b"\x89PNG")


def test_what_others_write_is_dropped_and_errors_pass(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quiet():
            os.write(1, b"native")
            os.write(2, b"native")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    os.write(1, b"after")
    assert ("after", "") == capfd.readouterr()


def test_the_tables_of_the_docs_are_those_of_the_saved_runs() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "headline.py"))
    assert len(script["PLACES"]) == 4
    for place in script["PLACES"]:
        made = place.make(read_record(place.source))
        _, between, _ = script["parts"](place.page.read_text(encoding="utf-8"), place.name)
        assert made == between
        assert made.count("\n| ") > 4


def test_the_headline_names_the_best_other_of_each_precision() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "headline.py"))
    rows = [row(), row(precision="int8", results={"edgernn": 7.0}), row(batch=64, results={"edgernn": 99.0})]
    lines = script["headline"](record(*rows)).splitlines()
    assert "| LSTM | 64 | 40.0 | 8.0 (litert) | 10.0 | - | 7.0 | - | - |" == lines[-1]
    assert 5 == len(lines)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_compiled_step_computes_what_torch_computes(cell: str, tmp_path: Path) -> None:
    material = Material(Case(cell, HIDDEN, 3, 1), make_model(cell, HIDDEN), tmp_path)
    assert PEERS["torch-compile"].missing(material.case, "float32") is None
    with quiet():
        step = PEERS["torch-compile"].open(material, "float32")
    assert Reference.of(material.model, material.case).error(step) <= BOUNDS["float32"]
