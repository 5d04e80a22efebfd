"""Library files: what they say of themselves is checked before any of their code runs."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from edgernn_runtime import load
from edgernn_runtime.engines import native
from edgernn_runtime.engines.cpu import cpu_features, cpu_key
from edgernn_runtime.engines.library_file import Description, LibraryFile, read_library, with_trailer
from edgernn_runtime.engines.object_file import object_kind, own_kind
from edgernn_runtime.errors import EngineError, ModelFileError, SpecError

TAIL = 8 + 32 + 8


@pytest.fixture
def library(tiny_library: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a library, to be spoiled."""
    return Path(shutil.copy(tiny_library("gru"), tmp_path / "model.so"))


@pytest.fixture
def code(library: Path) -> bytes:
    """The library's code alone."""
    return code_of(library)


def source_of(path: Path) -> dict[str, object]:
    """Return the JSON that describes a library."""
    content = path.read_bytes()
    length = int.from_bytes(content[-TAIL:][:8], "little")
    source = json.loads(content[-TAIL - length : -TAIL])
    assert isinstance(source, dict)
    return source


def described(code: bytes, text: bytes) -> bytes:
    """Return a library whose description is `text`, with the right checksum."""
    return code + text + struct.pack("<Q", len(text)) + sha256(code + text).digest() + b"EDGERNN\x01"


def rewrite(path: Path, **fields: object) -> None:
    """Change fields of a library's description, and its checksum."""
    code, text = code_of(path), json.dumps({**source_of(path), **fields}).encode()
    path.write_bytes(described(code, text))


