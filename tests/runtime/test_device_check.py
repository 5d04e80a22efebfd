"""`python -m edgernn_runtime`: results to stdout, everything else to stderr, and exit codes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgernn_runtime import Model, Sampler, __version__


def check(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edgernn_runtime", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


def test_without_a_prompt_the_step_is_timed(tiny_path: Callable[..., Path]) -> None:
    done = check(tiny_path("lstm", "int8"))
    lines = done.stdout.decode().splitlines()
    assert (0, b"") == (done.returncode, done.stderr)
    assert lines[0] == f"{tiny_path('lstm', 'int8')}: int8, state of 96 numbers"
    assert lines[1] == "provider cpu, 1000 steps"
    assert lines[2].startswith("step p50 ")


def test_a_model_of_frames_is_timed_too(frame_path: Path) -> None:
    done = check(frame_path)
    assert done.returncode == 0
    assert b"float32, state of 5 numbers" in done.stdout


def test_a_prompt_is_followed_by_the_text_that_a_stream_gives(
    tiny_path: Callable[..., Path], tiny_model: Callable[..., Model]
) -> None:
    stream = tiny_model("gru").stream(seed=7, sampler=Sampler(0.9, 12, 0.97))
    stream.prefill("abc")
    options = ["--temperature", 0.9, "--top-k", 12, "--top-p", 0.97, "--seed", 7, "--max-tokens", 80]
    done = check(tiny_path("gru"), "--prompt", "abc", *options)
    assert done.returncode == 0
    assert "".join(stream.generate_text(80)) + "\n" == done.stdout.decode()
    assert done.stderr.startswith(b"80 tokens, ")


def test_an_empty_prompt_begins_with_the_start_token(
    tiny_path: Callable[..., Path], tiny_model: Callable[..., Model]
) -> None:
    done = check(tiny_path("gru"), "--prompt", "", "--temperature", 0, "--max-tokens", 20)
    assert "".join(tiny_model("gru").stream().generate_text(20)) + "\n" == done.stdout.decode()


def test_text_is_utf_8_whatever_the_terminal_says(byte_path: Path, memorised: str) -> None:
    options = ["--temperature", 0, "--max-tokens", len(memorised.encode())]
    done = check(byte_path, "--prompt", memorised, *options, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (0, memorised + "\n") == (done.returncode, done.stdout.decode())


def test_no_tokens_are_an_empty_line(tiny_path: Callable[..., Path]) -> None:
    done = check(tiny_path("gru"), "--prompt", "a", "--max-tokens", 0)
    assert (0, b"\n", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "aß"], "error: the model was trained without 1 of the text's characters: 'ß' (U+00DF); "),
        (["--temperature", "-1", "--prompt", "a"], "error: temperature must be 0 (greedy) or 0.001 to 1000"),
        (["--seed", "-1", "--prompt", "a"], "error: seed must lie in 0..2**64 - 1, got -1"),
        (["--max-tokens", "-1", "--prompt", "a"], "error: max_tokens must not be negative, got -1"),
        (["--provider", "quantum"], "error: no provider is called quantum; "),
        (["--threads", "0"], "error: threads must lie in 1..256, got 0"),
    ],
    ids=" ".join,
)
def test_an_expected_error_is_one_line_and_exit_code_1(
    tiny_path: Callable[..., Path], arguments: list[str], message: str
) -> None:
    done = check(tiny_path("gru"), *arguments, PYTHONIOENCODING="utf-8")
    assert (1, b"") == (done.returncode, done.stdout)
    assert done.stderr.decode().startswith(message)
    assert done.stderr.count(b"\n") == 1


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"other")
    for path in (tmp_path / "other.onnx", tmp_path / "gone.onnx", tmp_path):
        done = check(path)
        assert (1, b"") == (done.returncode, done.stdout)
        assert done.stderr.startswith(f"error: {path} ".encode())
        assert done.stderr.count(b"\n") == 1


def test_a_model_of_frames_has_no_text(frame_path: Path) -> None:
    done = check(frame_path, "--prompt", "a")
    assert (1, b"") == (done.returncode, done.stdout)
    assert done.stderr.startswith(b"error: the model generates nothing, so nothing can follow a prompt")


def test_wrong_usage_is_exit_code_2() -> None:
    done = check("model.onnx", "--colour", "red")
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"usage: python -m edgernn_runtime" in done.stderr


def test_the_version_is_printed() -> None:
    done = check("--version")
    assert (0, f"{__version__}\n".encode()) == (done.returncode, done.stdout)


def test_a_reader_that_goes_away_ends_the_text_quietly(tiny_path: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "edgernn_runtime", str(tiny_path("gru")), "--prompt", "a", "--max-tokens", "50000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 1)
