"""Compiled libraries of the tiny models, built once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from edgernn_export.compile import compile_model
from edgernn_export.compile.targets import find_target
from edgernn_export.compile.toolchain import build_library
from edgernn_runtime import Model, load


@pytest.fixture(scope="session")
def library_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Compiles a model file for this machine, and returns the library."""

    @cache
    def make(model: Path) -> Path:
        folder = tmp_path_factory.mktemp("native")
        compiled = compile_model(model, folder, name="model")
        built = build_library(
            compiled.source,
            find_target("host"),
            folder / "model.so",
            model_id=compiled.model_id,
            spec=compiled.spec,
        )
        return built.path

    return make


@pytest.fixture(scope="session")
def tiny_library(tiny_path: Callable[..., Path], library_of: Callable[[Path], Path]) -> Callable[..., Path]:
    """Compiles a tiny language model: `tiny_library("lstm")`, `tiny_library("lstm", "int8")`."""
    return lambda cell, precision="float32": library_of(tiny_path(cell, precision))


@pytest.fixture(scope="session")
def native_model(tiny_library: Callable[..., Path]) -> Callable[..., Model]:
    """Loads a compiled tiny language model: `native_model("lstm")`, `native_model("lstm", "int8")`."""
    return lambda cell, precision="float32": load(tiny_library(cell, precision))
