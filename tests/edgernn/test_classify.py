"""The classify task: its .ts files, its padding, both of its heads, and the model on the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgernn.artefacts.decisions import decide, draw_decisions
from edgernn.cells.stack import CELLS
from edgernn.cli import main
from edgernn.models import FrameModel
from edgernn.tasks import MODEL, find_task
from edgernn.tasks.classify import LabelledSeries, digits, hold_out, read_series, vowels
from edgernn.tasks.classify.batches import Batch
from edgernn.tasks.classify.data import ClassifyData
from edgernn.tasks.classify.objective import batch_loss, evaluate, label_nats
from edgernn.tasks.classify.settings import ClassifySettings
from edgernn.tasks.settings import CellName
from edgernn.training import Run, Trainer
from edgernn_export import export
from edgernn_export.likelihood import mean_nats
from edgernn_runtime import LabelCodec, Model, load
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.errors import DataError, InputError, RunError

TASK = find_task("classify")
HEADS: tuple[Literal["softmax", "sigmoid"], ...] = ("softmax", "sigmoid")
HEADER = "# waves\n@problemName waves\n@timeStamps false\n@classLabel true up down\n@data\n"


def waves(count: int = 40, channels: int = 3) -> LabelledSeries:
    """Ramps that go up or down, from 2 to 12 steps, with noise."""
    rng = np.random.default_rng(4)
    labels = [("up", "down")[i % 2] for i in range(count)]
    sequences = []
    for label in labels:
        steps = int(rng.integers(2, 13))
        ramp = np.linspace(0, 1 if label == "up" else -1, steps)[:, None] * [5.0, 0.5, 1.0][:channels]
        sequences.append((ramp + 100 + 0.1 * rng.standard_normal(ramp.shape)).astype(np.float32))
    return LabelledSeries(tuple(sequences), tuple(labels))


def to_text(series: LabelledSeries) -> str:
    rows = [
        ":".join([*(",".join(map(str, channel)) for channel in sequence.T.tolist()), label])
        for sequence, label in zip(series.sequences, series.labels, strict=True)
    ]
    return HEADER + "\n".join(rows) + "\n"


def settings(**values: Any) -> ClassifySettings:
    common: dict[str, Any] = {"hidden": 16, "batch": 8, "max_steps": 60, "valid_every": 60, "learning_rate": 2e-2}
    return ClassifySettings(**common | values)


def trained(folder: Path, told: ClassifySettings) -> Run:
    torch.set_num_threads(1)
    data = TASK.read(told)
    run = Run(folder, TASK, told, data.facts, data.sha256)
    run.create(data)
    Trainer(run, data, resume=False).train(stop=lambda: False, report=lambda _: None)
    return run


def tiny(cell: str = "gru", *, labels: int = 3) -> FrameModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FrameModel(
            cell,
            mean=[100.0, 0.0],
            deviation=[5.0, 0.1],
            hidden=16,
            layers=2,
            output=(labels,),
            distribution="categorical",
            codec=LabelCodec(tuple(map(str, range(labels)))),
        ).eval()


def frames_of(steps: int, batch: int) -> torch.Tensor:
    noise = torch.randn(steps, batch, 2, generator=torch.Generator().manual_seed(1))
    return noise * torch.tensor([5.0, 0.1]) + torch.tensor([100.0, 0.0])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "waves.ts"
    path.write_text(to_text(waves()), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=HEADS)
def run(request: pytest.FixtureRequest, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    told = settings(data=file, head=request.param)
    return trained(tmp_path_factory.mktemp("run") / request.param, told)


@pytest.fixture(scope="module")
def model(run: Run) -> Model:
    step = run.step_modules()
    assert isinstance(step, FrameModel)
    return load(export(step, run.folder / "model.onnx").path)


@pytest.mark.parametrize("cell", get_args(CellName))
def test_reading_at_once_equals_reading_step_by_step(cell: str) -> None:
    assert cell in CELLS
    model, frames = tiny(cell), frames_of(9, 4)
    at_once, last = model.scan(frames, model.init(4))
    state = model.init(4)
    for t, frame in enumerate(frames):
        logits, state = model.step(frame, state)
        torch.testing.assert_close(logits, at_once[t])
    for one, other in zip(state, last, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_padded_changes_neither_loss_nor_accuracy(head: Literal["softmax", "sigmoid"]) -> None:
    model, frames = tiny(), frames_of(9, 3)
    batch = Batch(frames, torch.tensor([9, 4, 6]), torch.tensor([0, 1, 2]))
    behind = torch.arange(14).unsqueeze(1) >= batch.lengths
    longer = torch.cat([frames, torch.zeros(5, 3, 2)]).masked_fill(behind.unsqueeze(2), 1e3)
    padded = Batch(longer, batch.lengths, batch.labels)
    torch.testing.assert_close(
        batch_loss(model, batch, head=head, noise=0.0), batch_loss(model, padded, head=head, noise=0.0)
    )
    with torch.inference_mode():
        plain, behind_padding = (evaluate(model, each, head=head) for each in (batch, padded))
    assert plain.metrics == behind_padding.metrics
    assert plain.loss == pytest.approx(behind_padding.loss)


def test_the_loss_weighs_each_step_by_how_late_it_is() -> None:
    model, frames = tiny(), frames_of(4, 1)
    logits, _ = model.scan(frames, model.init(1))
    nats = label_nats(logits, torch.ones(4, 1, dtype=torch.int64), "softmax")[:, 0]
    expected = (nats * torch.tensor([0.1, 0.2, 0.3, 0.4])).sum()
    loss = batch_loss(model, Batch(frames, torch.tensor([4]), torch.tensor([1])), head="softmax", noise=0.0)
    torch.testing.assert_close(loss, expected)


def test_an_epoch_reads_every_sequence_once_and_the_next_one_in_another_order() -> None:
    series = waves(12)
    data = ClassifyData(series, series, settings(batch=4))
    epochs = [torch.cat([data.train.at(3 * epoch + i).lengths for i in range(3)]) for epoch in range(2)]
    assert sorted(epochs[0].tolist()) == sorted(epochs[1].tolist()) == sorted(map(len, series.sequences))
    assert not torch.equal(epochs[0], epochs[1])


def test_a_file_of_sequences_of_varying_length_is_read_as_it_was_written(file: Path) -> None:
    written, read = waves(), read_series(file)
    assert written.labels == read.labels
    assert len({len(sequence) for sequence in read.sequences}) > 5
    for one, other in zip(written.sequences, read.sequences, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_tenth_of_every_label_is_held_out() -> None:
    train, held = hold_out(waves(60), 0.1, seed=0)
    assert (27, 27, 3, 3) == tuple(part.labels.count(label) for part in (train, held) for label in ("up", "down"))


def test_labels_that_are_numbers_are_sorted_by_size() -> None:
    series = waves(3)
    numbered = LabelledSeries(series.sequences, ("10", "9", "2"))
    assert ("2", "9", "10") == ClassifyData(numbered, numbered, settings()).labels


def test_the_vowels_and_the_digits_have_the_sizes_that_were_published() -> None:
    (train, test), (digits_train, digits_test) = vowels(), digits()
    assert (270, 370, 12, 9) == (len(train.labels), len(test.labels), train.channels, len(set(train.labels)))
    assert (7, 29) == tuple(f(map(len, [*train.sequences, *test.sequences])) for f in (min, max))
    assert 1797 == len(digits_train.labels) + len(digits_test.labels)
    assert {(8, 8)} == {sequence.shape for sequence in digits_train.sequences}
    assert 1.0 == max(float(sequence.max()) for sequence in digits_test.sequences)


BAD = {
    "no line @data": ("@problemName x\n1,2:up\n", "no line @data"),
    "no sequences": (HEADER, "holds no sequences"),
    "no labels": (HEADER.replace("true up down", "false") + "1,2:3,4\n", "holds no class labels"),
    "time stamps": (HEADER.replace("Stamps false", "Stamps true") + "(0,1):up\n", "time stamps"),
    "one class": (HEADER + "1,2:3,4:up\n" * 4, "every sequence is labelled up"),
    "a gap": (HEADER + "1,2:3,4:up\n1,?:3,4:down\n", "line 7 holds what is no number"),
    "NaN": (HEADER + "1,2:3,4:up\n1,NaN:3,4:down\n", "line 7 holds nan"),
    "infinity": (HEADER + "1,2:3,-inf:up\n1,2:3,4:down\n", "line 6 holds -inf"),
    "too large a number": (HEADER + "1,2:3,1e60:up\n1,2:3,4:down\n", "line 6 holds inf"),
    "other channels": (HEADER + "1,2:3,4:up\n1,2:down\n", "line 7 has 1 channels"),
    "channels of other lengths": (HEADER + "1,2:3,4,5:up\n", "line 6 has channels of 2 and of 3"),
    "no label": (HEADER + "1,2:3,4:\n", "line 6 has no label"),
    "one sequence of a label": (HEADER + "1,2:up\n1,3:up\n1,2:down\n", "label down has one sequence only"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_series_are_one_line_on_stderr_and_leave_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path, folder = tmp_path / "bad.ts", tmp_path / "run"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["edgernn", "train", "classify", "--data", str(path), "-o", str(folder)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert (1, "", 1) == (end.value.code, out, err.count("\n"))
    assert err.startswith("error: ")
    assert message in err
    assert not folder.exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b""], ids=["missing", "binary", "empty"])
def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.ts"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"could not be read|is no \.ts file"):
        TASK.read(settings(data=path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [(["1,2:3,4:5,6:left"], "left, which training never saw"), (["1,2:up"], "1 channels, and training 3")],
)
def test_a_test_that_does_not_fit_training_is_one_error(
    tmp_path: Path, file: Path, rows: Sequence[str], message: str
) -> None:
    test = tmp_path / "test.ts"
    test.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        TASK.read(settings(data=file, test=test))


def test_a_test_without_data_is_refused() -> None:
    with pytest.raises(InputError, match="--data"):
        settings(test=Path("test.ts"))


def test_a_run_that_lost_its_labels_is_damaged(tmp_path: Path, file: Path) -> None:
    run = trained(tmp_path, settings(data=file, max_steps=1, valid_every=1))
    text = (run.folder / "run.json").read_text(encoding="utf-8")
    (run.folder / "run.json").write_text(text.replace('"labels"', '"names"'), encoding="utf-8")
    with pytest.raises(RunError, match="is damaged"):
        Run.open(run.folder)


def test_both_heads_learn_and_are_measured_alike_in_torch_and_through_the_file(run: Run, model: Model) -> None:
    data = TASK.read(run.settings)
    with torch.inference_mode():
        found = TASK.evaluate(run.load_model(), data)
    assert found.metrics["accuracy"] > 0.9
    nats = mean_nats(open_engine(run.folder / "model.onnx"), data.recordings("valid")[MODEL])
    assert nats == pytest.approx(found.loss, rel=1e-3, abs=1e-6)
    assert model.spec.codec == LabelCodec(("down", "up"))


def test_the_running_decision_of_the_file_is_that_of_torch(run: Run, model: Model) -> None:
    step = run.step_modules()
    assert isinstance(step, FrameModel)
    sequence = waves().sequences[3]
    with torch.inference_mode():
        logits, _ = step.scan(torch.from_numpy(sequence).unsqueeze(1), step.init(1))
    soft = model.spec.distribution == "categorical"
    expected = (logits.softmax(-1) if soft else logits.sigmoid())[:, 0].numpy()
    decisions = decide(model, sequence)
    assert (decisions.dtype, decisions.shape) == (np.dtype(np.float32), (len(sequence), 2))
    np.testing.assert_allclose(decisions, expected, atol=1e-5)
    assert np.allclose(decisions.sum(-1), 1) == soft


def test_a_decision_becomes_a_picture(tmp_path: Path, model: Model) -> None:
    assert isinstance(model.spec.codec, LabelCodec)
    decisions = decide(model, waves().sequences[3])
    draw_decisions(tmp_path / "decision.png", model.spec.codec, decisions)
    assert (tmp_path / "decision.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"must be \[steps, 2\]"):
        draw_decisions(tmp_path / "other.png", model.spec.codec, decisions[:, :1])


def test_a_model_that_decides_nothing_is_refused(frame_model: Model, frames: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="no decision"):
        decide(frame_model, frames[:3])
