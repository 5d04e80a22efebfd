"""How good forecasts are, by how gaps are met, against the seasonal naive forecast.

    python recipes/series.py -o FOLDER [--series co2 sunspots] [--gaps mask last ...] [--drop 0 0.3] [--steps 400]

Of each series the last tenth is kept for this judgement alone: a model is trained and chosen on the rows before it.
From several origins in the last tenth the exported model and the naive forecast look ahead, both from the same known
values. The best model of each series is quantized, profiled and verified.
"""

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray
from road import edgernn

from edgernn.artefacts.forecast import QUANTILES, draw_forecast, forecast, series_codec
from edgernn.tasks.series.builtin import SeriesName, builtin_series
from edgernn.tasks.series.frames import drop_values
from edgernn.tasks.series.scores import naive_errors, pinball_loss, seasonal_naive
from edgernn_runtime import Model, load
from edgernn_runtime.codecs.gaps import fill_last
from edgernn_runtime.codecs.series import Gaps

Values = NDArray[np.float32]

SEASONS: Final = {"co2": 52, "sunspots": 11}
SETTINGS: Final = {"co2": [], "sunspots": ["--hidden", "4", "--dropout", "0.5", "--learning-rate", "0.02"]}
"""Options of each series, chosen by forecasts of rows that are neither trained on nor judged."""

DRIFT: Final = {"float32": None, "int8": 0.1, "int4": 0.25}
"""How far a precision may drift, as a share of the seasonal naive forecast's error; None for verify's own limit."""

EVERY: Final = {"co2": 4, "sunspots": 2}
ORIGINS: Final = 10
SAMPLES: Final = 100
SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A series, its last tenth kept apart, and what of it is known."""

    series: SeriesName
    true: Values
    known: Values
    drop: float

    @property
    def season(self) -> int:
        """Rows in a period, and the horizon."""
        return SEASONS[self.series]

    @property
    def judged(self) -> int:
        """The first row that is for the judgement alone."""
        return len(self.true) - max(len(self.true) // 10, self.season)

    @property
    def origins(self) -> list[int]:
        """Lengths of the histories that forecasts start behind."""
        last = len(self.true) - self.season
        return sorted({round(origin) for origin in np.linspace(self.judged, last, ORIGINS)})


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of forecasts.

    Attributes:
        mase: Mean absolute errors of medians, over those of the seasonal naive forecast within the training rows.
        pinball: The mean pinball loss of five quantiles.
        covered: The share of true values between the lowest quantile and the highest.
    """

    mase: float
    pinball: float
    covered: float


