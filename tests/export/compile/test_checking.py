"""The check of a library before it is kept: what differs from the model in ONNX Runtime is refused."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgernn_export.compile.checking import check_library
from edgernn_runtime.errors import ParityError
from tests.export.compile.graphs import library_of, write_graph


def write_scaled(path: Path, *, scale: float = 8, offset: int = 0) -> Path:
    """Write a model of `tanh(scale * x)`, and of the integer part of `8 * x` with an offset."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Tanh", ["scaled"], ["y"]),
        helper.make_node("Mul", ["x", "eight"], ["larger"]),
        helper.make_node("Cast", ["larger"], ["whole"], to=7),
        helper.make_node("Add", ["whole", "offset"], ["count"]),
    ]
    return write_graph(
        path,
        nodes,
        inputs={"x": (4,)},
        outputs={"y": ("float32", (4,)), "count": ("int64", (4,))},
        constants={"scale": np.float32(scale), "eight": np.float32(8), "offset": np.int64(offset)},
    )


def test_a_library_of_the_model_passes_and_is_timed(tmp_path: Path) -> None:
    path = write_scaled(tmp_path / "model.onnx")
    assert 0 < check_library(library_of(path), path) < 1e6


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"scale": 9.0}, "the compiled y differs from ONNX Runtime's by .* at step 0; the library is not kept"),
        ({"offset": 1}, "the compiled count differs from ONNX Runtime's in 64 of 64 steps; the library is not kept"),
    ],
    ids=["numbers", "integers"],
)
def test_a_library_that_computes_something_else_is_refused(other: dict[str, float], said: str, tmp_path: Path) -> None:
    library = library_of(write_scaled(tmp_path / "other.onnx", **other))
    with pytest.raises(ParityError, match=said):
        check_library(library, write_scaled(tmp_path / "model.onnx"))
