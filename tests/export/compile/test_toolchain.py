"""Compilers are found, code is built for every target, measured, and computes the same bits everywhere."""

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn_export.compile import compile_model, wasm
from edgernn_export.compile.c_compiler import find_compiler
from edgernn_export.compile.elf import read_elf
from edgernn_export.compile.targets import find_target
from edgernn_export.compile.toolchain import Built, build_library, build_object
from edgernn_runtime import Model
from edgernn_runtime.engines.library_file import read_library
from edgernn_runtime.errors import CompileError, OutputExistsError

sys.path.insert(0, str(Path(__file__).parent))
from machines import Machine, found_compiler, logits_on, plain_logits

TOKENS = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7)
QEMU_ARM64 = ("qemu-aarch64", "-cpu", "max")
MACHINES = (
    Machine("host"),
    Machine("host", "clang"),
    Machine("host", "zig"),
    Machine("x86_64-linux", "gcc"),
    Machine("x86_64-linux", "clang"),
    Machine("x86_64-linux-vnni", "gcc"),
    Machine("x86_64-linux-vnni", "clang"),
    Machine("aarch64-linux", None, QEMU_ARM64),
    Machine("aarch64-linux-dotprod", None, QEMU_ARM64),
)
SLOW_MACHINES = (  # zig builds a C library for each, once on a machine
    Machine("aarch64-linux-dotprod", "zig", QEMU_ARM64),
    Machine("armv7-linux", "zig", ("qemu-arm",)),
    Machine("riscv64-linux", "zig", ("qemu-riscv64",)),
)
EVERY_MACHINE = (*MACHINES, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW_MACHINES))

CALLS = """
#include "calls.h"
#define APART static __attribute__((noinline))
static const unsigned char table[1000] = {1};
static unsigned char scratch[3000];
APART int third(volatile char *x) { volatile char y[2048]; y[x[0] & 2047] = 4; return y[x[1] & 2047]; }
APART int second(volatile char *x) { volatile char y[512]; y[x[0] & 511] = 1; return third(y) + x[0]; }
APART int first(volatile char *x) { volatile char y[1024]; y[x[0] & 1023] = 2; return second(y) + x[0]; }
APART int aside(volatile char *x) { volatile char y[1536]; y[x[0] & 1023] = 3; return y[x[1] & 1023] + x[0]; }
int calls_step(calls_state *state, int token) {
    volatile char y[64];
    y[0] = (char)(table[token % 1000] + ++scratch[token % 3000]);
    return first(y) + aside(y) + (int)state->h[0];
}
"""
CALLS_HEADER = """
typedef struct { float h[5]; char flag; } calls_state;
int calls_step(calls_state *state, int token);
"""
CHAIN = 64 + 1024 + 512 + 2048


