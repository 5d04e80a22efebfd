"""The series task: reading tables, models with gaps, training, export and forecasts."""

import csv
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from edgernn.artefacts import forecast as artefact
from edgernn.artefacts.forecast import QUANTILES, draw_forecast, forecast, write_forecast_csv
from edgernn.cli.app import app
from edgernn.models.series import SeriesConfig, SeriesDistribution, SeriesModel, SeriesStep
from edgernn.tasks import find_task
from edgernn.tasks.series.builtin import builtin_series
from edgernn.tasks.series.data import SeriesData
from edgernn.tasks.series.frames import drop_values, make_frames
from edgernn.tasks.series.objective import nats, predicted_quantiles
from edgernn.tasks.series.scores import naive_errors, pinball_loss, seasonal_naive
from edgernn.tasks.series.settings import SeriesSettings
from edgernn.tasks.series.table import Series, read_series
from edgernn.tasks.settings import CellName
from edgernn.training import Run, Trainer
from edgernn_export import TorchEngine, export
from edgernn_export.likelihood import mean_nats
from edgernn_runtime import Model, load
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.codecs.series import Gaps
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import DataError, InputError, MissingExtraError, OutputExistsError, RunError

Values = NDArray[np.float32]

TASK = find_task("series")
TINY = SeriesSettings(
    season=6,
    horizon=6,
    hidden=8,
    batch=4,
    window=24,
    max_steps=3,
    valid_every=3,
    dropout=0.0,
    weight_decay=0.01,
    data=Path("none.csv"),
)
CODEC = SeriesCodec(("level", "flow"), "mask", (330.0, 5.0))
CONFIG = SeriesConfig(
    cell="gru", hidden=8, layers=2, season=4, means=CODEC.means, deviations=(10.0, 2.0), changes=(0.5, 0.4)
)


def waves(rows: int = 240, *, missing: float = 0.1, columns: int = 1) -> Values:
    steps = np.arange(rows)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.1, (rows, columns))
    values = 50 + 0.02 * steps + 3 * np.sin(2 * np.pi * steps / 6 + np.arange(columns)) + noise
    return drop_values(values.astype(np.float32), missing, seed=1)


def make_model(config: SeriesConfig = CONFIG) -> SeriesModel:
    torch.manual_seed(0)
    model = SeriesModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def gappy(steps: int, batch: int) -> torch.Tensor:
    torch.manual_seed(1)
    values = torch.randn(steps, batch, 2) * 3 + torch.tensor(CODEC.means)
    values[torch.rand(values.shape) < 0.3] = torch.nan
    values[:4, 0] = torch.nan  # nothing is known at first
    values[10:15] = torch.nan
    return values


def train(folder: Path, series: Series, settings: SeriesSettings = TINY) -> Run:
    torch.set_num_threads(1)
    data = SeriesData(series, settings)
    run = Run(folder, TASK, settings, data.facts, data.sha256)
    run.create(data)
    Trainer(run, data, resume=False).train(stop=lambda: False, report=lambda _: None)
    return run


def export_run(run: Run) -> Model:
    modules: Any = run.step_modules()
    export(modules, run.folder / "model.onnx")
    return load(run.folder / "model.onnx")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    settings = replace(TINY, gaps="last", max_steps=150, valid_every=50, learning_rate=2e-2)
    return export_run(train(tmp_path_factory.mktemp("run"), Series(("wave",), waves()), settings))


@pytest.mark.parametrize("distribution", get_args(SeriesDistribution))
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_scan_over_a_series_with_gaps_equals_its_steps(cell: CellName, distribution: SeriesDistribution) -> None:
    model = make_model(replace(CONFIG, cell=cell, distribution=distribution))
    values, state = gappy(50, 3), model.init(3)
    with torch.inference_mode():
        before, middle = model.scan(values[:12], state)  # cut within a gap
        behind, last = model.scan(values[12:], middle)
        stepped = []
        for frame in values:
            params, state = model.step(frame, state)
            stepped.append(params)
    torch.testing.assert_close(torch.stack(stepped), torch.cat([before, behind]), atol=1e-4, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-4, rtol=0)


