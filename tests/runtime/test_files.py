"""Files are written whole or not at all."""

from pathlib import Path
from typing import BinaryIO

import pytest

from edgernn_runtime.errors import OutputError, OutputExistsError
from edgernn_runtime.files import check_target, write_bytes, write_file


def half_then_fail(error: BaseException) -> object:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    return write


def test_content_is_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new", b"content", overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert [tmp_path / "new"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_file(tmp_path / "new", half_then_fail(error), overwrite=False)  # type: ignore[arg-type]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("no"), OSError(28, "No space left on device")], ids=repr)
def test_a_writer_that_fails_keeps_the_old_content(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(OutputError if isinstance(error, OSError) else ValueError):
        write_file(tmp_path / "old", half_then_fail(error), overwrite=True)  # type: ignore[arg-type]
    assert (tmp_path / "old").read_bytes() == b"old"
    assert [tmp_path / "old"] == list(tmp_path.iterdir())


def test_a_full_disk_is_an_output_error_that_says_so(tmp_path: Path) -> None:
    error = OSError(28, "No space left on device")
    with pytest.raises(OutputError, match="new could not be written: No space left on device"):
        write_file(tmp_path / "new", half_then_fail(error), overwrite=False)  # type: ignore[arg-type]


def test_a_reader_sees_the_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    seen = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(target.read_bytes())

    write_file(target, write, overwrite=True)
    assert [b"old"] == seen
    assert target.read_bytes() == b"new"


def test_a_reader_that_has_the_old_file_open_goes_on_reading_it(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        write_bytes(target, b"new", overwrite=True)
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match=r"old exists; choose another name, or replace it with --force"):
        write_bytes(target, b"new", overwrite=False)
    with pytest.raises(FileExistsError):
        check_target(target, overwrite=False)
    assert target.read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_bytes(tmp_path / "nowhere" / "new", b"", overwrite=False)
    assert str(caught.value) == f"the folder {tmp_path / 'nowhere'} does not exist; create it first"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_is_no_target(tmp_path: Path, *, overwrite: bool) -> None:
    with pytest.raises(OutputError, match="is a folder; name a file inside it"):
        write_bytes(tmp_path, b"", overwrite=overwrite)
    assert [] == list(tmp_path.iterdir())


def test_a_relative_name_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("new"), b"content", overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"content"