@pytest.fixture(scope="session")
def source(tiny_path: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a tiny LSTM of one precision as `model.c`."""

    @cache
    def make(precision: str) -> Path:
        return compile_model(tiny_path("lstm", precision), tmp_path_factory.mktemp(precision), name="model").source

    return make


@pytest.fixture(scope="session")
def expected(source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """The bits of the logits of the model of a precision, computed without optimization."""

    @cache
    def run(precision: str) -> list[Any]:
        bits: list[Any] = plain_logits(source(precision), TOKENS, tmp_path_factory.mktemp("expected")).tolist()
        return bits

    return run


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A source whose sizes are known."""
    (tmp_path / "calls.h").write_text(CALLS_HEADER)
    (tmp_path / "calls.c").write_text(CALLS)
    return tmp_path / "calls.c"


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
@pytest.mark.parametrize("machine", EVERY_MACHINE, ids=str)
def test_every_machine_and_compiler_computes_the_same_bits(
    machine: Machine,
    precision: str,
    source: Callable[[str], Path],
    expected: Callable[[str], list[Any]],
    tmp_path: Path,
) -> None:
    assert expected(precision) == logits_on(machine, source(precision), TOKENS, tmp_path).tolist()


def test_the_program_computes_what_the_runtime_computes(
    expected: Callable[[str], list[Any]], tiny_model: Callable[..., Model]
) -> None:
    bits = np.array(expected("float32"), np.uint32)
    stream = tiny_model("lstm").stream()
    logits = np.stack([stream.step(token) for token in TOKENS])
    np.testing.assert_allclose(bits.view("<f4"), logits, atol=1e-4)


@pytest.mark.parametrize("target", ["host", "x86_64-linux", "aarch64-linux", "thumbv7em", "armv7-linux"])
@pytest.mark.parametrize("command", [None, "zig"])
def test_sizes_are_those_of_the_source(target: str, command: str | None, calls: Path, tmp_path: Path) -> None:
    compiler = found_compiler(find_target(target), command)
    built = build_object(calls, find_target(target), tmp_path / "calls.o", compiler=compiler)
    assert built.state_bytes == 24
    assert built.ram_bytes - built.state_bytes == pytest.approx(3000, abs=20)
    assert 1000 < built.flash_bytes < 2000
    assert built.stack_bytes == pytest.approx(CHAIN, abs=200)
    assert "longest chain" in built.stack_source


def test_wasm_takes_the_frames_of_all_functions_for_its_stack(calls: Path, tmp_path: Path) -> None:
    target = find_target("wasm32")
    built = build_object(calls, target, tmp_path / "calls.o", compiler=found_compiler(target, "zig"))
    assert built.state_bytes == 24
    assert built.stack_bytes == pytest.approx(CHAIN + 1536, abs=200)
    assert "all functions" in built.stack_source


@pytest.fixture
def library(tiny_path: Callable[..., Path], tmp_path: Path) -> Callable[..., Built]:
    """Builds a library of a tiny model for a target."""

    def build(target_name: str, compiler: str | None = None) -> Built:
        target = find_target(target_name)
        made = compile_model(tiny_path("gru"), tmp_path, name="tiny", overwrite=True)
        return build_library(
            made.source,
            target,
            tmp_path / f"tiny{target.library_suffix}",
            model_id=made.model_id,
            spec=made.spec,
            compiler=found_compiler(target, compiler),
        )

    return build


@pytest.mark.parametrize("command", ["gcc", "clang", "zig"])
def test_a_library_loads_and_says_what_it_is(
    command: str, library: Callable[..., Built], tiny_model: Callable[..., Model]
) -> None:
    built = library("host", command)
    found = read_library(built.path).description
    assert (found.model_id, found.target) == (tiny_model("gru").model_id, "host")
    assert found.spec == tiny_model("gru").spec
    assert found.cpu == built.cpu
    assert found.compiler.startswith(built.compiler)
    assert "-ffp-contract=off" in found.compiler
    code = ctypes.CDLL(str(built.path))
    assert code.edgernn_abi() == 1
    assert code.edgernn_state_bytes() >= built.state_bytes


def test_a_library_shows_its_functions_and_hides_the_models(library: Callable[..., Built]) -> None:
    code = ctypes.CDLL(str(library("host").path))
    assert hasattr(code, "edgernn_run")
    assert not hasattr(code, "tiny_step")


def test_a_library_for_another_machine_says_so(library: Callable[..., Built]) -> None:
    found = read_library(library("aarch64-linux-dotprod").path)
    assert found.kind == "aarch64 ELF of 64 bits"
    assert "asimddp" in found.description.cpu


def test_a_wasm_module_needs_nothing_and_runs_in_node(library: Callable[..., Built]) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    program = """
        const module = new WebAssembly.Module(require('fs').readFileSync(process.argv[1]));
        const code = new WebAssembly.Instance(module).exports;
        const [said] = WebAssembly.Module.customSections(module, 'edgernn');
        console.log(JSON.stringify({
            imports: WebAssembly.Module.imports(module),
            abi: code.edgernn_abi(),
            heap: code.__heap_base.value,
            memory: code.memory.buffer.byteLength,
            said: JSON.parse(new TextDecoder().decode(said)),
        }));"""
    built = library("wasm32", "zig")
    result = subprocess.run([node, "-e", program, built.path], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(result.stdout)
    assert told["imports"] == []
    assert told["abi"] == 1
    assert told["memory"] + built.state_bytes == built.ram_bytes
    assert told["heap"] <= told["memory"]
    assert told["said"]["target"] == "wasm32"
    assert wasm.custom_section(built.path.read_bytes(), "edgernn") is not None


def test_a_wasm_module_has_stack_for_a_wide_model(tiny_model: Callable[..., Model], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    program = """
        const module = new WebAssembly.Module(require('fs').readFileSync(process.argv[1]));
        const code = new WebAssembly.Instance(module).exports;
        const sums = [code.edgernn_sum(1), code.edgernn_sum(1)];
        console.log(sums.join(), code.edgernn_kept());"""
    (tmp_path / "wide.h").write_text("typedef struct { float h[1]; } wide_state;\n")
    (tmp_path / "wide.c").write_text("""
        #define EXPORTED __attribute__((visibility("default")))
        static volatile int kept[1000] = {[0] = 7, [999] = 7};
        EXPORTED int edgernn_kept(void); EXPORTED int edgernn_sum(int x);
        int edgernn_kept(void) { return kept[0] + kept[999]; }
        int edgernn_sum(int x) {
            volatile int wide[60000];
            int i, sum = 0;
            for (i = 0; i < 60000; ++i) wide[i] = x;
            for (i = 0; i < 60000; ++i) sum += wide[i];
            return sum;
        }""")
    target = find_target("wasm32")
    output = tmp_path / "wide.wasm"
    spec, compiler = tiny_model("gru").spec, found_compiler(target, "zig")
    built = build_library(tmp_path / "wide.c", target, output, model_id="0" * 64, spec=spec, compiler=compiler)
    assert built.stack_bytes == pytest.approx(240_000, abs=200)
    result = subprocess.run([node, "-e", program, output], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "60000,60000 14\n"


def test_a_microcontroller_has_no_libraries(library: Callable[..., Built]) -> None:
    with pytest.raises(CompileError, match="thumbv7em has no libraries; compile an object file"):
        library("thumbv7em", "gcc")


def test_an_existing_file_is_kept(calls: Path, tmp_path: Path) -> None:
    output = tmp_path / "calls.o"
    output.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        build_object(calls, find_target("host"), output)
    assert output.read_bytes() == b"mine"
    build_object(calls, find_target("host"), output, overwrite=True)
    assert read_elf(output) is not None


def test_a_compilers_complaint_is_passed_on(calls: Path, tmp_path: Path) -> None:
    calls.write_text(CALLS + "\nint broken(void) { return missing_name; }\n")
    with pytest.raises(CompileError, match=r"failed: [^|]*error: [^|]*missing_name"):
        build_object(calls, find_target("host"), tmp_path / "calls.o", compiler=find_compiler(find_target("host")))
    assert not (tmp_path / "calls.o").exists()


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CompileError, match="install gcc-aarch64-linux-gnu or pip install ziglang") as error:
        find_compiler(find_target("aarch64-linux"))
    assert "aarch64-linux-gnu-gcc is not installed" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(CompileError, match="code for host; install gcc or clang, or pip install ziglang"):
        find_compiler(find_target("host"))


def test_cc_names_the_compiler_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "mycc"
    mine.write_text(f'#!/bin/sh\nexec {shutil.which("gcc")} "$@"\n')
    mine.chmod(0o755)
    monkeypatch.setenv("CC", f"{mine} -pipe")
    assert find_compiler(find_target("host")).command == (str(mine), "-pipe")


def test_a_compiler_that_is_named_must_be_there() -> None:
    with pytest.raises(CompileError, match="no-such-cc is not installed"):
        find_compiler(find_target("host"), "no-such-cc")


def test_a_gcc_for_another_machine_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    assert gcc is not None
    (tmp_path / "aarch64-linux-gnu-gcc").symlink_to(gcc)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(gcc).parent}")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("edgernn_export.compile.c_compiler._candidates", lambda _: iter(["aarch64-linux-gnu-gcc"]))
    with pytest.raises(CompileError, match="aarch64-linux-gnu-gcc makes code for x86_64"):
        find_compiler(find_target("aarch64-linux"))
