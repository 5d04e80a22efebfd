"""The C of a compiled model: what compilers, sanitizers and readers say of it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgernn_export import Recording, quantize
from edgernn_export.compile import Compiled, compile_model
from edgernn_export.compile.program import C_TYPES
from tests.export.compile.test_operators import CASES, Case, case_model

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1")
SANITIZED = (*STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off")
STEPS = 3
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_c_of_an_operator_is_clean_under_sanitizers(case: Case, tmp_path: Path) -> None:
    run_sanitized(compile_model(case_model(case, tmp_path), tmp_path, name="model"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("case", CASES[::7], ids=str)
def test_the_c_has_no_warning(case: Case, compiler: str, tmp_path: Path) -> None:
    compiled = compile_model(case_model(case, tmp_path), tmp_path, name="model")

    for more in ((), ("-DEDGERNN_LIBRARY", "-fvisibility=hidden", "-fPIC")):
        compile_strictly(compiler, compiled.source, (*STRICT, *more))


@pytest.mark.parametrize("case", CASES[::9], ids=str)
def test_generated_c_is_formatted(case: Case, tmp_path: Path) -> None:
    compiled = compile_model(case_model(case, tmp_path), tmp_path, name="model")
    assert_formatted([compiled.source, compiled.header])


@pytest.mark.parametrize("precision", ["float32", "int8", "int4", "int8-portable"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_the_c_of_a_text_model_is_formatted(
    cell: str, precision: str, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    path = tiny_path(cell)
    if precision != "float32":
        recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, 16, 300))
        made = quantize(path, tmp_path / "model.onnx", precision=precision, recording=recording, calibration=recording)
        path = made.path
    compiled = compile_model(path, tmp_path, name="model")
    assert_formatted([compiled.source, compiled.header])
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            compile_strictly(compiler, compiled.source, STRICT)


def test_the_c_of_this_repository_is_formatted() -> None:
    found = [*(ROOT / "export").rglob("*.c"), *(ROOT / "examples").rglob("*.[ch]")]
    assert len(found) > 30
    assert_formatted(found)


def assert_formatted(files: Sequence[Path]) -> None:
    """Fail if files of C are not as .clang-format has them."""
    command = [str(Path(sys.executable).with_name("clang-format")), f"--style=file:{ROOT / '.clang-format'}"]
    result = subprocess.run(
        [*command, "--dry-run", "-Werror", *map(str, files)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def compile_strictly(compiler: str, source: Path, flags: tuple[str, ...]) -> None:
    """Compile a source into an object file; the test is skipped where there is no such compiler."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def run_sanitized(compiled: Compiled, folder: Path) -> None:
    """Run a few steps of a model under the address and undefined-behaviour sanitizers, its arrays on the heap."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    program = folder / "program.c"
    program.write_text(_program(compiled))
    command = ["gcc", *SANITIZED, str(program), str(compiled.source), "-o", str(folder / "program"), "-lm"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.stderr == ""
    ran = subprocess.run([str(folder / "program")], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def _program(compiled: Compiled) -> str:
    """Return a program that takes steps with numbers of its own making."""
    name, spec = compiled.name, compiled.spec
    lines = [f'#include "{name}.h"', "#include <stdlib.h>", "int main(void) {"]
    lines.append(f"    {name}_state *state = malloc(sizeof *state);")
    arguments = ["state"]
    for i, tensor in enumerate((*spec.inputs, *spec.outputs)):
        size, kind = 1, C_TYPES[tensor.dtype]
        for axis in tensor.sized(1):
            size *= axis
        lines.append(f"    {kind} *a{i} = calloc({size}, sizeof({kind}));")
        by_value = tensor in spec.inputs and len(tensor.shape) == 1 and not tensor.dtype.startswith("float")
        arguments.append(f"*a{i}" if by_value else f"a{i}")
    lines += [f"    {name}_reset(state);", f"    for (int step = 0; step < {STEPS}; ++step) {{"]
    for i, tensor in enumerate(spec.inputs):
        if tensor.dtype == "float32":
            size = 1
            for axis in tensor.sized(1):
                size *= axis
            lines.append(
                f"        for (int k = 0; k < {size}; ++k) a{i}[k] = (float)((k * 37 + step * 11) % 23) / 29 + 0.1f;"
            )
        else:
            lines.append(f"        a{i}[0] = step;")
    lines.append(f"        if ({name}_step({', '.join(arguments)}) != 0) return 1;")
    lines += ["    }", "    free(state);"]
    lines += [f"    free(a{i});" for i in range(len(spec.inputs) + len(spec.outputs))]
    return "\n".join([*lines, "    return 0;", "}", ""])
