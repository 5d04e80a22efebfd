"""Tuning: what is tried, what is chosen and why, what is written, and what is refused."""

import copy
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.cells import lower
from edgernn.models import RecurrentLMStep
from edgernn_export import Recording, export
from edgernn_export.quality import Quality
from edgernn_export.quantization.source import Source
from edgernn_export.tuning import tuner
from edgernn_export.tuning.candidates import Form, Setting, settings_of
from edgernn_export.tuning.record import to_record
from edgernn_export.tuning.tuner import TuneReport, report_file, tune
from edgernn_runtime import Spec, load
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.errors import InputError, OutputExistsError, QuantizationError
from edgernn_runtime.profiling import Latency
from edgernn_runtime.spec import StateSpec, TensorSpec

Paths = Callable[..., Path]
Tokens = NDArray[np.int64]
Frames = NDArray[np.float32]


class OneRowStep(nn.Module):
    """A model of one row at a time: `level = tanh(frame W + level V)`."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.inward = nn.Parameter(torch.from_numpy(rng.standard_normal((5, 8)).astype("f4")))
        self.around = nn.Parameter(torch.from_numpy(rng.standard_normal((8, 8)).astype("f4") / 3))

    @property
    def spec(self) -> Spec:
        return Spec(
            inputs=(TensorSpec("frame", "float32", (1, 5), "frame"),),
            outputs=(TensorSpec("params", "float32", (1, 8), "params"),),
            states=(StateSpec("state.level", "next_state.level", "float32", (1, 8)),),
            batch=1,
        )

    def forward(self, frame: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        level = torch.tanh(frame @ self.inward + level @ self.around)
        return 1 * level, level


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time few steps of each candidate, on two cores."""
    monkeypatch.setattr(tuner, "_STEPS", {1: 100, 8: 40, 64: 20})
    monkeypatch.setattr("edgernn_export.tuning.candidates.cores", lambda: 2)


@pytest.fixture(scope="module")
def recordings(tiny_tokens: Tokens) -> dict[str, Recording]:
    """What a tiny language model is measured and calibrated on."""
    return {
        "recording": Recording.of_tokens("token", tiny_tokens[:300]),
        "calibration": Recording.of_tokens("token", tiny_tokens[300:600]),
    }


@pytest.fixture(scope="module")
def frame_recordings(frames: Frames) -> dict[str, Recording]:
    """What the frame model is measured and calibrated on."""
    return {"recording": Recording.of("frame", frames[:300]), "calibration": Recording.of("frame", frames[300:600])}


