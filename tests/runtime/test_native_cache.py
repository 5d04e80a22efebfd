"""The cache of compiled libraries: found by model and CPU, and only where nobody else could have written."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgernn_export import StagedModules, export_bundle, lift
from edgernn_runtime import Link, load, load_bundle
from edgernn_runtime.engines import library_cache
from edgernn_runtime.engines.cpu import cpu_key
from edgernn_runtime.engines.library_cache import cache_folder, cached_path, store_library
from edgernn_runtime.engines.library_file import read_library, with_trailer
from edgernn_runtime.errors import EngineError, ModelFileError, OutputError, SpecError
from edgernn_runtime.spec_json import MODEL_ID_KEY, SPEC_KEY

LOWLY = 54321
"""A user who is not root, whether there is one of this number or not."""


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]  # type: ignore[no-any-return]


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return h.tanh(), h


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that begins with what an encoder computed last."""
    torch.manual_seed(0)
    stages = {
        "encode": lift(Encoder().eval(), "x=float32[B,T,3]"),
        "decode": lift(Decoder().eval(), "x=float32[B,3];h=float32[B,5]"),
    }
    links = (Link("encode", stages["encode"].spec.main_output.name, "decode", "state.h"),)
    folder = tmp_path_factory.mktemp("bundle") / "model"
    export_bundle(StagedModules(stages, {"encode": None}, links), folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache, which does not exist yet."""
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.fixture
def stored(cache: Path, tiny_path: Callable[..., Path], tiny_library: Callable[..., Path]) -> Path:
    """The library of the tiny GRU, in the cache."""
    path = store_library(tiny_library("gru").read_bytes(), load(tiny_path("gru")).model_id)
    assert cache == path.parent
    return path


@pytest.fixture
def lowly(tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user whom the modes of files hold for, with a model and an empty cache in it."""
    if not hasattr(os, "seteuid"):
        pytest.skip("there are no modes of files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.setenv("EDGERNN_CACHE", str(folder / "cache"))
        cache_folder().mkdir(mode=0o700, parents=True)
        shutil.copy(tiny_path("gru"), folder / "model.onnx")
        root = os.geteuid() == 0
        if root:
            for path in (folder, folder / "cache", cache_folder()):
                os.chown(path, LOWLY, -1)
            os.seteuid(LOWLY)
        try:
            yield folder
        finally:
            for path in (folder / "cache", cache_folder()):
                path.chmod(0o700)
            if root:
                os.seteuid(0)


def remedy(model: Path) -> str:
    return f"run: edgernn compile {model} --build --cache"


def test_a_model_finds_its_library(stored: Path, tiny_path: Callable[..., Path]) -> None:
    model = load(tiny_path("gru"), engine="native")
    assert ("native",) == model.providers
    assert load(tiny_path("gru")).model_id == model.model_id
    assert stored.name == f"{model.model_id[:32]}-{cpu_key()}.so"
    assert (0o700, 0o600) == (stored.parent.stat().st_mode & 0o777, stored.stat().st_mode & 0o777)


def test_a_model_without_a_library_is_told_the_command_that_makes_it(
    cache: Path, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_path("gru")
    with pytest.raises(ModelFileError) as caught:
        load(model, engine="native")
    assert f"{model} has no library compiled for this CPU in {cache}; {remedy(model)}" == str(caught.value)
    spaced = Path(shutil.copy(model, tmp_path / "my model.onnx"))
    with pytest.raises(ModelFileError, match=f"run: edgernn compile '{spaced}' --build --cache"):
        load(spaced, engine="native")
    assert not cache.exists()


def test_the_library_of_another_cpu_is_not_found(
    stored: Path, tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored.exists()
    monkeypatch.setattr(library_cache, "cpu_key", lambda: "0" * 16)
    with pytest.raises(ModelFileError, match="has no library compiled for this CPU"):
        load(tiny_path("gru"), engine="native")


def test_the_library_of_another_model_is_stale(
    stored: Path, tiny_path: Callable[..., Path], tiny_library: Callable[..., Path]
) -> None:
    stored.write_bytes(tiny_library("lstm").read_bytes())
    lstm, gru = (load(tiny_path(cell)).model_id[:12] for cell in ("lstm", "gru"))
    with pytest.raises(ModelFileError) as caught:
        load(tiny_path("gru"), engine="native")
    model = tiny_path("gru")
    assert f"{stored} is of model {lstm}, {model} is model {gru}; {remedy(model)}" == str(caught.value)


def test_a_damaged_library_and_one_of_another_abi_are_told_the_command(
    stored: Path, tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, model = bytearray(stored.read_bytes()), tiny_path("gru")
    content[5000] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{stored} is damaged: .*; {remedy(model)}"):
        load(model, engine="native")
    stored.write_bytes(content[:5000])
    with pytest.raises(ModelFileError, match=f"{stored} was not built by edgernn compile.*; {remedy(model)}"):
        load(model, engine="native")
    content[5000] ^= 1
    stored.write_bytes(content)
    description = read_library(stored).description
    with monkeypatch.context() as patch:
        patch.setattr("edgernn_runtime.engines.library_file.ABI", 2)
        stored.write_bytes(with_trailer(b"", description))
    with pytest.raises(ModelFileError, match=f"has ABI 2, this edgernn runs ABI 1.*; {remedy(model)}"):
        load(model, engine="native")


def test_storing_again_replaces_what_is_there(stored: Path, tiny_path: Callable[..., Path]) -> None:
    content = stored.read_bytes()
    stored.write_bytes(b"spoiled")
    assert stored == store_library(content, load(tiny_path("gru")).model_id)
    assert load(tiny_path("gru"), engine="native").spec.vocabulary


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_folder_that_others_may_enter_is_refused(stored: Path, tiny_path: Callable[..., Path], mode: int) -> None:
    content, model_id = stored.read_bytes(), load(tiny_path("gru")).model_id
    stored.parent.chmod(mode)
    message = rf"must be for its owner alone \(mode 0700\), got {mode:04o}; .*chmod 700 {stored.parent}"
    with pytest.raises(EngineError, match=message):
        load(tiny_path("gru"), engine="native")
    with pytest.raises(EngineError, match=message):
        store_library(content, model_id)


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_library_that_others_may_write_is_refused(stored: Path, tiny_path: Callable[..., Path], mode: int) -> None:
    stored.chmod(mode)
    with pytest.raises(EngineError, match=rf"is code that others may write \(mode {mode:04o}\); remove it"):
        load(tiny_path("gru"), engine="native")


def test_symbolic_links_are_refused(stored: Path, tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.so"
    stored.rename(elsewhere)
    stored.symlink_to(elsewhere)
    with pytest.raises(EngineError, match=f"{stored} must be a file, and no symbolic link"):
        load(tiny_path("gru"), engine="native")
    stored.unlink()
    stored.symlink_to(tmp_path / "gone.so")
    with pytest.raises(EngineError, match=f"{stored} must be a file, and no symbolic link"):
        load(tiny_path("gru"), engine="native")
    content = elsewhere.read_bytes()
    store_library(content, load(tiny_path("gru")).model_id)
    assert not stored.is_symlink()
    assert not (tmp_path / "gone.so").exists()


def test_a_folder_that_is_a_symbolic_link_is_refused(
    stored: Path, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    stored.parent.rename(tmp_path / "elsewhere")
    stored.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match=f"{stored.parent} must be a folder, and no symbolic link"):
        load(tiny_path("gru"), engine="native")


def test_a_library_of_another_user_is_refused(
    stored: Path, tiny_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EngineError, match=f"{stored.parent} belongs to another user"):
        load(tiny_path("gru"), engine="native")


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EDGERNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert tmp_path / ".cache/edgernn/native" == cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert tmp_path / ".cache/edgernn/native" == cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg/edgernn/native" == cache_folder()
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "own"))
    assert tmp_path / "own/native" == cache_folder()
    assert cached_path("ab" * 32).parent == cache_folder()


def test_a_user_without_a_home_folder_is_told_which_variable_names_a_cache(
    tiny_path: Callable[..., Path], tiny_library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id, content = load(tiny_path("gru")).model_id, tiny_library("gru").read_bytes()
    for name in ("EDGERNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    message = "lie in the home folder, and this user has none; set EDGERNN_CACHE to another folder"
    with pytest.raises(EngineError, match=message):
        load(tiny_path("gru"), engine="native")
    with pytest.raises(EngineError, match=message):
        store_library(content, model_id)


@pytest.mark.parametrize("locked", ["cache", "cache/native"])
def test_a_folder_that_cannot_be_entered_is_said_to_be_so(lowly: Path, locked: str) -> None:
    (lowly / locked).chmod(0)
    with pytest.raises(ModelFileError, match=f"^{cache_folder()} cannot be read: Permission denied; give yourself"):
        load(lowly / "model.onnx", engine="native")
    with pytest.raises(OutputError, match=f"^{cache_folder()} could not be made or entered: Permission denied"):
        store_library(b"", "0" * 64)


def test_a_cache_that_is_a_file_is_said_to_be_so(
    tiny_path: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelFileError, match=f"^{tmp_path / 'file/native'} cannot be read: Not a directory"):
        load(tiny_path("gru"), engine="native")
    with pytest.raises(OutputError, match=f"^{tmp_path / 'file/native'} could not be made or entered: "):
        store_library(b"", "0" * 64)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, ModelFileError, r"model\.onnx does not exist"),
        (b"no model", ModelFileError, r"model\.onnx is no ONNX model, or is damaged"),
        (b"", SpecError, f"model.onnx: the model has no {SPEC_KEY} in its metadata, so it is no step model"),
    ],
)
def test_a_file_that_is_no_step_model_is_refused(
    cache: Path, tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    assert not cache.exists()
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        load(path, engine="native")


def test_the_id_is_that_of_the_file(stored: Path, tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    """A model whose id was changed has no library, whatever it was called before."""
    content, model_id = tiny_path("gru").read_bytes(), load(tiny_path("gru")).model_id
    assert MODEL_ID_KEY.encode() in content
    path = tmp_path / "changed.onnx"
    path.write_bytes(content.replace(model_id.encode(), b"0" * 64))
    assert stored.exists()
    with pytest.raises(ModelFileError, match="has no library compiled for this CPU"):
        load(path, engine="native")


def test_the_stages_of_a_bundle_are_found_one_by_one(
    cache: Path, bundle_folder: Path, library_of: Callable[[Path], Path]
) -> None:
    expected = load_bundle(bundle_folder)
    files = {name: bundle_folder / stage.file for name, stage in expected.spec.stages.items()}
    for count, (name, file) in enumerate(files.items()):
        with pytest.raises(ModelFileError, match=f"{file} has no library .*; {remedy(bundle_folder)}"):
            load_bundle(bundle_folder, engine="native")
        assert count == len(list(cache.glob("*.so")))
        store_library(library_of(file).read_bytes(), expected.stages[name].model_id)
    found = load_bundle(bundle_folder, engine="native")
    made = []
    for bundle in (expected, found):
        encoder = bundle.stages["encode"].stream()
        encoder.run(np.ones((7, 3), np.float32))
        made.append(bundle.stream({"encode": encoder}).run(np.ones((9, 3), np.float32)))
    np.testing.assert_allclose(made[1], made[0], atol=1e-6)
    assert expected.model.model_id == found.model.model_id
    assert {("native",)} == {stage.providers for stage in found.stages.values()}
