"""The three rooms import in one direction, and the device's room loads nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgernn_runtime

ROOT = Path(__file__).parents[2]
ROOMS = {
    "edgernn_runtime": ROOT / "runtime/edgernn_runtime",
    "edgernn_export": ROOT / "export/edgernn_export",
    "edgernn": ROOT / "edgernn",
}
RUNTIME = {"edgernn_runtime", "numpy", "onnxruntime"}
EXPORT = RUNTIME | {"edgernn_export", "torch", "onnx", "onnx_ir", "onnxscript", "google"}
TERMINAL = {"typer", "rich"}
HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "typer", "rich", "edgernn", "edgernn_export"}
FILES = [(room, file) for room, folder in ROOMS.items() for file in sorted(folder.rglob("*.py"))]


def wrong_imports(source: str, room: str, *, in_cli: bool = False) -> list[str]:
    """Return the imports in `source`, wherever they stand, that its room may not have."""
    return [name for name in imports(source) if not _allowed(name, room, in_cli=in_cli)]


def imports(source: str) -> Iterator[str]:
    """Yield the full names of the modules that a source imports; relative ones begin with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def _allowed(name: str, room: str, *, in_cli: bool) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if room == "edgernn":
        return bool(top) and (in_cli or top not in TERMINAL)
    if top == "google":
        return room == "edgernn_export" and name.startswith("google.protobuf")
    return top in (RUNTIME if room == "edgernn_runtime" else EXPORT)


@pytest.mark.parametrize(("room", "file"), FILES, ids=lambda each: each.name if isinstance(each, Path) else each)
def test_a_file_imports_only_what_its_room_may(room: str, file: Path) -> None:
    in_cli = file.is_relative_to(ROOMS["edgernn"] / "cli")
    assert [] == wrong_imports(file.read_text(encoding="utf-8"), room, in_cli=in_cli)


def test_every_room_was_found() -> None:
    assert all(len([file for room, file in FILES if room == each]) > 5 for each in ROOMS)


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("edgernn_runtime", "import torch", "torch"),
        ("edgernn_runtime", "import numpy, onnx.helper", "onnx.helper"),
        ("edgernn_runtime", "from edgernn_export.step import StepModule", "edgernn_export.step"),
        ("edgernn_runtime", "from edgernn import cells", "edgernn"),
        ("edgernn_runtime", "def f():\n    import torch", "torch"),
        ("edgernn_runtime", "if TYPE_CHECKING:\n    from torch import Tensor", "torch"),
        ("edgernn_runtime", "try:\n    import onnx\nexcept ImportError:\n    pass", "onnx"),
        ("edgernn_runtime", "import importlib\nimportlib.import_module('torch.nn')", "torch.nn"),
        ("edgernn_runtime", "__import__('typer')", "typer"),
        ("edgernn_runtime", "from . import spec", "."),
        ("edgernn_runtime", "import google.protobuf", "google.protobuf"),
        ("edgernn_export", "from edgernn.models import RecurrentLM", "edgernn.models"),
        ("edgernn_export", "import google.cloud", "google.cloud"),
        ("edgernn_export", "import typer", "typer"),
        ("edgernn_export", "import safetensors", "safetensors"),
        ("edgernn", "from rich.table import Table", "rich.table"),
    ],
)
def test_a_forbidden_import_is_found(room: str, source: str, expected: str) -> None:
    assert [expected] == wrong_imports(source, room)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("edgernn_runtime", "import json, numpy as np\nfrom edgernn_runtime.spec import Spec\nimport onnxruntime.capi"),
        (
            "edgernn_export",
            "import torch, onnx, onnx_ir, onnxscript, numpy\nfrom google.protobuf.message import Message",
        ),
        ("edgernn_export", "from edgernn_runtime.spec import Spec\nfrom edgernn_export.step import StepModule"),
        ("edgernn", "import torch, safetensors, edgernn_export, edgernn_runtime, edgernn.cells"),
    ],
)
def test_what_a_room_may_import_is_not_complained_about(room: str, source: str) -> None:
    assert [] == wrong_imports(source, room)


def test_the_terminal_belongs_to_the_command_line() -> None:
    assert [] == wrong_imports("import typer, rich", "edgernn", in_cli=True)


def test_a_single_stream_loads_neither_pools_nor_bundles() -> None:
    code = "import sys, edgernn_runtime as r; print(*sys.modules); assert r.StreamPool; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    later = {"asyncio", "edgernn_runtime.pool"}
    assert set() == before & {*later, "edgernn_runtime.bundle", "edgernn_runtime.engines.staged"}
    assert later <= after


def test_every_public_name_can_be_had() -> None:
    for name in dir(edgernn_runtime):
        assert getattr(edgernn_runtime, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = edgernn_runtime.nothing


def test_one_file_makes_the_sessions_of_step_models() -> None:
    makers = {(room, file.name) for room, file in FILES if "InferenceSession(" in file.read_text(encoding="utf-8")}
    others = {("edgernn_export", "source.py"), ("edgernn", "onnx_runtime.py")}  # they run originals and stock exports
    assert makers == {("edgernn_runtime", "ort.py"), *others}


def test_the_folders_of_the_rooms_are_no_packages() -> None:
    assert not (ROOT / "runtime/__init__.py").exists()
    assert not (ROOT / "export/__init__.py").exists()


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after running `code`."""
    report = "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_the_runtime_loads_neither_torch_nor_onnx_nor_typer() -> None:
    modules = ("profiling", "text_output", "engines.ort", "engines.native")
    loaded = loaded_by("import edgernn_runtime" + "".join(f", edgernn_runtime.{module}" for module in modules))
    assert {"edgernn_runtime", "numpy", "onnxruntime"} <= loaded
    assert set() == loaded & HEAVY


def test_onnx_runtime_is_loaded_with_the_first_model_that_needs_it() -> None:
    assert "onnxruntime" not in loaded_by("import edgernn_runtime, edgernn_runtime.profiling")


def test_the_check_of_what_is_loaded_can_fail() -> None:
    assert {"onnx", "typer"} <= loaded_by("import edgernn_runtime, onnx, typer") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_no_torch(arguments: list[str]) -> None:
    run = "from edgernn.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    loaded = loaded_by(f"import sys\nsys.argv = ['edgernn', *{arguments}]\n{run}")
    assert "edgernn" in loaded
    assert set() == loaded & {"torch", "onnx", "onnxscript"}


@pytest.mark.parametrize("package", ["edgernn_runtime", "edgernn_export"])
def test_public_names_are_what_they_say_in_every_order_of_imports(package: str) -> None:
    """A function must not turn into the submodule of its name once something has imported that."""
    code = f"""
import importlib, inspect, pkgutil
import {package} as package
names = {{"edgernn_runtime": ["load", "uniforms"], "edgernn_export": ["export", "quantize", "verify"]}}["{package}"]
for _ in range(2):
    for name in names:
        assert inspect.isfunction(getattr(package, name)), name
"""
    assert package in loaded_by(code)
