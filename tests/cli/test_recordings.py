"""Which recording a command takes: the file that the user names, else that of the run, of either part."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.cli import main
from edgernn.cli.recordings import find_calibration, find_recording, run_file
from edgernn_export import Recording
from edgernn_runtime import Spec
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.errors import DataError, InputError

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import without_torch

Edgernn = Callable[..., Any]

TEXT = "pack my box with five dozen liquor jugs; the naïve café is closed. " * 60
TINY = ("--hidden", 8, "--max-steps", 2, "--valid-every", 1, "--batch", 4, "--threads", 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text and one of a bundle, exported: `text` and `vae`."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    commands = {"text": ("text", "--data", folder / "text.txt", "--segment", 8), "vae": ("vae", "--latent", 4)}
    for name, task in commands.items():
        for arguments in (("train", *task, *TINY, "-o", folder / name), ("export", folder / name)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["edgernn", *map(str, arguments)])
                with pytest.raises(SystemExit) as end:
                    main()
            assert end.value.code == 0
    return folder


def spec_of(model: Path) -> Spec:
    return open_engine(model).spec


def tokens(recording: Recording | None) -> list[int]:
    assert recording is not None
    found: list[int] = recording.inputs["token"].tolist()
    return found


def test_each_part_of_a_run_is_found(runs: Path) -> None:
    model = runs / "text" / "model.onnx"
    spec = spec_of(model)
    kept = Recording.load(runs / "text" / "calibration.npz")
    assert tokens(kept) == tokens(find_calibration(spec, model, calibration=None, limit=16_384))
    assert tokens(kept)[:100] == tokens(find_calibration(spec, model, calibration=None, limit=100))
    held = tokens(find_recording(spec, model, data=None, limit=16_384))
    assert tokens(Recording.load(runs / "text" / "valid.npz")) == held != tokens(kept)


def test_a_run_can_be_named_and_without_its_file_there_is_none(runs: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(runs / "text" / "model.onnx", tmp_path))
    spec = spec_of(model)
    assert find_calibration(spec, model, calibration=None, limit=10) is None
    assert 10 == len(tokens(find_calibration(spec, model, run=runs / "text", calibration=None, limit=10)))
    assert 10 == len(tokens(find_calibration(spec, model, calibration=runs / "text.txt", limit=10)))


@pytest.mark.parametrize(
    ("model", "valid", "calibration"),
    [
        ("text/model.onnx", "text/valid.npz", "text/calibration.npz"),
        ("vae/bundle", "vae/valid.npz", "vae/calibration.npz"),
        ("vae/bundle/encode.onnx", "vae/valid.encode.npz", "vae/calibration.encode.npz"),
    ],
)
def test_the_file_of_a_model_or_of_a_stage_is_named(runs: Path, model: str, valid: str, calibration: str) -> None:
    assert runs / valid == run_file(runs / model, None)
    assert runs / calibration == run_file(runs / model, None, part="train")
    recording = find_calibration(spec_of(runs / model), runs / model, calibration=None, limit=8)
    assert recording is not None
    assert 8 == len(recording)


def test_the_file_that_the_user_names_comes_first(runs: Path, tmp_path: Path) -> None:
    model = runs / "text" / "model.onnx"
    spec = spec_of(model)
    assert spec.text_codec is not None
    text = "jugs of café; " * 30
    (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    expected = spec.text_codec.encode(text).tolist()
    for limit in (50, 10_000):
        found = tokens(find_calibration(spec, model, calibration=tmp_path / "mine.txt", limit=limit))
        assert expected[:-1][:limit] == found
    Recording.of_tokens("token", [3, 1, 2]).save(tmp_path / "mine.npz")
    assert [3, 1] == tokens(find_calibration(spec, model, calibration=tmp_path / "mine.npz", limit=9))
    encoder, frames = runs / "vae" / "bundle" / "encode.onnx", np.ones((5, 8), np.float32)
    np.save(tmp_path / "rows.npy", frames)
    recording = find_calibration(spec_of(encoder), encoder, calibration=tmp_path / "rows.npy", limit=4)
    assert recording is not None
    assert frames[:4].tolist() == recording.inputs["row"].tolist()


def test_what_cannot_be_read_or_fed_is_refused(runs: Path, tmp_path: Path) -> None:
    model = runs / "text" / "model.onnx"
    spec = spec_of(model)
    (tmp_path / "short.txt").write_text("a")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    Recording.of_tokens("token", [0, 10**6, 0]).save(tmp_path / "large.npz")
    Recording.of("row", np.zeros((3, 8), np.float32)).save(tmp_path / "other.npz")
    for name, error, message in (
        ("none.txt", DataError, "could not be read"),
        ("none.npz", DataError, "could not be read"),
        ("short.txt", DataError, "the text has 1 tokens"),
        ("bad.npz", DataError, "is no recording"),
        ("large.npz", InputError, "token must lie in 0"),
        ("other.npz", InputError, "the model has no input row"),
    ):
        with pytest.raises(error, match=message):
            find_calibration(spec, model, calibration=tmp_path / name, limit=9)
    run = Path(shutil.copytree(runs / "text", tmp_path / "run"))
    (run / "calibration.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"calibration\.npz is no recording"):
        find_calibration(spec, run / "model.onnx", calibration=None, limit=9)


def test_a_run_of_before_gets_its_calibration_when_it_goes_on(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    run = Path(shutil.copytree(runs / "text", tmp_path / "run"))
    kept = tokens(Recording.load(run / "calibration.npz"))
    (run / "calibration.npz").unlink()
    assert edgernn("export", run, "--force").code == 0
    assert not (run / "calibration.npz").exists()
    assert edgernn("train", "text", "-o", run, "--resume", "--max-steps", 3, "--threads", 1).code == 0
    assert kept == tokens(Recording.load(run / "calibration.npz"))


def test_random_inputs_do_only_where_nothing_is_promised(runs: Path, tmp_path: Path) -> None:
    encoder = Path(shutil.copy(runs / "vae" / "bundle" / "encode.onnx", tmp_path))
    spec = spec_of(encoder)
    assert 9 == len(find_recording(spec, encoder, data=None, limit=9))
    with pytest.raises(InputError, match=r"no valid\.npz .*give the data to measure on with --data FILE$"):
        find_recording(spec, encoder, data=None, limit=9, promised=True)
    np.save(tmp_path / "rows.npy", np.ones((5, 8), np.float32))
    assert 5 == len(find_recording(spec, encoder, data=tmp_path / "rows.npy", limit=9, promised=True))
    kept = runs / "vae" / "bundle" / "encode.onnx"
    assert 9 == len(find_recording(spec, kept, data=None, limit=9, promised=True))


@pytest.mark.parametrize("module", ["edgernn.tasks", "edgernn.cli.recordings", "edgernn.cli.material"])
def test_finding_recordings_needs_no_torch(module: str) -> None:
    found = (
        "from pathlib import Path; from edgernn.cli.recordings import run_file; print(run_file(Path('m.onnx'), None))"
    )
    done = without_torch(f"import {module}; {found}")
    assert done.stdout.strip().endswith("valid.npz"), done.stderr
