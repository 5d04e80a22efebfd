"""Targets are found by name, and compilers say which CPU features each of them needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgernn_export.compile.cpu_macros import features_of_macros
from edgernn_export.compile.targets import TARGETS, find_target
from edgernn_runtime.engines.cpu import cpu_features
from edgernn_runtime.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent))
from machines import found_compiler

FEATURES = {
    "x86_64-linux": ({"avx2", "fma", "bmi2"}, {"avx512f"}),
    "x86_64-linux-vnni": ({"avx2", "avx512f", "avx512bw", "avx512_vnni"}, {"avx512_bf16"}),
    "aarch64-linux": ({"asimd"}, {"asimddp", "sve"}),
    "aarch64-linux-dotprod": ({"asimd", "asimddp"}, {"sve", "i8mm"}),
    "armv7-linux": (set[str](), {"asimd"}),
    "thumbv7em": (set[str](), {"asimd"}),
    "wasm32": (set[str](), {"avx2"}),
}
MACROS = {
    "x86_64-linux-vnni": ("__AVX512VNNI__", "__AVX512VL__"),
    "aarch64-linux-dotprod": ("__ARM_FEATURE_DOTPROD", "__ARM_NEON"),
    "armv7-linux": ("__ARM_NEON", "__ARM_PCS_VFP"),
    "thumbv7em": ("__ARM_FEATURE_DSP", "__ARM_PCS_VFP", "__ARM_FP"),
    "thumbv7em-m7": ("__ARM_FEATURE_DSP", "__ARM_PCS_VFP", "__ARM_FP"),
    "riscv64-linux": ("__riscv_flen",),
    "wasm32": ("__wasm_simd128__",),
}


def _macros(target: str, command: str | None, folder: Path) -> str:
    compiler = found_compiler(find_target(target), command)
    (folder / "empty.c").write_text("")
    return compiler.run([*compiler.options(find_target(target)), "-dM", "-E", "empty.c"], folder=folder)


def test_targets_go_by_their_names() -> None:
    assert [target.name for target in TARGETS.values()] == list(TARGETS)
    assert find_target("thumbv7em") is TARGETS["thumbv7em"]


def test_an_unknown_target_is_refused_with_the_ones_that_exist() -> None:
    with pytest.raises(CompileError, match=r"no target is called 'avr'; there are host, x86_64-linux, "):
        find_target("avr")


@pytest.mark.parametrize("command", [None, "zig"])
@pytest.mark.parametrize("target", FEATURES)
def test_a_target_needs_the_features_that_its_name_promises(target: str, command: str | None, tmp_path: Path) -> None:
    needed, excluded = FEATURES[target]
    features = set(features_of_macros(_macros(target, command, tmp_path)))
    assert needed <= features
    assert not excluded & features


@pytest.mark.parametrize("command", [None, "zig"])
@pytest.mark.parametrize("target", MACROS)
def test_a_compiler_offers_the_instructions_that_kernels_ask_for(
    target: str, command: str | None, tmp_path: Path
) -> None:
    defined = {line.split()[1] for line in _macros(target, command, tmp_path).splitlines()}
    assert set(MACROS[target]) <= defined


@pytest.mark.parametrize("command", ["gcc", "clang", "zig"])
def test_this_machine_has_every_feature_that_its_own_code_needs(command: str, tmp_path: Path) -> None:
    present = cpu_features()
    if present is None:
        pytest.skip("this system does not say what its CPU can do")
    assert set(features_of_macros(_macros("host", command, tmp_path))) <= present


def test_every_target_is_named_in_one_word_for_the_command_line() -> None:
    assert all(name == name.lower() and " " not in name for name in TARGETS)


def test_targets_load_without_a_compiler() -> None:
    code = "import edgernn_export.compile.targets as t; print(len(t.TARGETS))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""}, timeout=120
    )
    assert int(result.stdout) == len(TARGETS)