def main() -> None:
    """Train, judge, and print tables."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.series:
        best: dict[float, tuple[float, Path]] = {}
        print(f"\n{name}\n\n| removed | gaps | MASE | pinball | in 5-95 % | training |\n|---|---|---|---|---|---|")
        for drop in options.drop:
            case = _case(name, drop)
            for drift in (False, True):
                naive = [_naive(case, origin, drift=drift) for origin in case.origins]
                _row(case, f"(seasonal naive{' with drift' if drift else ''})", _judge(case, naive), "")
            linear = _judge(case, [_autoregression(case, origin) for origin in case.origins])
            print(f"| {drop:.0%} | (linear autoregression) | {linear.mase:.3f} | | | |")
            for gaps in options.gaps:
                run = options.output / f"{name}-{drop:g}-{gaps}"
                took = _train(case, gaps, run, options)
                model = load(run / "model.onnx")
                found = _judge(case, [_model_forecast(case, model, origin) for origin in case.origins])
                best[drop] = min(best.get(drop, (np.inf, run)), (found.mase, run))
                _row(case, gaps, found, took)
        run = best[min(best)][1]
        _deploy(_case(name, min(best)), run)
        _draw(_case(name, min(best)), run, options.output / f"series-{name}.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--series", nargs="+", choices=get_args(SeriesName), default=get_args(SeriesName))
    parser.add_argument("--gaps", nargs="+", choices=get_args(Gaps), default=get_args(Gaps))
    parser.add_argument("--drop", nargs="+", type=float, default=[0.0, 0.3])
    parser.add_argument("--steps", type=int, default=400, help="the budget of each training")
    return parser.parse_args()


def _case(name: SeriesName, drop: float) -> Case:
    true = builtin_series(name).values
    return Case(name, true, drop_values(true, drop, SEED), drop)


def _train(case: Case, gaps: Gaps, run: Path, options: argparse.Namespace) -> str:
    """Train and export a model on the rows before the judged ones, and return what that took."""
    if not (run / "model.onnx").exists():
        table = options.output / f"{case.series}.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([[case.series], *case.true[: case.judged].tolist()])
        length = ["--season", str(case.season), "--horizon", str(case.season), "--max-steps", str(options.steps)]
        meet = ["--gaps", gaps, *(["--every", str(EVERY[case.series])] if gaps == "resample" else [])]
        drop = ["--drop", str(case.drop), "--seed", str(SEED)]
        before = time.monotonic()
        own = ["--threads", 1, "-o", run]
        edgernn("train", "series", "--data", table, *length, *meet, *drop, *SETTINGS[case.series], *own)
        (run / "seconds").write_text(f"{time.monotonic() - before:.0f}")
        edgernn("export", run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = min(records, key=lambda record: record["valid_loss"])
    return f"{(run / 'seconds').read_text()} s, best at step {best['step']}"


def _model_forecast(case: Case, model: Model, origin: int) -> Values:
    return forecast(model, case.known[:origin], horizon=case.season, samples=SAMPLES)


def _naive(case: Case, origin: int, *, drift: bool) -> Values:
    """Return the seasonal naive forecast; its quantiles are those of the errors that it made in the training rows.

    With drift, the median of those errors is added, else it is taken off them.
    """
    history = case.known[:origin]
    filled = fill_last(history, np.nanmean(history, axis=0))
    point = seasonal_naive(filled, case.season, case.season)
    errors = filled[case.season : case.judged] - filled[: case.judged - case.season]
    centre = 0.0 if drift else np.median(errors, axis=0)
    spread = np.quantile(errors - centre, QUANTILES, axis=0).T  # [columns, quantiles]
    return np.asarray(point[..., None] + spread, np.float32)


def _autoregression(case: Case, origin: int) -> Values:
    """Return the forecast of a linear autoregression over one season, fitted by least squares; it has no spread."""
    line = fill_last(case.known[:origin], np.nanmean(case.known[:origin], axis=0))[:, 0].astype(np.float64)
    train, order = line[: case.judged], case.season
    rows = np.lib.stride_tricks.sliding_window_view(train, order + 1)
    weights = np.linalg.lstsq(_with_constant(rows[:, :-1]), rows[:, -1])[0]
    for _ in range(case.season):
        line = np.append(line, _with_constant(line[None, -order:]) @ weights)
    return np.repeat(line[origin:, None, None], len(QUANTILES), axis=2).astype(np.float32)


def _with_constant(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([rows, np.full((len(rows), 1), 100.0)], axis=1)


def _judge(case: Case, forecasts: list[Values]) -> Score:
    quantiles = np.stack(forecasts)
    truth = np.stack([case.true[origin : origin + case.season] for origin in case.origins])
    scale = naive_errors(case.true[: case.judged], case.season)
    errors = np.abs(truth - quantiles[..., QUANTILES.index(0.5)]) / scale
    inside = (truth >= quantiles[..., 0]) & (truth <= quantiles[..., -1])
    return Score(
        float(np.nanmean(errors)), pinball_loss(quantiles, truth, QUANTILES), float(inside[~np.isnan(truth)].mean())
    )


def _row(case: Case, name: str, score: Score, took: str) -> None:
    figures = f"{score.mase:.3f} | {score.pinball:.3f} | {score.covered:.0%}"
    print(f"| {case.drop:.0%} | {name} | {figures} | {took} |", flush=True)


def _deploy(case: Case, run: Path) -> None:
    """Quantize the best model, and print what each precision costs, gains, and drifts."""
    models = {"float32": run / "model.onnx"}
    for precision in ("int8", "int4"):
        models[precision] = run / f"model.{precision}.onnx"
        if not models[precision].exists():
            edgernn("quantize", models["float32"], "--precision", precision)
    timed = edgernn("profile", *models.values())["models"]
    scale = float(naive_errors(case.true[: case.judged], case.season)[0])
    print(f"\n{run.name}\n")
    print(
        "| precision | bytes | step p50, us | MASE | pinball | largest drift | verify |\n|---|---|---|---|---|---|---|"
    )
    for (precision, path), profile in zip(models.items(), timed, strict=True):
        score = _judge(case, [_model_forecast(case, load(path), origin) for origin in case.origins])
        share = DRIFT[precision]
        gate = [] if share is None else ["--max-drift", f"{share * scale:.3g}"]
        report = edgernn("verify", path, "--against", run, *gate, gate=True)
        figures = f"{profile['step_us']['p50']:.1f} | {score.mase:.3f} | {score.pinball:.3f}"
        drift = report["teacher_forced"]["max_abs"]
        verdict = " ".join(["passed" if report["passed"] else "failed", *gate])
        print(f"| {precision} | {path.stat().st_size:,} | {figures} | {drift:.1e} | {verdict} |", flush=True)


def _draw(case: Case, run: Path, path: Path) -> None:
    model, origin = load(run / "model.onnx"), case.origins[0]
    quantiles = _model_forecast(case, model, origin)
    truth = case.true[origin : origin + case.season]
    draw_forecast(path, series_codec(model), case.known[:origin], quantiles, truth, overwrite=True)


if __name__ == "__main__":
    main()
