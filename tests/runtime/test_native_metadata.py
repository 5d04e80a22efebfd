"""The metadata of an ONNX file, read without ONNX Runtime: equal to what onnx reads, and damage is an error."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn_runtime.engines.onnx_metadata import read_metadata
from edgernn_runtime.errors import ModelFileError


def by_onnx(path: Path) -> dict[str, str]:
    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def outcome(path: Path) -> tuple[dict[str, str] | None, str]:
    """Return what is read of a file, or else the message of the error."""
    try:
        return read_metadata(path), ""
    except ModelFileError as error:
        return None, str(error)


def with_metadata(path: Path, entries: dict[str, str]) -> Path:
    """Write a model of no nodes with metadata, and with fields before and behind it."""
    graph = onnx.helper.make_graph([], "nothing", [], [])
    model = onnx.helper.make_model(graph, producer_name="a test")
    onnx.helper.set_model_props(model, entries)
    model.functions.add(name="behind")
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_metadata_is_what_onnx_reads(tiny_path: Callable[..., Path], precision: str) -> None:
    path = tiny_path("gru", precision)
    found = read_metadata(path)
    assert "edgernn.model_id" in found
    assert by_onnx(path) == found


@given(st.dictionaries(st.text(), st.text()))
@settings(max_examples=50)
def test_any_metadata_is_what_onnx_reads(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]) -> None:
    path = with_metadata(tmp_path_factory.mktemp("onnx") / "model.onnx", entries)
    assert entries == read_metadata(path)


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    assert {} == read_metadata(with_metadata(tmp_path / "model.onnx", {}))


def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    content = with_metadata(tmp_path / "model.onnx", {"key": "value"}).read_bytes()
    whole, cut = read_metadata(tmp_path / "model.onnx"), tmp_path / "cut.onnx"
    refused = 0
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        found, message = outcome(cut)
        assert found in ({}, whole) or f"{cut} is no ONNX model, or is damaged" in message
        refused += bool(message)
    assert refused > len(content) // 2


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_never_raise_another_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "model.onnx"
    path.write_bytes(content)
    found, message = outcome(path)
    assert found is not None or "is no ONNX model, or is damaged" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x72\xff\xff\xff\xff\x7f", "a field goes beyond its end"),
        (b"\x72" + b"\xff" * 11, "a number has more than 10 bytes"),
        (b"\x73", "the unknown wire type 3"),
        (b"\x72\x03\x0a\x05k", "a field goes beyond its end"),
        (b"\x72\x03\x0a\x01\xff", "invalid start byte"),
        (b"\x72", "it ends within a number"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_metadata(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx does not exist"):
        read_metadata(tmp_path / "gone.onnx")
    with pytest.raises(ModelFileError, match="is a folder"):
        read_metadata(tmp_path)