def write_into(path: Path, content: bytes) -> None:
    """Write a file anew in place, without cutting it off before, which what loaded it would not survive."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def code_of(path: Path) -> bytes:
    """Return a library without its trailer."""
    content = path.read_bytes()
    return content[: -TAIL - int.from_bytes(content[-TAIL:][:8], "little")]


def test_a_description_is_read_as_it_was_written(library: Path, code: bytes) -> None:
    found = read_library(library).description
    assert with_trailer(code, found) == library.read_bytes()
    other = replace(found, target="aarch64-linux", cpu=("asimddp", "é"), compiler="zig cc 0.13 -O3")
    library.write_bytes(with_trailer(b"\x7fELF and so on", other))
    assert other == read_library(library).description


def test_a_library_without_code_is_still_read(library: Path) -> None:
    found = read_library(library).description
    library.write_bytes(with_trailer(b"", found))
    assert LibraryFile(library, found, read_library(library).sha256, kind=None) == read_library(library)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 100, b"EDGERNN\x01"], ids=len)
def test_a_file_without_a_description_was_not_built_by_edgernn(library: Path, content: bytes) -> None:
    library.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.so was not built by edgernn compile, or is cut short"):
        load(library)


def test_a_library_of_something_else_was_not_built_by_edgernn(library: Path, code: bytes) -> None:
    library.write_bytes(code)
    with pytest.raises(ModelFileError, match="was not built by edgernn compile"):
        load(library)


def test_a_library_that_is_cut_short_is_refused_wherever_it_is_cut(library: Path) -> None:
    content = library.read_bytes()
    for length in (1, TAIL - 1, TAIL, len(content) // 2, len(content) - TAIL, len(content) - 1):
        library.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="was not built by edgernn compile, or is cut short"):
            load(library)
        library.write_bytes(content[length:])
        with pytest.raises(ModelFileError, match=r"is damaged|was not built by edgernn compile"):
            load(library)


def test_a_byte_that_changed_is_found_wherever_it_is(library: Path) -> None:
    content = bytearray(library.read_bytes())
    places = [0, 100, len(content) // 2, *range(len(content) - TAIL - 20, len(content))]
    for place in places:
        content[place] ^= 1
        library.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"is damaged|was not built by edgernn compile"):
            load(library)
        content[place] ^= 1
    library.write_bytes(content)
    assert load(library).spec.vocabulary


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"abi": 1}', b"[" * 10_000, b'{"abi": 1, "spec": {}, "model_id": "a"}'],
    ids=range(8),
)
def test_a_description_that_says_nothing_is_damage(library: Path, code: bytes, text: bytes) -> None:
    library.write_bytes(described(code, text))
    with pytest.raises(ModelFileError, match="is damaged: its description"):
        load(library)


@pytest.mark.parametrize("field", ["model_id", "spec", "target", "cpu", "compiler", "abi"])
def test_a_description_that_lacks_a_field_is_damage(library: Path, code: bytes, field: str) -> None:
    source = {name: value for name, value in source_of(library).items() if name != field}
    library.write_bytes(described(code, json.dumps(source).encode()))
    with pytest.raises(ModelFileError, match="is damaged: its description"):
        load(library)


def test_cpu_features_that_are_no_list_are_damage(library: Path) -> None:
    rewrite(library, cpu="avx2")
    with pytest.raises(ModelFileError, match="is damaged: its description lacks a field"):
        load(library)


def test_another_abi_asks_for_compiling_again(library: Path) -> None:
    rewrite(library, abi=2)
    with pytest.raises(ModelFileError, match=r"has ABI 2, this edgernn runs ABI 1; compile the model again"):
        load(library)


def test_a_newer_spec_is_refused_as_that_of_a_model_is(library: Path) -> None:
    source = source_of(library)["spec"]
    assert isinstance(source, dict)
    rewrite(library, spec={**source, "version": 99})
    with pytest.raises(SpecError, match=r"model\.so: edgernn\.spec\.version is 99, this edgernn reads"):
        load(library)


def test_a_model_that_is_not_the_one_expected_is_refused(
    library: Path, tiny_path: Callable[..., Path], frame_path: Path
) -> None:
    model_id, other = load(library).model_id, load(frame_path).model_id
    assert model_id == load(library, model_id=model_id).model_id
    assert model_id == load(tiny_path("gru"), model_id=model_id).model_id
    for path in (library, tiny_path("gru")):
        with pytest.raises(ModelFileError, match=f"is model {model_id[:12]}, and model {other[:12]} is expected"):
            load(path, model_id=other)


def test_a_missing_library_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.so does not exist"):
        load(tmp_path / "gone.so")
    (tmp_path / "folder.so").mkdir()
    with pytest.raises(ModelFileError):
        load(tmp_path / "folder.so")


# The machine


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x7fELF\x02\x01" + bytes(12) + b"\xb7\0", "aarch64 ELF of 64 bits"),
        (b"\x7fELF\x01\x01" + bytes(12) + b"\x28\0", "arm ELF of 32 bits"),
        (b"\x7fELF\x02\x02" + bytes(12) + b"\0\x15", "ppc64 ELF of 64 bits"),
        (b"\x7fELF\x02\x01" + bytes(12) + b"\xff\xee", "machine 61183 ELF of 64 bits"),
        (b"\xcf\xfa\xed\xfe\x0c\0\0\x01", "aarch64 Mach-O"),
        (b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0\x64\x86", "x86_64 PE"),
        (b"\0asm\x01\0\0\0", "WebAssembly"),
        (b"\x7fELF", None),
        (b"MZ", None),
    ],
)
def test_the_machine_of_an_object_file_is_read_from_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert kind == object_kind(head)


def test_the_kind_of_this_process_is_that_of_the_libraries_made_here(library: Path) -> None:
    assert own_kind() is not None
    assert own_kind() == read_library(library).kind


@pytest.mark.parametrize(
    ("machine", "bits", "said"), [(183, 2, "aarch64 ELF of 64 bits"), (3, 1, "x86 ELF of 32 bits")]
)
def test_a_library_for_another_machine_is_refused(
    library: Path, code: bytes, machine: int, bits: int, said: str
) -> None:
    foreign = bytearray(code)
    foreign[4], foreign[18:20] = bits, machine.to_bytes(2, "little")
    library.write_bytes(with_trailer(bytes(foreign), read_library(library).description))
    with pytest.raises(EngineError, match=f"is {said}, this process runs {own_kind()}; compile the model for this"):
        load(library)


def test_cpu_features_that_are_missing_are_named_and_no_code_runs(library: Path) -> None:
    rewrite(library, cpu=["sse2", "avx1024", "amx_fp4"])
    with pytest.raises(EngineError, match=r"model\.so needs a CPU with avx1024, amx_fp4, which this one lacks"):
        load(library)


def test_a_system_that_does_not_say_what_its_cpu_has_runs_what_needs_nothing(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "cpu_features", lambda: None)
    rewrite(library, cpu=["avx2"])
    with pytest.raises(EngineError, match="needs a CPU with avx2, and this system does not say what its CPU has"):
        load(library)
    rewrite(library, cpu=["asimd", "sse2"])
    assert load(library).spec.vocabulary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2\n\nflags\t\t: other\n", {"fpu", "sse2", "avx2"}),
        ("processor\t: 0\nBogoMIPS\t: 50.0\nFeatures\t: fp asimd asimddp\n", {"fp", "asimd", "asimddp"}),
        ("processor\t: 0\nvmx flags\t: ept\n", None),
        ("", None),
    ],
)
def test_cpu_features_are_those_of_the_first_core(tmp_path: Path, text: str, expected: set[str] | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert expected == cpu_features(tmp_path / "cpuinfo")


def test_a_system_without_a_file_of_features_does_not_say(tmp_path: Path) -> None:
    assert cpu_features(tmp_path / "gone") is None
    assert cpu_key() == cpu_key()
    assert len(cpu_key()) == 16


# The code


def test_code_that_is_no_library_is_an_error_of_the_system(library: Path) -> None:
    library.write_bytes(with_trailer(b"no code" * 100, read_library(library).description))
    with pytest.raises(EngineError, match=r"model\.so could not be loaded by the system: "):
        load(library)


def build(path: Path, source: str, description: Description) -> None:
    """Compile C into a library that describes itself as another one does."""
    raw = path.with_suffix(".raw")
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(raw)]
    subprocess.run(command, input=source.encode(), check=True)
    path.write_bytes(with_trailer(raw.read_bytes(), description))


ABI = "unsigned edgernn_abi(void) { return %d; }"
STATE = "unsigned edgernn_state_bytes(void) { return %d; } unsigned edgernn_state_offset(unsigned i) { return %s; }"
STEP = "void edgernn_reset(void *s) { (void)s; } int edgernn_run(void *c) { return c == 0; }"
CHOOSE = "int edgernn_choose(void *c, long t, float u) { return c && t && u > 0; }"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int nothing;", "is no compiled step model: .*edgernn_abi"),
        (ABI % 1 + STATE % (256, "i * 96") + STEP, "is no compiled step model: .*edgernn_choose"),
        (ABI % 7 + STATE % (256, "i * 96") + STEP + CHOOSE, "has code of ABI 7, this edgernn runs ABI 1"),
        (ABI % 1 + STATE % (128, "i * 96") + STEP + CHOOSE, "has 128 bytes of state, its Spec needs 192"),
        (ABI % 1 + STATE % (200, "i * 96") + STEP + CHOOSE, "has 200 bytes of state"),
        (ABI % 1 + STATE % (256, "i * 64") + STEP + CHOOSE, r"keeps state\.1\.h where its Spec does not"),
        (ABI % 1 + STATE % (256, "i * 97") + STEP + CHOOSE, r"keeps state\.1\.h where its Spec does not"),
    ],
)
def test_code_that_does_not_fit_its_description_is_refused(library: Path, source: str, message: str) -> None:
    build(library, source, read_library(library).description)
    with pytest.raises(ModelFileError, match=message):
        load(library)


def test_a_library_that_was_written_into_the_file_of_a_loaded_one_is_refused(
    library: Path, code: bytes, tmp_path: Path
) -> None:
    """Both have the same code, and none is cut off, so that the loaded one goes on."""
    description = read_library(library).description
    first, second = (with_trailer(code, replace(description, compiler=compiler)) for compiler in ("gcc 1", "gcc 2"))
    write_into(library, first)
    loaded = load(library)
    write_into(library, second)
    with pytest.raises(EngineError, match=f"{library} was written over while this process has its former code loaded"):
        load(library)
    (tmp_path / "linked.so").hardlink_to(library)
    with pytest.raises(EngineError, match=r"linked\.so was written over while this process"):
        load(tmp_path / "linked.so")
    (tmp_path / "copied.so").write_bytes(second)
    expected = list(loaded.stream().generate(30))
    assert expected == list(load(tmp_path / "copied.so").stream().generate(30))
    write_into(library, first)
    assert expected == list(load(library).stream().generate(30))


def test_a_library_that_takes_the_place_of_a_loaded_one_is_loaded_itself(
    tiny_library: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.so"
    made = []
    for i, cell in enumerate(("lstm", "gru", "elman", "lstm")):
        source = tiny_library(cell)
        description = replace(read_library(source).description, compiler=f"compiler {i}")
        (tmp_path / "next").write_bytes(with_trailer(code_of(source), description))
        (tmp_path / "next").replace(path)
        expected = list(load(source).stream().generate(30))
        made.append((expected, list(load(path).stream().generate(30))))
    assert all(expected == actual for expected, actual in made)
    assert made[0] != made[1]
