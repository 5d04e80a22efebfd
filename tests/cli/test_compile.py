"""`edgernn compile`: what it writes and says, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgernn_export.compile.targets import TARGETS
from edgernn_runtime import load

Edgernn = Callable[..., Any]

KEYS = {"source", "header", "library", "target", "flash_bytes", "ram_bytes", "stack_bytes", "macs_per_step"}


@pytest.fixture
def model(tiny_path: Callable[..., Path]) -> Path:
    return tiny_path("gru")


def test_a_model_becomes_a_source_and_a_header(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    result = edgernn("compile", model, "-o", tmp_path / "c", "--name", "tiny_model", "--json").json
    assert KEYS <= result.keys()
    assert (result["source"], result["header"]) == (
        str(tmp_path / "c" / "tiny_model.c"),
        str(tmp_path / "c" / "tiny_model.h"),
    )
    assert (result["library"], result["target"], result["measured"]) == (None, "host", False)
    assert min(result["flash_bytes"], result["ram_bytes"], result["stack_bytes"], result["macs_per_step"]) > 0
    assert f'"{load(model).model_id}"' in Path(result["header"]).read_text()


def test_a_library_is_built_and_generates(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    result = edgernn("compile", model, "-o", tmp_path, "--name", "m", "--build", "--json").json
    assert (result["library"], result["measured"]) == (str(tmp_path / "m.so"), True)
    assert 0 < result["step_us"] < 1e5
    expected = edgernn("generate", model, "--max-tokens", 20).out
    assert edgernn("generate", tmp_path / "m.so", "--max-tokens", 20).out == expected


def test_a_library_in_the_cache_is_what_the_native_engine_runs(
    edgernn: Edgernn, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    missing = edgernn("generate", model, "--engine", "native")
    assert missing.code == 1
    assert f"run: edgernn compile {model} --build --cache" in missing.err
    result = edgernn("compile", model, "--build", "--cache", "--json").json
    assert result["source"] is None
    assert Path(result["library"]).is_relative_to(tmp_path / "cache")
    assert edgernn("generate", model, "--engine", "native", "--max-tokens", 5).code == 0


def test_the_table_has_a_row_for_each_figure(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    outcome = edgernn("compile", model, "-o", tmp_path)
    names = [line.split("  ")[0].strip() for line in outcome.out.splitlines() if line.strip()]
    assert {"source", "flash bytes", "ram bytes", "stack bytes", "macs per step"} <= set(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say where the C goes with --output, or --cache"),
        (("-o", "out", "--target", "z80"), "no target is called 'z80'; there are host,"),
        (("--cache", "--target", "wasm32"), "--target must be host, got wasm32"),
        (("-o", "out", "--build", "--compiler", "no-such-cc"), "no-such-cc is not installed"),
        (("-o", "out", "--name", "GRU"), "cannot be called 'GRU'; --name gru is possible"),
        (("-o", "out", "--name", ""), "cannot be called ''; --name value is possible"),
        (("-o", "file/out"), "file/out could not be made: Not a directory; name another folder"),
        (("-o", "file"), "file is no folder; name one to write to"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(
    arguments: tuple[str, ...],
    message: str,
    edgernn: Edgernn,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    outcome = edgernn("compile", model, *arguments)
    assert outcome.code == 1
    assert not Path("out").exists()
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_file_is_kept_unless_it_is_forced(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "m.c"
    source.write_text("mine")
    refused = edgernn("compile", model, "-o", tmp_path, "--name", "m")
    assert (refused.code, source.read_text()) == (1, "mine")
    assert not (tmp_path / "m.h").exists()
    assert edgernn("compile", model, "-o", tmp_path, "--name", "m", "--force").code == 0


def test_nothing_is_written_beside_a_library_that_may_not_be_replaced(
    edgernn: Edgernn, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.so").write_text("mine")
    assert edgernn("compile", model, "-o", tmp_path, "--name", "m", "--build").code == 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".c", ".h", ".so")] == ["m.so"]


def test_the_compilers_own_complaint_is_in_the_message(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit 0\necho "no room left" >&2\nexit 3\n')
    broken.chmod(0o755)
    outcome = edgernn("compile", model, "-o", tmp_path, "--name", "m", "--build", "--compiler", broken)
    assert outcome.code == 1
    assert "no room left" in outcome.err
    assert not list(tmp_path.glob("m.*"))


def test_a_library_beside_new_c_is_not_passed_over_in_silence(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    arguments = ("compile", model, "-o", tmp_path, "--name", "m")
    assert edgernn(*arguments, "--build").code == 0
    outcome = edgernn(*arguments, "--force")
    assert outcome.code == 0
    assert f"warning: {tmp_path / 'm.so'} was left as it is" in outcome.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ("-Dedgernn_reset=edgernn_other", "is no compiled step model"),
        ("-Dcopysignf=fmaxf", "differs from ONNX Runtime's"),
    ],
)
def test_a_library_that_is_not_found_good_replaces_none(
    spoiled: str, message: str, edgernn: Edgernn, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    arguments = ("compile", model, "-o", tmp_path, "--name", "m", "--build", "--cache", "--json")
    made = edgernn(*arguments).json
    files = (tmp_path / "m.so", Path(made["library"]))
    good = [file.read_bytes() for file in files]
    outcome = edgernn(*arguments, "--force", "--compiler", f"gcc {spoiled}")
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert [file.read_bytes() for file in files] == good
    for file in files:
        file.unlink()
    assert edgernn(*arguments, "--force", "--compiler", f"gcc {spoiled}").code == 1
    assert not any(file.exists() for file in files)


def test_json_is_one_object(edgernn: Edgernn, model: Path, tmp_path: Path) -> None:
    out = edgernn("compile", model, "-o", tmp_path, "--json").out
    assert json.loads(out)["target"] == "host"


def test_the_help_names_every_target(edgernn: Edgernn) -> None:
    text = " ".join(edgernn("compile", "--help").out.replace("│", " ").split())
    for name in TARGETS:
        assert re.search(rf"[ :]{name}[,; ]", text), name


@pytest.mark.parametrize("command", ["generate", "inspect", "compile", "profile"])
def test_compiled_code_is_no_model(command: str, edgernn: Edgernn, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(b"\0asm\1\0\0\0")
    outcome = edgernn(command, module, *(["-o", tmp_path] if command == "compile" else []))
    assert outcome.code == 1
    assert f"{module} is compiled code (WebAssembly); give the .onnx file that it was made of" in outcome.err