def test_the_chosen_form_is_not_slower_than_the_best_float32(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    target = tmp_path / "m.onnx"
    report = tune(tiny_path("gru"), target, max_loss=0.5, **recordings)
    assert [choice.batch for choice in report.choices] == [1, 8, 64]
    for choice in report.choices:
        assert 0 < choice.latency.p50 <= choice.float_latency.p50
    assert report.chosen is report.choices[0]
    assert load(target).spec.precision == report.chosen.setting.form.precision
    assert target.stat().st_size == report.chosen.setting.form.size
    tried = [(each.setting.form.precision, each.setting.threads, each.setting.spinning) for each in report.candidates]
    ways = [(1, False), (2, False), (2, True)]
    assert tried == [(precision, *way) for precision in ("float32", "int8", "int8-portable", "int4") for way in ways]


def test_forms_outside_the_budget_are_neither_timed_nor_chosen(
    frame_path: Path, frame_recordings: dict[str, Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []
    measure = tuner.step_latencies

    def seen(engines: Sequence[Engine], *, batch: int, steps: int) -> tuple[Latency, ...]:
        timed.extend(engine.spec.precision for engine in engines)
        return measure(engines, batch=batch, steps=steps)

    monkeypatch.setattr(tuner, "step_latencies", seen)
    report = tune(frame_path, tmp_path / "m.onnx", max_loss=0.0, **frame_recordings)
    assert set(timed) == {"float32"}
    rejected = [each for each in report.candidates if not each.setting.form.kept]
    assert [each.setting.form.precision for each in rejected] == ["int8", "int8-portable", "int4"]
    for each in rejected:
        assert each.latency is None
        assert each.setting.form.quality is not None
        assert each.setting.form.quality.upper > 0
    assert {choice.setting.form.precision for choice in report.choices} == {"float32"}
    assert (tmp_path / "m.onnx").read_bytes() == frame_path.read_bytes()


def test_a_mix_is_tried_where_int4_costs_too_much(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    source = tiny_path("lstm")
    budget = _upper(tune(source, tmp_path / "all.onnx", max_loss=0.9, **recordings), "int4") * 0.9
    report = tune(source, tmp_path / "m.onnx", max_loss=budget, batches=(1,), **recordings)
    kept = {each.setting.form.precision: each.setting.form.kept for each in report.candidates}
    assert kept["mixed"]
    assert not kept["int4"]
    assert _upper(report, "mixed") <= budget


def test_both_lowerings_of_a_source_are_tried(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path, fused: Path
) -> None:
    cell = tiny_path("gru")
    for source, other in ((cell, fused), (fused, None)):
        report = tune(source, tmp_path / f"{source.stem}.onnx", max_loss=0.5, fused=other, batches=(1,), **recordings)
        found = {form.lowering: form for form in _forms(report) if form.precision == "float32"}
        assert found.keys() == {"cell", "fused"}
        for lowering, form in found.items():
            assert form.opened(threads=1, spinning=False).spec.lowering == lowering
        unknown = {lowering for lowering, form in found.items() if form.quality is None}
        assert unknown == {open_engine(source).spec.lowering}
        assert {form.lowering for form in _forms(report) if form.precision != "float32"} == {"cell"}


def test_what_is_fused_and_chosen_is_written(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path, fused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick_when_fused(engines: Sequence[Engine], *, batch: int, steps: int) -> tuple[Latency, ...]:
        assert (batch, steps) == (1, 100)
        return tuple(_latency(1 if engine.spec.lowering == "fused" else 2) for engine in engines)

    monkeypatch.setattr(tuner, "step_latencies", quick_when_fused)
    report = tune(tiny_path("gru"), tmp_path / "m.onnx", max_loss=0.5, fused=fused, batches=(1,), **recordings)
    assert report.chosen.setting.form.lowering == "fused"
    assert (tmp_path / "m.onnx").read_bytes() == fused.read_bytes()


def test_a_model_of_one_row_is_tuned_at_batch_one(frame_recordings: dict[str, Recording], tmp_path: Path) -> None:
    source = export(OneRowStep().eval(), tmp_path / "row.onnx").path
    report = tune(source, tmp_path / "m.onnx", max_loss=0.5, **frame_recordings)
    assert [choice.batch for choice in report.choices] == [1]


def test_a_metric_of_ones_own_decides(tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path) -> None:
    def bits(engine: Engine, recording: Recording) -> float:
        assert len(recording) == 299
        return {"float32": 1.0, "int8": 1.1, "int8-portable": 1.1, "int4": 2.0}.get(engine.spec.precision, 3.0)

    report = tune(tiny_path("gru"), tmp_path / "m.onnx", max_loss=0.2, metric=bits, batches=(1,), **recordings)
    kept = {form.precision: form.kept for form in _forms(report)}
    assert kept == {"float32": True, "int8": True, "int8-portable": True, "int4": False}


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [(1, False)]),
        (2, [(1, False), (2, False), (2, True)]),
        (6, [(1, False), (2, False), (2, True), (4, False), (4, True)]),
        (64, [(1, False), *((count, spinning) for count in (2, 4, 8, 16) for spinning in (False, True))]),
    ],
)
def test_threads_are_tried_as_far_as_there_are_cores(
    form: Form, monkeypatch: pytest.MonkeyPatch, cores: int, expected: list[tuple[int, bool]]
) -> None:
    monkeypatch.setattr("edgernn_export.tuning.candidates.cores", lambda: cores)
    settings = settings_of(form)
    assert [(each.threads, each.spinning) for each in settings] == expected
    assert all(each.form is form for each in settings)


def test_cores_are_those_that_the_process_may_run_on(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    assert max(each.threads for each in settings_of(form)) == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, threads in ((None, 1), (3, 2), (16, 16)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert max(each.threads for each in settings_of(form)) == threads


@pytest.mark.parametrize(
    ("first", "second", "expected", "told"),
    [
        pytest.param([(10, 15), (8, 12)], [(8, 12), (10, 15)], 1, (8, 10), id="the fastest"),
        pytest.param([(10, 15), (9.9, 14)], [(9.9, 14), (10, 15)], 1, (9.9, 10), id="the lower p99 of two alike"),
        pytest.param([(10, 12), (9.9, 14)], None, 0, (10, 10), id="float32 if its p99 is lower"),
        pytest.param([(10, 12), (9.7, 14)], [(9.7, 14), (10, 12)], 1, (9.7, 10), id="the p50 if they are not alike"),
        pytest.param([(10, 15), (8, 12)], [(10.5, 12), (10, 15)], 0, (10, 10), id="float32 if the duel is lost"),
        pytest.param([(10, 15), (8, 12)], [(10, 12), (10, 15)], 0, (10, 10), id="float32 if the duel is a draw"),
    ],
)
def test_one_setting_of_two_is_chosen(
    form: Form,
    int8: Form,
    monkeypatch: pytest.MonkeyPatch,
    first: list[tuple[float, float]],
    second: list[tuple[float, float]] | None,
    expected: int,
    told: tuple[float, float],
) -> None:
    duels = _given(monkeypatch, second)
    settings = (Setting(form, 1, spinning=False), Setting(int8, 1, spinning=False))
    choice = tuner._choice(8, settings, [_latency(*each) for each in first])
    assert choice.setting is settings[expected]
    assert (choice.batch, choice.latency.p50, choice.float_latency.p50) == (8, *told)
    assert duels == ([] if second is None else [(["int8", "float32"], 8, 40)])


def test_the_duel_is_with_the_fastest_float32(form: Form, int8: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*settings_of(form), Setting(int8, 1, spinning=False))
    duels = _given(monkeypatch, [(9, 9), (7, 7)])
    choice = tuner._choice(1, settings, [_latency(p50) for p50 in (9, 8, 8.5, 6)])
    assert choice.setting == Setting(form, 2, spinning=False)
    assert choice.latency == choice.float_latency == _latency(7)
    assert duels == [(["int8", "float32"], 1, 100)]


def test_the_record_is_json(tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path) -> None:
    report = tune(tiny_path("gru"), tmp_path / "m.onnx", max_loss=0.5, batches=(1,), **recordings)
    record = json.loads(json.dumps(to_record(report)))
    assert record["path"] == str(tmp_path / "m.onnx")
    assert record["batches"][0]["p50_us"] == report.chosen.latency.p50
    assert len(record["candidates"]) == len(report.candidates)
    assert record["candidates"][0]["quality"] is None
    assert record["candidates"][-1]["quality"]["metric"] == "perplexity"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_loss": -0.1}, r"max_loss must lie in \[0, 1\), got -0.1"),
        ({"max_loss": 1.0}, r"max_loss must lie in \[0, 1\), got 1.0"),
        ({"max_loss": float("nan")}, r"max_loss must lie in \[0, 1\), got nan"),
        ({"max_loss": 0.1, "batches": (8, 1)}, r"batches must be positive, and begin with 1, got \[8, 1\]"),
        ({"max_loss": 0.1, "batches": ()}, r"batches must be positive, and begin with 1, got \[\]"),
        ({"max_loss": 0.1, "batches": (1, 0)}, r"batches must be positive, and begin with 1, got \[1, 0\]"),
    ],
)
def test_settings_out_of_range_are_refused(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tune(tiny_path("gru"), tmp_path / "m.onnx", **recordings, **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["m.onnx", "m.onnx.json"])
def test_what_exists_is_refused_before_any_work(
    tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path, kept: str
) -> None:
    (tmp_path / kept).write_text("mine")

    def never(*_: object) -> None:
        raise AssertionError

    with pytest.raises(OutputExistsError, match=f"{kept} exists"):
        tune(tiny_path("gru"), tmp_path / "m.onnx", max_loss=0.1, progress=never, **recordings)
    assert (tmp_path / kept).read_text() == "mine"


def test_a_quantized_model_is_refused(tiny_path: Paths, recordings: dict[str, Recording], tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="is int8 already"):
        tune(tiny_path("gru", "int8"), tmp_path / "m.onnx", max_loss=0.1, **recordings)
    assert list(tmp_path.iterdir()) == []


def test_a_report_lies_beside_a_file_or_a_folder() -> None:
    assert report_file(Path("run/model.tuned.onnx")) == Path("run/model.tuned.onnx.json")
    assert report_file(Path("run/bundle.tuned")) == Path("run/bundle.tuned.json")


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory, tiny_step: Callable[[str], RecurrentLMStep]) -> Path:
    """The tiny GRU in the fused lowering."""
    step = copy.deepcopy(tiny_step("gru"))
    lower(step, "fused")
    return export(step, tmp_path_factory.mktemp("fused") / "fused.onnx").path


@pytest.fixture
def form(tiny_path: Paths) -> Form:
    """The float32 form of a tiny model."""
    return _form("float32", tiny_path("gru"), tiny_path("gru"))


@pytest.fixture
def int8(tiny_path: Paths) -> Form:
    """The int8 form of it."""
    return _form("int8", tiny_path("gru"), tiny_path("gru", "int8"))


def _form(precision: str, source: Path, path: Path) -> Form:
    return Form(Source.open(source), {"": path.read_bytes()}, "cell", precision, None, kept=True)


def _forms(report: TuneReport) -> Iterator[Form]:
    return iter(dict.fromkeys(each.setting.form for each in report.candidates))


def _upper(report: TuneReport, precision: str) -> float:
    quality = next(form.quality for form in _forms(report) if form.precision == precision)
    assert isinstance(quality, Quality)
    return quality.upper


def _latency(p50: float, p99: float | None = None) -> Latency:
    return Latency(p50, p50, p99 or p50, p99 or p50, p99 or p50, p50)


def _given(
    monkeypatch: pytest.MonkeyPatch, latencies: list[tuple[float, float]] | None
) -> list[tuple[list[str], int, int]]:
    """Let the next timing give these latencies of p50 and p99; return what was timed."""
    asked = []

    def step_latencies(engines: Sequence[Engine], *, batch: int, steps: int) -> tuple[Latency, ...]:
        assert latencies is not None
        asked.append(([engine.spec.precision for engine in engines], batch, steps))
        return tuple(_latency(*each) for each in latencies)

    monkeypatch.setattr(tuner, "step_latencies", step_latencies)
    return asked
