"""Training in several processes under torchrun, on CPUs: one process's result, interruptions, and lost processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from small_runs import call

from edgernn.training.tensors import read_tensors

Done = subprocess.CompletedProcess[str]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SMALL = ["--hidden", "12", "--batch", "8", "--max-steps", "12", "--valid-every", "4"]
STILL = ["--dropout", "0"]
LONG = ["--hidden", "48", "--batch", "8", "--segment", "32", "--max-steps", "100000", "--valid-every", "10"]
BUDGET = ["--max-steps", "60", "--hidden", "32"]  # with dropout, so that all random states matter
TASKS = {
    "text": ["text", *STILL, "--l1", "1e-5", "--l2", "1e-4", "--clip-norm", "0.3"],
    "pixels": ["image", *STILL],
    "rows": ["image", "--order", "rows", *STILL],
    "vae": ["vae", "--free-bits", "0.1"],
    "series": ["series", *STILL, "--window", "20"],
    "mixture": ["series", *STILL, "--series", "sunspots", "--distribution", "logistic_mixture", "--drop", "0.2"],
    "vowels": ["classify", *STILL],
    "digits": ["classify", "--dataset", "digits", "--head", "sigmoid", *STILL],
}
NEAR = 2e-5  # of weights, float32, after 12 steps; the largest seen was 2e-6
FLOAT64 = "import torch; torch.set_default_dtype(torch.float64); from edgernn.cli import main; main()"


def command(*arguments: object, processes: int, program: Sequence[str] = ("-m", "edgernn")) -> list[str]:
    if processes == 1:
        return [sys.executable, *program, *map(str, arguments)]
    return [*TORCHRUN, "--standalone", "--nproc-per-node", str(processes), *program, *map(str, arguments)]


def run(*arguments: object, processes: int, program: Sequence[str] = ("-m", "edgernn")) -> Done:
    return subprocess.run(
        command(*arguments, processes=processes, program=program),
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start two processes on a long run of text, and return when they have validated once."""
    started = subprocess.Popen(
        command("train", "text", *LONG, *arguments, "-o", folder, processes=2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return started


def workers(torchrun: subprocess.Popen[str]) -> list[int]:
    """Return the processes that torchrun has started, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(") ")[2].split()[1])
            variables = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [int(each[5:]) for each in variables if each.startswith(b"RANK=")]
        if parent == torchrun.pid and ranks:
            found[ranks[0]] = int(path.name)
    return [found[rank] for rank in sorted(found)]


def said(stderr: str, word: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith(word)]


def records(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "elapsed_s"} for line in lines]


def furthest(one: Path, two: Path) -> float:
    """Return the largest difference of a weight of two runs, both of which must hold the same tensors."""
    tensors = [read_tensors(folder / "checkpoint.safetensors") for folder in (one, two)]
    names = [{name for name in each if not name.startswith("random.")} for each in tensors]
    assert names[0] == names[1]
    for name in sorted(names[0]):
        assert tensors[0][name].shape == tensors[1][name].shape
    return max(
        float((tensors[0][name].double() - tensors[1][name].double()).abs().max())
        for name in names[0]
        if name.startswith("model.")
    )


def same(one: Path, two: Path) -> bool:
    """Return whether two runs ended with the same checkpoint and weights, to the bit."""
    for name in ("checkpoint.safetensors", "model.safetensors"):
        tensors = [read_tensors(folder / name) for folder in (one, two)]
        assert tensors[0].keys() == tensors[1].keys()
        if not all(torch.equal(tensors[0][each], tensors[1][each]) for each in tensors[0]):
            return False
    return records(one) == records(two)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_two_processes_train_what_one_does(tmp_path: Path, name: str) -> None:
    call("train", *TASKS[name], *SMALL, "--threads", 1, "-o", tmp_path / "1")
    done = run("train", *TASKS[name], *SMALL, "-o", tmp_path / "2", "--json", processes=2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12  # one line, from one process
    assert "; 2 processes" in done.stderr
    assert furthest(tmp_path / "1", tmp_path / "2") < NEAR
    one, two = records(tmp_path / "1"), records(tmp_path / "2")
    assert [each["step"] for each in two] == [4, 8, 12]
    for left, right in zip(one, two, strict=True):
        for key in ("train_loss", "valid_loss", "grad_norm_median"):
            assert left[key] == pytest.approx(right[key], rel=1e-5)


@pytest.mark.slow
def test_in_float64_the_difference_is_that_of_float64(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(FLOAT64)
    for processes in (1, 2):
        done = run(
            "train",
            *TASKS["text"],
            *SMALL,
            "-o",
            tmp_path / str(processes),
            processes=processes,
            program=[str(tmp_path / "main.py")],
        )
        assert done.returncode == 0, done.stderr
    assert read_tensors(tmp_path / "1" / "model.safetensors")["head.weight"].dtype == torch.float64
    assert furthest(tmp_path / "1", tmp_path / "2") < 1e-12
    for left, right in zip(records(tmp_path / "1"), records(tmp_path / "2"), strict=True):
        assert left["train_loss"] == pytest.approx(right["train_loss"], rel=1e-13)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    tiny = ["train", *TASKS["text"], *SMALL, "-o"]
    further = ["--resume", "--max-steps", 24]
    call(*tiny, tmp_path / "one", "--threads", 1)
    shutil.copytree(tmp_path / "one", tmp_path / "one_two")
    call("train", "text", "-o", tmp_path / "one", *further, "--threads", 1)
    assert run("train", "text", "-o", tmp_path / "one_two", *further, processes=2).returncode == 0
    assert run(*tiny, tmp_path / "two_one", processes=2).returncode == 0
    call("train", "text", "-o", tmp_path / "two_one", *further, "--threads", 1)
    for name in ("one_two", "two_one"):
        assert 0 < furthest(tmp_path / "one", tmp_path / name) < NEAR
        assert [each["step"] for each in records(tmp_path / name)] == [4, 8, 12, 16, 20, 24]


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two processes that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("uncut") / "run"
    assert run("train", "text", *LONG, *BUDGET, "-o", folder, processes=2).returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "number"), [(0, signal.SIGINT), (1, signal.SIGTERM), (None, signal.SIGINT)])
def test_an_interruption_of_any_process_leaves_a_run_that_goes_on_to_the_bit(
    tmp_path: Path, uncut: Path, whom: int | None, number: int
) -> None:
    started = start(tmp_path / "cut", *BUDGET)
    os.kill(started.pid if whom is None else workers(started)[whom], number)
    out, err = started.communicate(timeout=100)
    assert (started.returncode, out) == (1, "")
    (line,) = said(err, "interrupted at step")
    assert line.endswith(f"go on with: edgernn train text -o {tmp_path / 'cut'} --resume")
    assert not said(err, "error:")
    done = run("train", "text", "-o", tmp_path / "cut", "--resume", processes=2)
    assert done.returncode == 0, done.stderr
    assert same(uncut, tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_with_one_line_and_a_whole_checkpoint(tmp_path: Path, victim: int) -> None:
    folder = tmp_path / "run"
    started = start(folder)
    os.kill(workers(started)[victim], signal.SIGKILL)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (1, "")
    (line,) = said(err, "error:")
    assert line.startswith("error: another process of the group has ended or cannot be reached (")
    assert line.endswith(f"is whole; go on with: edgernn train text -o {folder} --resume")
    step = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["step"]
    done = run("train", "text", "-o", folder, "--resume", "--max-steps", 50_000, "--max-seconds", 1, processes=2)
    assert done.returncode == 0, done.stderr
    assert records(folder)[0]["step"] == step
    assert not list(folder.glob(".*.part"))  # nor what the killed process was writing


@pytest.mark.slow
def test_two_machines_need_one_run_folder(tmp_path: Path) -> None:
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()
    for extra in (["--dropout", "0", *SMALL], ["--resume", "--max-steps", "16"]):
        running = [
            subprocess.Popen(
                [
                    *TORCHRUN,
                    *("--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)),
                    *("--master-addr", "127.0.0.1", "--master-port", "29731"),
                    *("-m", "edgernn", "train", "text", *extra, "-o", "run"),
                ],
                cwd=home,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for rank, home in enumerate(homes)
        ]
        errors = [each.communicate(timeout=200)[1] for each in running]
        assert [each.returncode for each in running] == [0, 0], errors
    assert records(homes[0] / "run")[-1]["step"] == 16
    assert not list(homes[1].iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "--batch", "7"], "a batch of 7 cannot be divided among 2 processes"),
        (["text", "--data", "missing.txt"], "missing.txt could not be read: No such file or directory"),
        (["text", "--resume"], "holds no run (no run.json)"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("train", *arguments, "-o", tmp_path / "run", processes=2)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = said(done.stderr, "error:")
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_divergence_is_one_line(tmp_path: Path) -> None:
    done = run("train", "text", *SMALL, "--learning-rate", "1e18", "--warmup", "0", "-o", tmp_path / "run", processes=2)
    assert done.returncode == 1
    (line,) = said(done.stderr, "error:")
    assert "training diverged at step" in line
    assert "keeps the last good checkpoint" in line
