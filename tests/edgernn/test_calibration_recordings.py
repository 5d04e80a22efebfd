"""What a run keeps to calibrate on: an extract of its training data, laid out as what is held out."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn.tasks import CALIBRATION_STEPS, MODEL, Data, Part, find_task
from edgernn.tasks.calibration import even_order, even_sequences, even_spans
from edgernn.tasks.classify import LabelledSeries, digits
from edgernn.tasks.classify.data import ClassifyData
from edgernn.tasks.classify.settings import ClassifySettings
from edgernn.tasks.image.data import ImageData
from edgernn.tasks.image.settings import ImageSettings
from edgernn.tasks.pictures import Pictures
from edgernn.tasks.pictures import digits as pictures_of_digits
from edgernn.tasks.series.data import SeriesData
from edgernn.tasks.series.settings import SeriesSettings
from edgernn.tasks.series.table import Series
from edgernn.tasks.settings import Settings
from edgernn.tasks.text.data import TextData
from edgernn.tasks.text.settings import TextSettings
from edgernn.tasks.vae.data import VaeData
from edgernn.tasks.vae.settings import VaeSettings
from edgernn.training import Run
from edgernn_export import Recording, StagedModules, TorchEngine
from edgernn_runtime import Spec
from edgernn_runtime.engines.staged import StagedEngine
from edgernn_runtime.errors import DataError, OutputExistsError

TEXT = "".join(f"{number:05d} " for number in range(6000))
"""36,000 characters of which every ten in a row are found once."""


def numbers(rows: int, columns: int = 2) -> Series:
    """Numbers with gaps, of which no two are alike."""
    rng = np.random.default_rng(0)
    values = rng.permutation(rows * columns).reshape(rows, columns).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return Series(tuple("abc"[:columns]), values)


def text_data() -> tuple[Data, Settings]:
    settings = TextSettings(hidden=8)
    return TextData(TEXT, settings), settings


def image_data() -> tuple[Data, Settings]:
    settings = ImageSettings(hidden=8)
    return ImageData(pictures_of_digits(), settings), settings


def vae_data() -> tuple[Data, Settings]:
    settings = VaeSettings(hidden=8, latent=3)
    return VaeData(pictures_of_digits(), settings), settings


def classify_data() -> tuple[Data, Settings]:
    settings = ClassifySettings(hidden=8)
    return ClassifyData(*digits(), settings), settings


def sigmoid_data() -> tuple[Data, Settings]:
    settings = ClassifySettings(hidden=8, head="sigmoid")
    return ClassifyData(*digits(), settings), settings


def series_data(**changes: Any) -> tuple[Data, Settings]:
    settings = SeriesSettings(hidden=8, season=6, horizon=6, data=Path("none.csv"), **changes)
    return SeriesData(numbers(20_000), settings), settings


MAKERS: dict[str, tuple[str, Callable[[], tuple[Data, Settings]]]] = {
    "text": ("text", text_data),
    "image": ("image", image_data),
    "vae": ("vae", vae_data),
    "classify": ("classify", classify_data),
    "sigmoid": ("classify", sigmoid_data),
    "series": ("series", series_data),
    "deleted": ("series", lambda: series_data(gaps="delete")),
    "resampled": ("series", lambda: series_data(gaps="resample", every=3)),
}

every_task = pytest.mark.parametrize("name", MAKERS)


def sequences(recording: Recording, array: NDArray[np.generic]) -> list[bytes]:
    """Return an array of a recording in pieces, one for each of its starts."""
    (starts,) = np.nonzero(recording.starts)
    return [piece.tobytes() for piece in np.split(array, starts[1:])]


def arrays(recording: Recording) -> dict[str, NDArray[np.generic]]:
    targets = {} if recording.targets is None else {"targets": recording.targets}
    return {**recording.inputs, **targets, "starts": recording.starts, "scored": recording.scored}


def layout(recording: Recording) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(array.dtype), array.shape[1:]) for name, array in arrays(recording).items()}


def exported_specs(task_name: str, data: Data, settings: Settings) -> dict[str, Spec]:
    """Return the Spec of the exported model, and those of its stages."""
    task = find_task(task_name)
    modules = task.export(task.model(settings, data.facts).eval(), settings, data.facts)
    if not isinstance(modules, StagedModules):
        return {MODEL: modules.spec}
    engines = {name: TorchEngine(step) for name, step in modules.steps.items()}
    return {MODEL: StagedEngine(modules.spec, engines).spec, **{name: each.spec for name, each in engines.items()}}


@every_task
def test_both_parts_are_laid_out_alike_and_fit_the_exported_model(name: str) -> None:
    task_name, make = MAKERS[name]
    data, settings = make()
    specs = exported_specs(task_name, data, settings)
    trained, held = data.recordings("train"), data.recordings("valid")
    assert held.keys() == trained.keys()
    for key, recording in trained.items():
        assert layout(held[key]) == layout(recording)
        assert held[key].scored.any() == recording.scored.any()
        recording.check(specs[key])
        assert recording.starts[0]
        assert CALIBRATION_STEPS // 2 < len(recording) <= CALIBRATION_STEPS or name == "resampled"


@every_task
def test_both_parts_are_the_same_each_time(name: str) -> None:
    _, make = MAKERS[name]
    parts: tuple[Part, ...] = ("train", "valid")
    for part in parts:
        first, again = (make()[0].recordings(part) for _ in range(2))
        for key in first:
            for left, right in zip(arrays(first[key]).values(), arrays(again[key]).values(), strict=True):
                np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("name", "key", "array"),
    [("text", MODEL, "token"), ("image", MODEL, "targets"), ("vae", "encode", "row"), ("vae", MODEL, "latent"),
     ("classify", MODEL, "frame")],
)  # fmt: skip
def test_no_sequence_is_in_both_parts(name: str, key: str, array: str) -> None:
    data, _ = MAKERS[name][1]()
    recordings = (data.recordings("train")[key], data.recordings("valid")[key])
    trained, held = (set(sequences(each, arrays(each)[array])) for each in recordings)
    assert len(trained) > 10
    assert not trained & held


def test_text_is_sixteen_spans_of_1024_tokens_over_the_training_part() -> None:
    data = TextData(TEXT, TextSettings())
    recording = data.recordings("train")[MODEL]
    assert recording.targets is not None
    assert [1024 * i for i in range(16)] == np.nonzero(recording.starts)[0].tolist()
    train, codec = TEXT[: len(TEXT) * 9 // 10], data.corpus.codec
    at = []
    for start in range(0, CALIBRATION_STEPS, 1024):
        span = slice(start, start + 1024)
        tokens = [*recording.inputs["token"][span].tolist(), int(recording.targets[span][-1])]
        text = "".join(codec.decode(token, b"")[0] for token in tokens)
        assert recording.inputs["token"][span][1:].tolist() == recording.targets[span][:-1].tolist()
        at.append(train.index(text))
    assert (0, len(train) - 1025) == (min(at), max(at))
    assert np.ptp(np.diff(sorted(at))) <= 1
    assert max(at[:4]) - min(at[:4]) > len(train) // 2


def test_a_short_text_is_one_stream() -> None:
    data = TextData(TEXT[:5000], TextSettings())
    recording = data.recordings("train")[MODEL]
    assert [0] == np.nonzero(recording.starts)[0].tolist()
    assert data.corpus.train[:-1].tolist() == recording.inputs["token"].tolist()


def test_pictures_are_whole_and_of_every_class_alike() -> None:
    data = ImageData(pictures_of_digits(), ImageSettings())
    recording = data.recordings("train")[MODEL]
    assert recording.targets is not None
    found = recording.targets.reshape(-1, 64)
    tokens, classes = data.train
    known = {picture.tobytes(): kind for picture, kind in zip(tokens, classes, strict=True)}
    kinds = [known[picture.tobytes()] for picture in found]
    assert kinds == recording.inputs["class"][::64].tolist()
    assert CALIBRATION_STEPS // 64 == len(kinds)
    assert np.ptp(np.bincount(kinds, minlength=10) / np.bincount(classes)) < 0.03
    before = recording.inputs["token"].reshape(-1, 64)
    assert not before[:, 0].any()
    assert before[:, 1:].tolist() == found[:, :-1].tolist()


def test_a_picture_longer_than_the_extract_is_cut() -> None:
    greys = np.random.default_rng(0).integers(0, 256, (10, 160, 160)).astype(np.uint8)
    data = ImageData(Pictures(greys, np.zeros(10, np.int64), ("",)), ImageSettings(width=160, height=160))
    recording = data.recordings("train")[MODEL]
    assert CALIBRATION_STEPS == len(recording)
    assert 1 == recording.starts.sum()


def test_rows_of_pictures_come_after_those_before_them() -> None:
    data = VaeData(pictures_of_digits(), VaeSettings(latent=3))
    recordings = data.recordings("train")
    rows, before = (recordings[key].inputs["row"].reshape(-1, 8, 8) for key in ("encode", MODEL))
    assert sorted(each.tobytes() for each in data.train) == sorted(each.tobytes() for each in rows)
    assert not before[:, 0].any()
    assert before[:, 1:].tolist() == rows[:, :-1].tolist()


def labelled(lengths: list[int], labels: list[str]) -> LabelledSeries:
    rng = np.random.default_rng(0)
    return LabelledSeries(tuple(rng.standard_normal((n, 2)).astype(np.float32) for n in lengths), tuple(labels))


def test_sequences_are_whole_with_their_labels_at_their_ends() -> None:
    lengths = [30 + i % 7 for i in range(1000)]
    series = labelled(lengths, [str(i % 4) for i in range(1000)])
    data = ClassifyData(series, labelled([5, 5], ["0", "1"]), ClassifySettings())
    recording = data.recordings("train")[MODEL]
    assert recording.targets is not None
    known = {sequence.tobytes(): int(label) for sequence, label in zip(series.sequences, series.labels, strict=True)}
    expected = [known[each] for each in sequences(recording, recording.inputs["frame"])]
    assert expected == recording.targets[recording.scored].tolist()
    ends = [*(np.nonzero(recording.starts)[0][1:] - 1), len(recording) - 1]
    assert ends == np.nonzero(recording.scored)[0].tolist()
    assert CALIBRATION_STEPS - 36 < len(recording) <= CALIBRATION_STEPS
    assert np.ptp(np.bincount(expected)) < 15


def test_a_sequence_longer_than_the_extract_is_cut_and_its_label_scored() -> None:
    series = labelled([20_000, 20_000], ["0", "1"])
    recording = ClassifyData(series, series, ClassifySettings()).recordings("train")[MODEL]
    assert CALIBRATION_STEPS == len(recording)
    assert [CALIBRATION_STEPS - 1] == np.nonzero(recording.scored)[0].tolist()


@pytest.mark.parametrize("rows", [400, 30_000])
def test_a_series_is_its_training_part_with_a_season_unscored(rows: int) -> None:
    series = numbers(rows)
    settings = SeriesSettings(season=6, horizon=6, data=Path("none.csv"))
    data = SeriesData(series, settings)
    recording, held = data.recordings("train")[MODEL], data.recordings("valid")[MODEL]
    assert recording.targets is not None
    assert held.targets is not None
    starts = np.nonzero(recording.starts)[0]
    assert (1 if rows == 400 else 16) == len(starts)
    (scored,) = np.nonzero(recording.scored)
    assert min(scored - starts[np.searchsorted(starts, scored, side="right") - 1]) == 6
    hidden = {*held.targets[held.scored].flatten().tolist(), *series.values[data.train_rows :].flatten().tolist()}
    assert not hidden & {*recording.inputs["value"].flatten().tolist(), *recording.targets.flatten().tolist()}
    rows_of = {frame.tobytes(): row for row, frame in enumerate(series.values) if not np.isnan(frame).all()}
    at = [rows_of[frame.tobytes()] for frame in recording.inputs["value"] if not np.isnan(frame).all()]
    assert len(set(at)) == len(at)
    assert max(at) - min(at) > 0.95 * data.train_rows


def test_a_longer_season_makes_longer_spans() -> None:
    settings = SeriesSettings(season=2000, horizon=6, data=Path("none.csv"))
    recording = SeriesData(numbers(30_000), settings).recordings("train")[MODEL]
    assert [0, 4000, 8000, 12_000] == np.nonzero(recording.starts)[0].tolist()
    assert 0 < recording.scored.sum() <= 8000


@pytest.mark.parametrize("count", [16, 1000])
def test_every_beginning_of_an_even_order_is_spread_evenly(count: int) -> None:
    order = even_order(count)
    assert [*range(count)] == sorted(order)
    for size in range(2, count):
        chosen = np.sort(order[:size])
        widest = max(np.diff([*chosen, chosen[0] + count]))
        assert widest <= 2.7 * count / size + 1


@given(st.integers(1, 10**6), st.integers(0, 2**16))
def test_spans_never_overlap_and_fill_the_extract(steps: int, warm: int) -> None:
    spans = sorted(even_spans(steps, warm=warm), key=lambda span: span.start)
    assert all(before.stop <= after.start for before, after in pairwise(spans))
    assert (0, steps) == (spans[0].start, max(steps, spans[-1].stop))
    assert min(steps, CALIBRATION_STEPS // 2) <= sum(span.stop - span.start for span in spans) <= CALIBRATION_STEPS


@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 5)), min_size=1, max_size=60))
def test_sequences_fit_and_none_that_would_fit_is_left_out(given_sequences: list[tuple[int, int]]) -> None:
    lengths = [length for length, _ in given_sequences]
    chosen = even_sequences(lengths, [kind for _, kind in given_sequences]).tolist()
    cut = np.minimum(lengths, CALIBRATION_STEPS)
    assert len(set(chosen)) == len(chosen) > 0
    left = CALIBRATION_STEPS - int(cut[chosen].sum())
    assert left >= 0
    assert all(cut[number] > left for number in set(range(len(lengths))) - set(chosen))


def test_kinds_that_take_turns_and_rare_ones_are_all_chosen() -> None:
    kinds = np.arange(60_000) % 10
    kinds[-1] = 10
    chosen = even_sequences([28] * len(kinds), kinds)
    counts = np.bincount(kinds[chosen])
    assert CALIBRATION_STEPS // 28 == len(chosen)
    assert counts[10] == 1
    assert np.ptp(counts[:10]) <= 2
    assert [*range(11)] == sorted(kinds[chosen[:11]])


def new_run(folder: Path, data: Data, settings: Settings) -> Run:
    return Run(folder, find_task("vae"), settings, data.facts, data.sha256)


def test_a_run_keeps_both_parts_of_every_stage_and_clears_what_was_left(tmp_path: Path) -> None:
    data, settings = vae_data()
    run = new_run(tmp_path / "run", data, settings)
    run.create(data)
    names = {"run.json", "valid.npz", "valid.encode.npz", "calibration.npz", "calibration.encode.npz"}
    assert names == {path.name for path in run.folder.iterdir()}
    for stem, part in (("valid", data.recordings("valid")), ("calibration", data.recordings("train"))):
        for name, expected in ((f"{stem}.npz", part[MODEL]), (f"{stem}.encode.npz", part["encode"])):
            found = Recording.load(run.folder / name)
            for left, right in zip(arrays(expected).values(), arrays(found).values(), strict=True):
                np.testing.assert_array_equal(left, right)
    (run.folder / ".calibration.encode.npz.abcd1234.part").touch()
    run.write_recordings(data)
    assert names == {path.name for path in run.folder.iterdir()}
    assert run == Run.open(run.folder)


@pytest.mark.parametrize("name", ["valid.npz", "valid.other.npz", "calibration.npz", "calibration.other.npz"])
def test_a_run_replaces_no_file_of_its_recordings_names(tmp_path: Path, name: str) -> None:
    data, settings = vae_data()
    (tmp_path / name).touch()
    with pytest.raises(OutputExistsError, match=f"{name} exists, and a run would replace it"):
        new_run(tmp_path, data, settings).create(data)
    assert [name] == [path.name for path in tmp_path.iterdir()]


class Broken(VaeData):
    """Data that has a recording of what is held out alone."""

    def recordings(self, part: Part) -> Mapping[str, Recording]:
        if part == "train":
            raise DataError("there is nothing to calibrate on")
        return super().recordings(part)


def test_data_without_a_recording_leave_no_run(tmp_path: Path) -> None:
    settings = VaeSettings(hidden=8, latent=3)
    data = Broken(pictures_of_digits(), settings)
    with pytest.raises(DataError, match="nothing to calibrate on"):
        new_run(tmp_path / "run", data, settings).create(data)
    assert [] == [*tmp_path.iterdir()]