def test_a_scan_without_gaps_equals_its_steps() -> None:
    model, values = make_model(), torch.nan_to_num(gappy(30, 2), nan=3.0)
    state = model.init(2)
    with torch.inference_mode():
        scanned, last = model.scan(values, state)
        for frame in values:
            params, state = model.step(frame, state)
    torch.testing.assert_close(params, scanned[-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-4, rtol=0)


def test_the_cells_keep_their_state_across_a_gap_and_count_its_steps() -> None:
    model = make_model()
    with torch.inference_mode():
        _, before = model.scan(torch.full((5, 1, 2), 7.0), model.init(1))
        _, after = model.scan(torch.full((9, 1, 2), torch.nan), before)
        _, part = model.step(torch.tensor([[1.0, torch.nan]]), before)
    for kept, cell in zip(before[2:], after[2:], strict=True):
        assert torch.equal(kept, cell)
    assert after[1].tolist() == [[9, 9]]
    assert part[1].tolist() == [[0, 1]]
    assert not torch.equal(part[2], before[2])


def test_before_any_value_the_training_means_stand_and_the_first_value_fills_the_season() -> None:
    model = SeriesModel(CONFIG).eval()  # new models expect what came last
    with torch.inference_mode():
        params, state = model.step(torch.full((1, 2), torch.nan), model.init(1))
        assert params[0, :, 0].tolist() == list(CODEC.means)
        _, state = model.step(torch.tensor([[300.0, torch.nan]]), state)
    assert state[0][0].tolist() == [[300.0, 5.0]] * 4
    assert state[1].tolist() == [[0, -1]]


def test_a_mean_moves_by_ten_typical_changes_at_most_and_deviations_are_bounded() -> None:
    model = make_model()
    values = torch.randn(60, 2, 2) * 1e4
    with torch.inference_mode():
        params, _ = model.scan(values, model.init(2))
        moved = (params[..., 0] - values).abs() / model.changes
        logs = params[..., 1] - model.changes.log()
    assert 9.9 < float(moved.max()) < 10.1
    assert -7.01 < float(logs.min()) < float(logs.max()) < 3.01


@pytest.mark.parametrize("distribution", get_args(SeriesDistribution))
def test_an_exported_model_equals_torch_over_hundreds_of_steps_with_gaps(
    tmp_path: Path, distribution: SeriesDistribution
) -> None:
    step = SeriesStep(make_model(replace(CONFIG, distribution=distribution)), CODEC)
    export(step, tmp_path / "model.onnx")
    source, device = TorchEngine(step).executor(1), OrtEngine(tmp_path / "model.onnx").executor(1)
    worst = 0.0
    for frame in gappy(400, 1).numpy():
        for executor in (source, device):
            executor.inputs["value"][...] = frame
            executor.run()
        worst = max(worst, float(np.abs(source.outputs["params"] - device.outputs["params"]).max()))
    assert worst <= 1e-3
    assert [tuple(array.shape) for array in device.read_state()][:2] == [(1, 4, 2), (1, 2)]


@pytest.mark.parametrize(
    ("gaps", "distribution"), [*((gaps, "gaussian") for gaps in get_args(Gaps)), ("mask", "logistic_mixture")]
)
def test_every_way_to_meet_gaps_trains_and_its_exported_model_has_the_loss_of_the_run(
    tmp_path: Path, gaps: Gaps, distribution: SeriesDistribution
) -> None:
    settings = replace(TINY, gaps=gaps, every=2 if gaps == "resample" else None, distribution=distribution)
    series = Series(("wave", "other"), waves(columns=2))
    run = train(tmp_path, series, settings)
    data = SeriesData(series, settings)
    with torch.inference_mode():
        loss = TASK.evaluate(run.load_model(), data).loss
    model = export_run(run)
    recording = data.recordings("valid")["model"]
    assert mean_nats(OrtEngine(tmp_path / "model.onnx"), recording) == pytest.approx(loss, abs=1e-3)
    found = forecast(model, series.values, horizon=9, samples=8)
    assert found.shape == (9, 2, 5)
    assert bool(np.isfinite(found).all())
    assert artefact.series_codec(model).gaps == gaps


def test_a_series_a_thousand_times_as_large_is_forecast_alike(tmp_path: Path) -> None:
    values = waves()
    settings = replace(TINY, max_steps=20)
    small, large = (
        forecast(
            export_run(train(tmp_path / str(scale), Series(("wave",), values * np.float32(scale)), settings)),
            values * np.float32(scale),
            horizon=6,
            samples=30,
        )
        for scale in (1, 1000)
    )
    np.testing.assert_allclose(large / 1000, small, rtol=1e-3)


def test_training_learns_the_season(trained: Model) -> None:
    values = waves()
    found = forecast(trained, values[:228], horizon=12, samples=50)[:, 0]
    truth = waves(missing=0.0)[228:, 0]
    assert np.abs(found[:, 2] - truth).mean() < 0.5 * np.abs(truth - truth.mean()).mean()


def test_quantiles_of_a_forecast_are_ordered_and_repeat_with_the_seed(trained: Model) -> None:
    history = waves()
    first, again, other = (forecast(trained, history, horizon=8, samples=20, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert bool((np.diff(first, axis=-1) >= 0).all())
    assert first.dtype == np.float32


def test_a_forecast_reaches_across_a_gap_at_the_end_of_the_history(trained: Model) -> None:
    lost = waves(missing=0.0)
    lost[-2:] = np.nan
    late, early = (forecast(trained, each, horizon=1, samples=50) for each in (lost, lost[:-2]))
    assert bool(np.isfinite(late).all())
    assert not np.array_equal(late, early)


def test_forecast_names_what_it_cannot_take(trained: Model) -> None:
    with pytest.raises(InputError, match="horizon and samples must be positive, got 0 and 100"):
        forecast(trained, waves(), horizon=0)
    with pytest.raises(InputError, match="must have the columns wave"):
        forecast(trained, waves(columns=2), horizon=3)
    with pytest.raises(InputError, match="too short"):
        forecast(trained, waves()[:0], horizon=3)


def test_steps_of_resampled_and_thinned_series_lie_where_their_rows_do() -> None:
    resampled = artefact._calendar(replace(CODEC, gaps="resample", every=4), waves(), 8)
    assert resampled.rows(np.arange(resampled.steps + 1, dtype=np.float32)[:, None])[:, 0].tolist() == pytest.approx(
        [(row + 1.5) / 4 for row in range(1, 9)]
    )
    history = np.array([[1], [np.nan], [2], [np.nan]], np.float32)
    thinned = artefact._calendar(replace(CODEC, gaps="delete"), history, 4)
    assert (thinned.last, thinned.pitch, thinned.steps) == (-1.0, 2.0, 3)


def test_a_forecast_is_written_as_csv_and_png(tmp_path: Path, trained: Model) -> None:
    history = waves()
    quantiles = forecast(trained, history, horizon=4, samples=10)
    codec = artefact.series_codec(trained)
    text = StringIO()
    write_forecast_csv(text, codec, quantiles)
    rows = list(csv.reader(text.getvalue().splitlines()))
    assert rows[0] == ["step", *(f"wave {level}" for level in ("5%", "25%", "50%", "75%", "95%"))]
    np.testing.assert_allclose(np.array(rows[1:], float)[:, 1:], quantiles[:, 0], rtol=1e-6)
    write_forecast_csv(tmp_path / "forecast.csv", codec, quantiles)
    assert (tmp_path / "forecast.csv").read_text() == text.getvalue()
    with pytest.raises(OutputExistsError):
        write_forecast_csv(tmp_path / "forecast.csv", codec, quantiles)
    draw_forecast(tmp_path / "forecast.png", codec, history, quantiles, history[:4])
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels.datasets.co2", None)
    with pytest.raises(MissingExtraError, match=r"install edgernn\[tasks\]"):
        builtin_series("co2")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"install edgernn\[report\]"):
        draw_forecast(tmp_path / "x.png", CODEC, waves(columns=2), np.zeros((3, 2, 5), np.float32))


def test_the_built_in_series_have_their_known_sizes_and_gaps() -> None:
    co2, sunspots = builtin_series("co2").values, builtin_series("sunspots").values
    assert (co2.shape, int(np.isnan(co2).sum())) == ((2284, 1), 59)
    assert (sunspots.shape, int(np.isnan(sunspots).sum())) == ((309, 1), 0)


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_table_gives_its_columns_of_numbers_and_leaves_out_times_and_text(tmp_path: Path) -> None:
    path = write(tmp_path, "date,a,b,note\n2001-01-01,1,NA,x\n2001-01-02,nan,2.5,y\n2001-01-03,3,,\n")
    series = read_series(path)
    assert (series.columns, series.left_out) == (("a", "b"), ("date", "note"))
    assert np.array_equal(
        series.values, np.array([[1, np.nan], [np.nan, 2.5], [3, np.nan]], np.float32), equal_nan=True
    )
    assert read_series(path, ["b"]).columns == ("b",)


@pytest.mark.parametrize("header", ["n,a", ",a", "Year,a"])
def test_an_index_is_left_out(tmp_path: Path, header: str) -> None:
    assert read_series(write(tmp_path, f"{header}\n3,4\n5,1\n7,2\n")).columns == ("a",)


def rows(text: str, count: int = 60) -> str:
    return "t,a\n" + "".join(text.format(i=i) + "\n" for i in range(count))


BAD = {
    "text in a column": (rows("{i},1") + "60,oops\n", "line 62: column a holds 'oops', which is no number"),
    "infinite": (rows("{i},1") + "60,inf\n", "line 62: column a holds inf, which is infinite"),
    "no rows": ("t,a\n", "has no rows of values"),
    "empty": ("", "has no rows of values"),
    "no names": ("1,2\n3,4\n", "must start with a line of column names"),
    "no numbers": ("name,a\nx,y\nz,w\n", "holds no column of numbers; it has name, a"),
    "wholly missing": (rows("{i},"), "column a holds no value at all"),
    "too short": (rows("{i},1", 12), "the series has 12 rows; 6 are held out, and a season of 6 needs 14 more"),
    "ragged": (rows("{i},1") + "60,1,2\n", "line 62: 3 cells, but there are 2 columns"),
    "missing where it is trained on": (
        rows("{i},", 54) + rows("{i},1", 6)[4:],
        "column a has no value in the training",
    ),
    "twice": ("a,a\n1,2\n", "two columns of one name"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_tables_have_an_error_of_one_line_and_leave_no_run(tmp_path: Path, text: str, message: str) -> None:
    arguments = ["train", "series", "--data", str(write(tmp_path, text)), "--season", "6", "--horizon", "6"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "run")])
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_unreadable_tables_and_unknown_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read: No such file"):
        read_series(tmp_path / "none.csv")
    with pytest.raises(DataError, match="could not be read"):
        read_series(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 9)
    with pytest.raises(DataError, match="no CSV file in UTF-8"):
        read_series(tmp_path / "binary.csv")
    with pytest.raises(DataError, match="has no column c; it has t, a"):
        read_series(write(tmp_path, rows("{i},1")), ["c"])


def test_every_is_for_resampling_alone() -> None:
    with pytest.raises(InputError, match="every is for gaps that are met by resample, not by mask"):
        SeriesSettings(every=2)


def test_a_run_whose_facts_are_damaged_says_so() -> None:
    facts = SeriesData(Series(("wave",), waves()), TINY).facts
    changed: list[dict[str, Any]] = [{"season": 0}, {"changes": [1.0, 2.0]}, {"deviations": [0.0]}]
    for change in changed:
        with pytest.raises(RunError, match=f"the run's {next(iter(change))} must be"):
            TASK.model(TINY, {**facts, **change})


def test_windows_are_a_function_of_seed_and_step_and_hide_inputs_alone() -> None:
    data, again = (SeriesData(Series(("wave",), waves(missing=0.0)), TINY) for _ in range(2))
    first, same, other = data.windows.at(5), again.windows.at(5), data.windows.at(6)
    assert torch.equal(first.inputs.isnan(), same.inputs.isnan())
    assert not torch.equal(first.inputs.isnan(), other.inputs.isnan())
    assert 0 < float(first.inputs.isnan().float().mean()) < 0.5
    assert bool(first.targets[:6].isnan().all())
    assert not bool(first.targets[6:].isnan().any())


def test_nothing_held_out_is_seen_in_training_and_dropped_values_are_not_either() -> None:
    values = waves(missing=0.0)
    data = SeriesData(Series(("wave",), values), replace(TINY, drop=0.3, hide=0.0))
    seen = {float(number) for step in range(50) for number in data.windows.at(step).inputs.flatten()}
    hidden = {float(number) for number in values[data.train_rows :, 0]}
    dropped = {float(number) for number in values[np.isnan(data.fed[:, 0]), 0]}
    assert not seen & (hidden | dropped)
    assert 0.2 < np.isnan(data.fed).mean() < 0.4
    recording = data.recordings("valid")["model"]
    assert recording.targets is not None
    assert not np.isnan(recording.targets[recording.scored]).any()  # scored are the true values


def test_targets_follow_their_frames_and_a_bridged_gap_has_none() -> None:
    values = np.array([[1.0], [np.nan], [3.0], [4.0], [5.0]], np.float32)

    def made(gaps: Gaps, every: int = 1) -> tuple[list[float], list[float], list[int]]:
        frames = make_frames(SeriesCodec(("a",), gaps, (9.0,), every), values, values)
        return frames.inputs[:, 0].tolist(), np.nan_to_num(frames.targets[:, 0], nan=-1).tolist(), frames.rows.tolist()

    assert made("last") == ([1, 1, 3, 4], [-1, 3, 4, 5], [0, 1, 2, 3])
    assert made("interpolate") == ([1, 2, 3, 4], [-1, -1, 4, 5], [0, 1, 2, 3])
    assert made("delete") == ([1, 3, 4], [3, 4, 5], [0, 2, 3])
    assert made("resample", 2) == ([3], [4.5], [2])


def test_scores_are_those_of_their_definitions() -> None:
    values = np.array([[1.0], [2.0], [4.0], [np.nan], [5.0]], np.float32)
    assert naive_errors(values, 2).tolist() == [2.0]  # |4 - 1| and |5 - 4|
    assert seasonal_naive(values[:3], 2, 3).ravel().tolist() == [2, 4, 2]
    assert pinball_loss(np.array([[0.0, 2.0]], np.float32), np.array([1.0], np.float32), (0.1, 0.9)) == pytest.approx(
        0.1
    )


def test_likelihoods_and_quantiles_agree_with_sums_over_a_grid() -> None:
    params = torch.tensor([[[[0.3, -1.0, -0.5], [0.1, 2.0, 0.2]]]])
    grid = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    density = torch.exp(-nats(params[0].double().expand(len(grid), 2, 3), grid))
    assert float(density.sum() * (grid[1] - grid[0])) == pytest.approx(1, abs=1e-3)
    shares = density.cumsum(0) * (grid[1] - grid[0])
    for level, found in zip(QUANTILES, predicted_quantiles(params, QUANTILES)[0, 0], strict=True):
        assert float(grid[int((shares > level).nonzero()[0])]) == pytest.approx(float(found), abs=1e-2)
