"""Training: segments, interruption and resumption, divergence, penalties, early stopping."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from edgernn.cells.stack import CELLS
from edgernn.models import RecurrentLM
from edgernn.tasks import find_task
from edgernn.tasks.settings import CellName
from edgernn.tasks.text.data import TextData
from edgernn.tasks.text.objective import evaluate
from edgernn.tasks.text.segments import Segments
from edgernn.tasks.text.settings import TextSettings
from edgernn.training import Run, Trainer, TrainingResult
from edgernn.training.checkpoint import Chances, Position, read_checkpoint, restore_checkpoint, save_checkpoint
from edgernn.training.curve import write_curve
from edgernn.training.regularization import penalty
from edgernn.training.tensors import read_tensors
from edgernn.training.trainer import read_metrics
from edgernn.training.window import Window
from edgernn_runtime.errors import DataError, InputError, OutputExistsError, RunError, TrainingError

TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 60
TASK = find_task("text")
CONFIG = TextSettings(
    hidden=16, layers=2, dropout=0.2, max_steps=24, batch=4, segment=16, valid_every=5, learning_rate=1e-2
)
DATA = TextData(TEXT, CONFIG)


def never() -> bool:
    return False


def after(steps: int) -> Callable[[], bool]:
    count = itertools.count(1)
    return lambda: next(count) >= steps


def new_run(folder: Path, config: TextSettings = CONFIG) -> Run:
    run = Run(folder, TASK, config, DATA.facts, DATA.sha256)
    run.create(DATA)
    return run


def train(run: Run, *, resume: bool = False, stop: Callable[[], bool] = never) -> TrainingResult:
    torch.set_num_threads(1)
    trainer = Trainer(run, DATA, resume=resume)
    return trainer.train(stop=stop, report=lambda _: None)


def same_outcome(left: Run, right: Run) -> bool:
    for name in ("checkpoint_file", "model_file"):
        before, after = read_tensors(getattr(left, name)), read_tensors(getattr(right, name))
        assert before.keys() == after.keys()
        if not all(torch.equal(before[key], after[key]) for key in before):
            return False
    timeless = [
        [{key: value for key, value in record.items() if key != "elapsed_s"} for record in read_metrics(run)]
        for run in (left, right)
    ]
    return timeless[0] == timeless[1]


@pytest.mark.parametrize("cut", [1, 5, 7, 23])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_an_interrupted_run_resumes_to_the_very_same_result(tmp_path: Path, cell: CellName, cut: int) -> None:
    config = replace(CONFIG, cell=cell)
    whole, parted = new_run(tmp_path / "whole", config), new_run(tmp_path / "parted", config)
    assert train(whole).position.step == 24
    assert train(parted, stop=after(cut)).interrupted
    torch.rand(5)  # another program's randomness in between
    assert train(parted, resume=True).position.finished
    assert same_outcome(whole, parted)


def test_a_run_killed_after_its_last_checkpoint_resumes_from_that_checkpoint(tmp_path: Path) -> None:
    whole, killed = new_run(tmp_path / "whole"), new_run(tmp_path / "killed")
    train(whole)
    train(killed, stop=after(7))
    checkpoint = killed.checkpoint_file.read_bytes()
    train(killed, resume=True, stop=after(6))  # steps 8 to 13, with a validation, then lost
    killed.checkpoint_file.write_bytes(checkpoint)
    with killed.metrics_file.open("a") as file:
        file.write('{"step": 1')  # a line cut short
    train(killed, resume=True)
    assert same_outcome(whole, killed)


def test_training_learns_and_records_how(tmp_path: Path) -> None:
    run = new_run(tmp_path, replace(CONFIG, max_steps=60, valid_every=20))
    result = train(run)
    records = read_metrics(run)
    assert [record["step"] for record in records] == [20, 40, 60]
    assert records[-1]["valid_loss"] < records[0]["valid_loss"] < math.log(DATA.corpus.codec.size)
    assert records[-1]["bits_per_token"] == pytest.approx(records[-1]["valid_loss"] / math.log(2))
    assert 0 < records[-1]["grad_norm_min"] <= records[-1]["grad_norm_median"] <= records[-1]["grad_norm_max"]
    assert result.position.best_loss == min(record["valid_loss"] for record in records)
    model = run.load_model()
    assert isinstance(model, RecurrentLM)
    with torch.inference_mode():
        assert evaluate(model, DATA.corpus.valid).loss == result.position.best_loss


def test_clipping_that_always_acts_says_so(tmp_path: Path) -> None:
    run = new_run(tmp_path, replace(CONFIG, clip_norm=1e-6))
    train(run)
    assert {record["clipped_share"] for record in read_metrics(run)} == {1.0}


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    run = new_run(tmp_path, replace(CONFIG, learning_rate=1e18, warmup=0.0))
    with pytest.raises(TrainingError, match="diverged at step"):
        train(run)
    tensors = read_tensors(run.checkpoint_file)
    assert all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name.startswith("model."))


def test_early_stopping_ends_a_run_that_makes_no_progress(tmp_path: Path) -> None:
    run = new_run(tmp_path, replace(CONFIG, learning_rate=1e-12, max_steps=1000, patience=3))
    torch.manual_seed(0)
    position = train(run).position
    assert position.finished
    assert position.step < 1000
    assert position.since_best == 3


def test_a_budget_in_seconds_ends_a_run(tmp_path: Path) -> None:
    run = new_run(tmp_path, replace(CONFIG, max_steps=None, max_seconds=0.5))
    position = train(run).position
    assert position.elapsed_s >= 0.5
    assert position.best_loss < math.inf


def test_a_longer_budget_continues_a_finished_run(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    train(run)
    assert train(run, resume=True).position.step == 24
    longer = replace(run, settings=replace(run.settings, max_steps=30))
    assert train(longer, resume=True).position.step == 30


def test_penalties_are_sums_of_absolute_values_and_of_squares() -> None:
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0]])]
    assert float(penalty(weights, l1=0.5, l2=0.0)) == pytest.approx(3.0)
    assert float(penalty(weights, l1=0.0, l2=0.5)) == pytest.approx(7.0)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_penalty_keeps_weights_small(tmp_path: Path, name: str) -> None:
    free, held = new_run(tmp_path / "free"), new_run(tmp_path / "held", replace(CONFIG, **{name: 0.1}))
    train(free)
    train(held)
    sizes = [sum(float(each.detach().abs().sum()) for each in run.load_model().parameters()) for run in (free, held)]
    assert sizes[1] < 0.9 * sizes[0]


def test_segments_follow_each_other_and_start_anew_with_each_epoch() -> None:
    tokens = np.arange(1000)
    segments = Segments(tokens, batch=3, length=10, seed=5)
    first, second = segments.at(0), segments.at(1)
    assert first.first
    assert not second.first
    assert torch.equal(first.targets, first.inputs + 1)
    assert torch.equal(second.inputs[0], first.targets[-1])
    assert segments.at(segments.per_epoch).first
    assert int(max(segments.at(step).targets.max() for step in range(3 * segments.per_epoch))) < 1000


def test_too_few_tokens_for_one_segment_are_refused() -> None:
    with pytest.raises(DataError, match="need 331; use more text"):
        Segments(np.arange(330), batch=32, length=10, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"batch": 1.5}, "batch must be an integer, got 1.5"),
        ({"batch": True}, "batch must be an integer, got True"),
        ({"l2": -1.0}, "l2 must be at least 0, got -1"),
        ({"warmup": 1.0}, "warmup must be at least 0 and below 1, got 1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0, got nan"),
        ({"cell": "other"}, "cell must be one of elman, elman-relu, lstm, gru, got 'other'"),
        ({"data": 3}, "data must be a path, got 3"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **changes)


def test_without_a_budget_there_is_a_default_one() -> None:
    assert (None, 150.0) == (TextSettings().max_steps, TextSettings().max_seconds)
    assert (7, None) == (TextSettings(max_steps=7).max_steps, TextSettings(max_steps=7).max_seconds)


def test_settings_come_back_from_their_json(tmp_path: Path) -> None:
    settings = replace(CONFIG, data=tmp_path / "text.txt")
    assert settings == TextSettings.from_json(json.loads(json.dumps(settings.to_json())))
    with pytest.raises(InputError, match="no setting colour"):
        TextSettings.from_json({"colour": 1})


def test_every_cell_can_be_chosen() -> None:
    assert get_args(CellName) == tuple(CELLS)


def test_a_run_survives_the_way_to_its_folder_and_back(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert Run.open(tmp_path) == run
    with pytest.raises(OutputExistsError):
        run.create(DATA)


def test_a_folder_that_holds_no_whole_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        Run.open(tmp_path)
    run = new_run(tmp_path / "run")
    with pytest.raises(RunError, match="is missing: no validation"):
        run.load_model()
    train(run)
    run.model_file.write_bytes(run.model_file.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        run.load_model()
    content = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(content | {"version": 99}))
    with pytest.raises(RunError, match="version 99"):
        Run.open(run.folder)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        Run.open(run.folder)


@pytest.mark.parametrize("keep", [10, 5000])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    run = new_run(tmp_path)
    train(run, stop=after(3))
    run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:keep])
    with pytest.raises(RunError, match="is damaged"):
        train(run, resume=True)


def test_the_loss_curve_is_a_picture(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    train(run)
    write_curve(run)
    assert run.curve_file.read_bytes().startswith(b"\x89PNG")


def test_weights_that_had_no_gradient_yet_go_on_where_a_task_says_so(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "idle": torch.nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(model.parameters())
    model["used"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(
        tmp_path / "c.safetensors", position=Position(step=1), model=model, optimizer=optimizer, state=(),
        chances=Chances(torch.get_rng_state(), ()), window=Window(),
    )  # fmt: skip
    found = read_checkpoint(tmp_path / "c.safetensors")
    restore_checkpoint(found, model=model, optimizer=optimizer, like=(), idle_weights=True)
    with pytest.raises(RunError, match="moments are missing"):
        restore_checkpoint(found, model=model, optimizer=optimizer, like=())
