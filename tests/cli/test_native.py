"""Compiled models on the command line: generate, profile and verify take them as they take others."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgernn_export.compile import compile_model
from edgernn_export.compile.targets import find_target
from edgernn_export.compile.toolchain import build_library
from edgernn_runtime import CharacterCodec, load
from edgernn_runtime.engines.library_cache import store_library

Edgernn = Callable[..., Any]


@pytest.fixture
def model(tiny_path: Callable[..., Path]) -> Path:
    return tiny_path("lstm")


@pytest.fixture(scope="module")
def library(tiny_path: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, compiled."""
    folder = tmp_path_factory.mktemp("native")
    compiled = compile_model(tiny_path("lstm"), folder, name="model")
    target, path = find_target("host"), folder / "model.so"
    return build_library(compiled.source, target, path, model_id=compiled.model_id, spec=compiled.spec).path


@pytest.fixture
def cached(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library in a cache."""
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    return store_library(library.read_bytes(), load(library).model_id)


@pytest.fixture
def text(tmp_path: Path, characters: CharacterCodec) -> Path:
    (tmp_path / "text.txt").write_text(characters.symbols[1:] * 20, encoding="utf-8")
    return tmp_path / "text.txt"


def test_a_library_generates_what_its_model_generates(
    edgernn: Edgernn, model: Path, library: Path, cached: Path
) -> None:
    assert cached.exists()
    options = ("--max-tokens", 60, "--seed", 5)
    expected = edgernn("generate", model, *options)
    assert (0, 61) == (expected.code, len(expected.out))
    for arguments in ((library,), (library, "--engine", "native"), (model, "--engine", "native")):
        outcome = edgernn("generate", *arguments, *options)
        assert (0, expected.out) == (outcome.code, outcome.out)


def test_a_state_that_one_engine_saved_is_continued_by_the_other(
    edgernn: Edgernn, model: Path, library: Path, tmp_path: Path
) -> None:
    whole = edgernn("generate", model, "--max-tokens", 50, "--seed", 5).out
    begun = edgernn("generate", library, "--max-tokens", 20, "--seed", 5, "--save-state", tmp_path / "state.npz").out
    rest = edgernn("generate", model, "--max-tokens", 30, "--state", tmp_path / "state.npz").out
    assert whole == begun.removesuffix("\n") + rest


def test_a_profile_says_which_engine_ran(edgernn: Edgernn, model: Path, library: Path) -> None:
    outcome = edgernn("profile", model, library, "--steps", 50, "--soak", 300, "--json")
    ort, native = outcome.json["models"]
    assert [("onnxruntime", "cpu"), ("native", "native")] == [
        (each["engine"], each["provider"]) for each in (ort, native)
    ]
    assert list(ort) == list(native)
    assert native["cold_start_ms"] > 0
    assert native["peak_rss_bytes"] < ort["peak_rss_bytes"]
    assert ort["macs_per_step"]
    assert native["macs_per_step"] is None
    assert native["nodes"] == {}
    assert native["soak"]["steps"] == 300


def test_a_profile_of_a_model_in_the_cache_names_its_engine(edgernn: Edgernn, model: Path, cached: Path) -> None:
    assert cached.exists()
    outcome = edgernn("profile", model, "--engine", "native", "--steps", 50)
    assert f"{model} (native)" in outcome.out.replace("\n", "")


@pytest.mark.parametrize("option", ["--operators", "--sweep", "--trace"])
def test_what_only_onnx_runtime_has_is_refused(
    edgernn: Edgernn, model: Path, library: Path, option: str, tmp_path: Path
) -> None:
    more = [tmp_path / "trace.json"] if option == "--trace" else []
    for named, arguments in ((library, (model, library)), (model, (model, "--engine", "native"))):
        outcome = edgernn("profile", *arguments, "--steps", 50, option, *more)
        assert (1, "") == (outcome.code, outcome.out)
        assert f"{option} is for models in ONNX Runtime, and {named} runs as compiled code" in outcome.err


def test_a_page_shows_both_engines_side_by_side(edgernn: Edgernn, model: Path, library: Path, tmp_path: Path) -> None:
    outcome = edgernn("profile", model, library, "--steps", 50, "--html", tmp_path / "page.html")
    assert outcome.code == 0, outcome.err
    assert "model.so" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_library_is_verified_against_its_model(
    edgernn: Edgernn, model: Path, library: Path, cached: Path, text: Path
) -> None:
    assert cached.exists()
    options = ("--data", text, "--steps", 300, "--json")
    for arguments in ((library,), (model, "--engine", "native")):
        found = edgernn("verify", *arguments, "--against", model, *options).json
        assert found["passed"]
        assert 0 < found["teacher_forced"]["max_abs"] < 1e-4
        assert found["free_running"]["first_divergence"] is None
    same = edgernn("verify", model, "--against", model, *options).json
    assert same["teacher_forced"]["max_abs"] == 0


def test_drift_of_a_library_beyond_a_limit_fails(edgernn: Edgernn, model: Path, library: Path, text: Path) -> None:
    options = ("--data", text, "--steps", 300, "--max-drift", 0)
    outcome = edgernn("verify", library, "--against", model, *options)
    assert outcome.code == 3
    assert f"{library} differs from {model}" in outcome.err


@pytest.mark.parametrize("command", ["generate", "profile", "verify"])
def test_a_model_without_a_library_is_told_the_command_that_makes_it(
    edgernn: Edgernn, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path))
    more = ("--against", model) if command == "verify" else ()
    outcome = edgernn(command, model, "--engine", "native", *more)
    assert (1, "") == (outcome.code, outcome.out)
    assert outcome.err == (
        f"error: {model} has no library compiled for this CPU in {tmp_path / 'native'}; "
        f"run: edgernn compile {model} --build --cache\n"
    )


def test_the_command_that_an_error_names_makes_the_library(
    edgernn: Edgernn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    prompt = ("--prompt", "the ")
    for model, options in ((trained / "run" / "model.onnx", prompt), (trained / "vae" / "bundle", ())):
        expected = edgernn("generate", model, "--seed", 3, "--json", *options).out
        message = edgernn("generate", model, "--engine", "native").err
        command = shlex.split(message.partition("run: ")[2])
        assert "edgernn" == command[0]
        assert edgernn(*command[1:]).code == 0
        outcome = edgernn("generate", model, "--engine", "native", "--seed", 3, "--json", *options)
        assert outcome.code == 0, outcome.err
        made = [[json.loads(line) for line in out.splitlines()] for out in (expected, outcome.out)]
        assert len(made[0]) > 1
        assert made[0][:-1] == made[1][:-1]


def test_an_engine_that_there_is_not_is_wrong_usage(edgernn: Edgernn, model: Path) -> None:
    outcome = edgernn("generate", model, "--engine", "tract")
    assert outcome.code == 2
    assert "'onnxruntime', 'native'" in outcome.err.replace("\n", "")


def test_a_library_says_what_it_was_compiled_from_and_for(edgernn: Edgernn, model: Path, library: Path) -> None:
    found, source = edgernn("inspect", library, "--json").json, edgernn("inspect", model, "--json").json
    assert (source["spec"], source["model_id"]) == (found["spec"], found["model_id"])
    assert found["operators"] == {}
    assert {"target", "cpu", "compiler"} == found["compiled"].keys()
    shown = edgernn("inspect", library).out
    assert f"compiled for: {found['compiled']['target']}\n" in shown
    assert f"needs:        {' '.join(found['compiled']['cpu'])}" in shown


def test_json_of_a_library_is_one_object_a_token(edgernn: Edgernn, library: Path) -> None:
    lines = edgernn("generate", library, "--max-tokens", 5, "--json").out.splitlines()
    assert ["token", "text"] == list(json.loads(lines[0]))
    assert json.loads(lines[-1])["tokens"] == 5
