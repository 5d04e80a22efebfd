"""`edgernn search` on a small text: what it leaves, how it goes on, and what may go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import Edgernn
from small_runs import TEXT, call, files, one_line

from edgernn.search import storage, worker
from edgernn.search.search import Place, Search, begin, join
from edgernn.search.space import read_space
from edgernn.search.trial import Watch
from edgernn.search.worker import Budget
from edgernn.tasks import find_task
from edgernn.tasks.text.settings import TextSettings
from edgernn.training import Run
from edgernn_runtime import load
from edgernn_runtime.errors import OutputError, RunError

TINY = ("--batch", 4, "--segment", 8, "--hidden", 8, "--layers", 1, "--threads", 1, "--trial-steps", 6)
RUN_FILES = {"calibration.npz", "checkpoint.safetensors", "metrics.jsonl", "model.safetensors", "run.json", "valid.npz"}


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def searched(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of three trials whose hidden size and layers are given."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    call("search", "text", "--data", text, *TINY, "--trials", 3, "-o", folder)
    return folder


def record_of(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    return content


def values_of(folder: Path) -> list[dict[str, object]]:
    study = optuna.load_study(study_name="text", storage=storage.file_storage(folder))
    return [trial.user_attrs["values"] for trial in study.get_trials()]


def test_a_search_leaves_its_answer_its_figure_and_the_run_of_each_trial(searched: Path) -> None:
    own = {"search.db", "search.json", "frontier.svg", "model.onnx", "model.int8.onnx", "trials"}
    runs = {f"trials/000{number}" for number in range(3)}
    assert own | runs == files(searched) - {f"{run}/{name}" for run in runs for name in RUN_FILES}
    for run in runs:
        assert Run.open(searched / run).load_model()


def test_the_answer_is_the_trial_of_the_lowest_loss_and_streams(searched: Path, edgernn: Edgernn) -> None:
    record = record_of(searched)
    chosen = record["chosen"]
    assert isinstance(chosen, dict)
    losses = [
        json.loads(line)["valid_loss"]
        for line in Path(chosen["run_dir"], "metrics.jsonl").read_text().split("\n")
        if line
    ]
    assert min(losses) == chosen["valid_loss"]
    run = Run.open(Path(chosen["run_dir"]))
    spec = load(searched / "model.onnx").spec
    assert spec.states[0].shape[-1] == run.settings.hidden
    assert "int8" == load(searched / "model.int8.onnx").spec.precision
    assert record["bytes_int8"] == (searched / "model.int8.onnx").stat().st_size
    assert 0 == edgernn("generate", searched / "model.int8.onnx", "--prompt", "box", "--max-tokens", 5).code
    assert 0 == edgernn("verify", searched / "model.onnx", "--against", chosen["run_dir"], "--steps", 50).code


def test_the_first_trial_has_the_defaults_and_what_is_given_is_fixed(searched: Path) -> None:
    settings = [Run.open(searched / "trials" / f"000{number}").settings for number in range(3)]
    default = TextSettings()
    first = settings[0]
    assert (first.cell, first.learning_rate, first.l1) == (default.cell, default.learning_rate, default.l1)
    assert {(8, 1, 6, 2)} == {(each.hidden, each.layers, each.max_steps, each.valid_every) for each in settings}
    assert 3 == len({each.learning_rate for each in settings})
    assert not {"hidden", "layers"} & set(values_of(searched)[0])


def test_a_search_that_goes_on_tries_what_an_uninterrupted_one_does(text: Path, searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    call("search", "text", "--data", text, *TINY, "--trials", 1, "-o", folder)
    call("search", "text", "-o", folder, "--resume", "--trials", 3, "--threads", 1)
    assert values_of(searched) == values_of(folder)


def test_a_trial_goes_on_whose_worker_ended_before_its_first_checkpoint(
    text: Path, searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    call("search", "text", "--data", text, *TINY, "--trials", 1, "-o", folder)
    begun = folder / "trials" / "0001"
    begun.mkdir()
    shutil.copy(searched / "trials" / "0001" / "run.json", begun)
    call("search", "text", "-o", folder, "--resume", "--trials", 2, "--threads", 1)
    assert values_of(searched)[:2] == values_of(folder)


def test_a_search_that_was_moved_keeps_its_answer(searched: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved?"))
    assert edgernn("search", "text", "-o", moved, "--resume", "--trials", 3, "--json").json["model"] is not None


def test_a_search_whose_trials_are_done_prints_its_answer_again(searched: Path, edgernn: Edgernn) -> None:
    done = edgernn("search", "text", "-o", searched, "--resume", "--trials", 3, "--json")
    assert done.json == record_of(searched)
    table = edgernn("search", "text", "-o", searched, "--resume", "--trials", 3).out
    assert "chosen" in table
    assert "default" in table
    assert "3 complete" in table


def test_a_slow_model_is_not_trained_and_no_fast_one_is_a_gate(text: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    folder = tmp_path / "search"
    done = edgernn("search", "text", "--data", text, *TINY, "--trials", 3, "--max-step-us", 0.01, "-o", folder)
    assert 3 == done.code
    assert "error: no trial's step takes at most 0.01 us; the fastest takes" in done.err
    assert {"search.db", "search.json", "frontier.svg", "trials", "trials/0000"} == {
        name for name in files(folder) if name.count("/") < 2
    }
    assert {"complete": 1, "too_slow": 2} == record_of(folder)["trials"]


def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(
    text: Path, tmp_path: Path, edgernn: Edgernn
) -> None:
    tried = ("--try", "learning_rate=1e17", "--no-early")
    done = edgernn("search", "text", "--data", text, *TINY, *tried, "--trials", 2, "-o", tmp_path / "search")
    assert 0 == done.code, done.err
    assert "trial 1: failed: training diverged at step" in done.err
    assert "1 complete, 1 failed" in done.out


@pytest.mark.slow
def test_a_search_without_a_result_says_why(text: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    folder = tmp_path / "search"
    done = edgernn("search", "text", "--data", text, *TINY, "--learning-rate", 1e17, "--trials", 1, "-o", folder)
    assert 1 == done.code
    assert "error: no trial came to its end: training diverged" in done.err
    assert not (folder / "model.onnx").exists()


@pytest.mark.slow
def test_ctrl_c_puts_the_trial_back_and_the_search_goes_on_with_it(
    text: Path, tmp_path: Path, edgernn: Edgernn
) -> None:
    folder = tmp_path / "search"
    steps = ("--trial-steps", 4000)
    _once((folder / "trials" / "0000" / "checkpoint.safetensors").exists, lambda: os.kill(os.getpid(), signal.SIGINT))
    done = edgernn("search", "text", "--data", text, *TINY[:-2], *steps, "--trials", 1, "-o", folder)
    assert 130 == done.code
    assert "" == done.out
    assert f"go on with: edgernn search text -o {folder} --resume" in done.err.splitlines()[-1]
    assert not (folder / "model.onnx").exists()
    more = edgernn("search", "text", "-o", folder, "--resume", "--trials", 1)
    assert 0 == more.code, more.err
    assert "trial 1 (the default)" in more.err
    assert "trial 1 goes on with trial 0" in more.err
    assert [folder / "trials" / "0001"] == list((folder / "trials").iterdir())


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_comes_back(
    text: Path, tmp_path: Path, edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    arguments = ("search", "text", "--data", text, *TINY[:-2], "--trial-steps", 4000, "--trials", 1, "-o", folder)
    process = subprocess.Popen([sys.executable, "-m", "edgernn", *map(str, arguments)], stderr=subprocess.DEVNULL)
    _await((folder / "trials" / "0000" / "checkpoint.safetensors").exists)
    process.kill()
    process.wait()
    monkeypatch.setattr(storage, "HEARTBEAT_S", 1)
    monkeypatch.setattr(storage, "GRACE_S", 2)
    done = edgernn("search", "text", "-o", folder, "--resume", "--trials", 1)
    assert 0 == done.code, done.err
    assert "waiting for the trials of other workers" in done.err or "trial 1 (the default)" in done.err
    assert "trial 1 goes on with trial 0" in done.err
    assert "1 complete, 1 put back" in done.out


def test_workers_with_folders_of_their_own_share_a_search(text: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    shared = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}", "--study", "both")
    call("search", "text", "--data", text, *TINY, *shared, "--trials", 2, "-o", tmp_path / "one")
    done = edgernn("search", "text", *shared, "--resume", "--trials", 3, "-o", tmp_path / "two", "--threads", 1)
    assert 0 == done.code, done.err
    assert "3 complete" in done.out
    assert {"0002"} == {path.name for path in (tmp_path / "two" / "trials").iterdir()}
    assert (tmp_path / "two" / "model.int8.onnx").exists()
    again = edgernn("search", "text", "--data", text, *TINY, *shared, "-o", tmp_path / "three")
    assert "already holds a search called both; join it with --resume" in one_line(again.err)
    assert not (tmp_path / "three").exists()


@pytest.mark.slow
def test_two_workers_at_once_do_each_trial_once(text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    start = ("search", "text", "--data", text, *TINY, "--trials", 6, "-o", folder)
    first = subprocess.Popen([sys.executable, "-m", "edgernn", *map(str, start)], stderr=subprocess.DEVNULL)
    _await((folder / "trials" / "0000" / "run.json").exists)
    more = ("search", "text", "-o", folder, "--resume", "--trials", 6, "--threads", 1)
    call(*more)
    assert 0 == first.wait()
    assert 6 <= len(values_of(folder)) <= 7
    assert len(values_of(folder)) == len({json.dumps(each) for each in values_of(folder)})


def test_the_answer_under_another_limit_needs_no_other_trial(searched: Path, edgernn: Edgernn) -> None:
    before = record_of(searched)
    done = edgernn("search", "text", "-o", searched, "--resume", "--trials", 3, "--max-step-us", 0.01, "--json")
    assert 3 == done.code
    assert json.loads(done.out)["frontier"] == before["frontier"]
    assert None is json.loads(done.out)["chosen"]
    assert 0 == edgernn("search", "text", "-o", searched, "--resume", "--trials", 3).code
    assert before["chosen"] == record_of(searched)["chosen"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@nowhere/db", r"postgresql://me:\*\*\*@nowhere/db could not be reached"),
        ("sqlite:////nowhere/there/search.db", "unable to open database file; check --storage"),
        ("nonsense", "the storage is no URL of a database"),
    ],
)
def test_an_unreachable_storage_is_one_line_and_leaves_nothing(
    text: Path, tmp_path: Path, edgernn: Edgernn, url: str, message: str
) -> None:
    for resume in ((), ("--resume",)):
        settings = () if resume else ("--data", text, *TINY)
        done = edgernn("search", "text", *settings, "--storage", url, "-o", tmp_path / "search", *resume)
        assert 1 == done.code
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(one_line(done.err))
        assert not (tmp_path / "search").exists()


def test_a_storage_that_is_lost_is_one_line(text: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    folder = tmp_path / "search"
    spoil = folder / "search.db"
    _once((folder / "trials" / "0000" / "checkpoint.safetensors").exists, lambda: spoil.write_bytes(b"?" * 200_000))
    steps = ("--trial-steps", 300)
    done = edgernn("search", "text", "--data", text, *TINY[:-2], *steps, "--trials", 2, "-o", folder)
    assert 1 == done.code
    assert "error: the search lost its storage sqlite:///" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_study_of_something_else_is_refused(tmp_path: Path, edgernn: Edgernn) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    optuna.create_study(storage=url, study_name="text")
    done = edgernn("search", "text", "--storage", url, "--resume", "-o", tmp_path / "search")
    assert "the study is no search of edgernn; name another with --study" in one_line(done.err)
    done = edgernn("search", "text", "--storage", url, "--study", "none", "--resume", "-o", tmp_path / "search")
    assert "holds no search called none" in one_line(done.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--try", "hiden=8"), "there is no setting hiden to try"),
        (("--try", "hidden=8..4"), "hidden must be tried from a smaller"),
        (("--hidden", 8, "--try", "hidden=8,16"), "hidden is given and tried"),
        (("--max-step-us", 0), "--max-step-us must be above 0"),
        (("--trial-seconds", 0), "max_seconds must be above 0"),
        (("--batch", 10**7), "use more text, or a smaller batch"),
        (("--resume",), "holds no search"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    text: Path, tmp_path: Path, edgernn: Edgernn, arguments: tuple[object, ...], message: str
) -> None:
    settings = () if "--resume" in arguments else ("--data", text)
    done = edgernn("search", "text", *settings, *arguments, "-o", tmp_path / "search")
    assert 1 == done.code
    assert message in one_line(done.err)
    assert not (tmp_path / "search").exists()


def test_a_resumed_search_keeps_its_settings_and_its_task(searched: Path, edgernn: Edgernn) -> None:
    for arguments, message in (
        (("--cell", "gru"), "--cell cannot change"),
        (("--try", "cell=gru"), "--try cannot change"),
        (("--trial-steps", 9), "--trial-steps cannot change"),
    ):
        done = edgernn("search", "text", "-o", searched, "--resume", *arguments)
        assert message in one_line(done.err)
    done = edgernn("search", "image", "-o", searched, "--resume", "--study", "text")
    assert "a search of the task text; go on with: edgernn search text" in one_line(done.err)
    done = edgernn("search", "text", "-o", searched)
    assert "search.db exists, and a search would replace it; go on with --resume" in one_line(done.err)


@pytest.mark.slow
def test_changed_data_are_refused(tmp_path: Path, edgernn: Edgernn) -> None:
    data = tmp_path / "text.txt"
    data.write_text(TEXT, encoding="utf-8")
    call("search", "text", "--data", data, *TINY, "--trials", 1, "-o", tmp_path / "search")
    data.write_text(TEXT + "more", encoding="utf-8")
    done = edgernn("search", "text", "-o", tmp_path / "search", "--resume", "--trials", 2)
    assert "is not what the search began with" in one_line(done.err)


def test_a_model_in_several_graphs_is_timed_and_exported_as_a_bundle(tmp_path: Path, edgernn: Edgernn) -> None:
    folder = tmp_path / "search"
    small = ("--latent", 4, "--hidden", 12, "--trial-steps", 2, "--trials", 1, "--threads", 1)
    done = edgernn("search", "vae", *small, "-o", folder, "--json")
    assert done.json["int8"] == str(folder / "bundle.int8")
    assert done.json["chosen"]["step_us"] > 0
    stream = load(folder / "bundle.int8").stream(seed=1)
    assert np.isfinite(list(stream.generate_frames(3))).all()


def test_a_search_without_optuna_names_the_extra(
    tmp_path: Path, edgernn: Edgernn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = edgernn("search", "text", "-o", tmp_path / "search")
    assert "a search needs Optuna; install edgernn[search]" in one_line(done.err)


@pytest.fixture
def small(text: Path, tmp_path: Path) -> Search:
    """A search that has not begun its first trial."""
    settings = TextSettings(data=text, batch=4, segment=8, hidden=8, layers=1, max_steps=6, valid_every=2)
    place = Place(tmp_path / "search", None, "text")
    space = read_space(settings, [], fixed=["hidden", "layers"])
    return begin(place, find_task("text"), settings, space, max_step_us=None, early=True)


def test_a_trial_that_another_worker_took_for_dead_is_left_to_it(small: Search) -> None:
    said: list[str] = []

    def take(_: object) -> None:
        trial = small.study.get_trials()[0]
        if trial.state == optuna.trial.TrialState.RUNNING:
            small.study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
            storage.put_back(small.study, trial)

    assert small.work(Budget(1, None), Watch(lambda: False, said.append, take))
    assert any("another worker took this trial for dead" in each for each in said)
    assert "trial 1: validation loss" in said[-1]


def test_a_folder_that_cannot_be_written_puts_the_trial_back(small: Search) -> None:
    (small.place.folder / "trials").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="could not be made"):
        small.work(Budget(1, None), Watch(lambda: False, lambda _: None, lambda _: None))
    (small.place.folder / "trials").unlink()
    search = join(small.place, small.plan.task)
    assert search.work(Budget(1, None), Watch(lambda: False, lambda _: None, lambda _: None))
    found = [(each.ending, each.default) for each in search.finish().notes]
    assert [("put back", True), ("complete", True)] == found


def test_an_answer_whose_run_is_elsewhere_is_said_and_the_rest_is_written(small: Search) -> None:
    assert small.work(Budget(1, None), Watch(lambda: False, lambda _: None, lambda _: None))
    (small.place.folder / "trials" / "0000").rename(small.place.folder / "moved")
    found = small.finish()
    assert isinstance(found.error, RunError)
    assert "the answer is trial 0" in str(found.error)
    assert None is record_of(small.place.folder)["model"]


def test_no_trial_is_begun_that_would_not_end_in_time(small: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 10_000, 10))
    monkeypatch.setattr(worker.time, "monotonic", lambda: float(next(moments)))
    said: list[str] = []
    assert small.work(Budget(None, 100.0), Watch(lambda: False, said.append, lambda _: None))
    assert said[-1] == "no other trial would end within 100 seconds"
    assert 1 <= len(small.study.get_trials()) < 10


def _await(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _once(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Act from another thread as soon as a condition holds."""

    def watch() -> None:
        _await(condition)
        act()

    threading.Thread(target=watch, daemon=True).start()
