"""A model in several graphs: an encoder whose last output begins the decoder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgernn_export import StagedModules, export_bundle, lift
from edgernn_export.bundle_files import write_bundle
from edgernn_runtime import Bundle, Link, load_bundle
from edgernn_runtime.bundle_spec import check_bundle, read_bundle
from edgernn_runtime.errors import InputError, ModelFileError, OutputError, OutputExistsError, SpecError


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5, batch_first=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, h = self.rnn(x)
        return {"last": h[-1], "speaker": y[:, -1, :2].tanh()}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3 + 2, 5)

    def forward(self, x: Tensor, h: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(torch.cat([x, speaker], -1), h)
        return h.tanh(), h


LINKS = (Link("encode", "last", "decode", "state.h"), Link("encode", "speaker", "decode", "speaker"))
EXAMPLE = "x=float32[B,3];h=float32[B,5];speaker=float32[B,2]"


@pytest.fixture(scope="module")
def modules() -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    return Encoder().eval(), Decoder().eval()


@pytest.fixture(scope="module")
def folder(modules: tuple[Encoder, Decoder], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundle") / "model"
    stages = {"encode": lift(modules[0], "x=float32[B,T,3]"), "decode": lift(modules[1], EXAMPLE)}
    export_bundle(StagedModules(stages, {"encode": None}, LINKS), target)
    return target


def test_a_decoder_begins_with_what_the_encoder_computed_last(folder: Path, modules: tuple[Encoder, Decoder]) -> None:
    bundle = load_bundle(folder)
    x, y = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    encoder = bundle.stages["encode"].stream()
    encoder.run(x)
    made = bundle.stream({"encode": encoder}).run(y)

    with torch.no_grad():
        first = modules[0](torch.from_numpy(x)[None])
        h, expected = first["last"], []
        for frame in torch.from_numpy(y):
            output, h = modules[1](frame[None], h, first["speaker"])
            expected.append(output[0].numpy())
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_the_file_names_stages_and_links(folder: Path) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    assert content["stages"] == {
        "encode": {"file": "encode.onnx", "every": None},
        "decode": {"file": "decode.onnx", "every": 1},
    }
    assert content["links"][0] == {"source": "encode", "output": "last", "target": "decode", "input": "state.h"}


def test_a_stage_needs_the_streams_that_it_begins_with(folder: Path) -> None:
    bundle = load_bundle(folder)
    with pytest.raises(InputError, match="decode begins with what encode computed"):
        bundle.stream()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda links: links[0].update(source="other"), "a link names other, which is no stage"),
        (lambda links: links[0].update(output="other"), "encode has no output other; it has last, speaker"),
        (lambda links: links[0].update(input="z"), "decode has no state or input z"),
        (lambda links: links[0].update(output="speaker"), r"encode.speaker is float32\[2\], but decode.state.h is"),
        (lambda links: links[0].pop("input"), "is no bundle"),
        (lambda links: links[0].update(source=["encode"]), "is no bundle: a link must be four names"),
    ],
)
def test_a_link_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    change(content["links"])
    for file in folder.glob("*.onnx"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(SpecError, match=message):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, ModelFileError, r"is a folder without a bundle\.json, not a model"),
        ("{", ModelFileError, "is no JSON"),
        ("[]", SpecError, "is no bundle"),
        ('{"version": 3, "stages": {}, "links": []}', SpecError, "has version 3; this code reads version 2"),
        (
            '{"version": 2, "stages": {"a": {"file": "../a.onnx"}}, "links": []}',
            SpecError,
            "must lie in the bundle's own folder",
        ),
        ('{"version": 2, "stages": {"a": {"file": "a.onnx"}}, "links": []}', ModelFileError, "a.onnx"),
        ('{"version": 2, "stages": {"a": {"file": "a.onnx", "tempo": 3}}, "links": []}', SpecError, "is no bundle"),
        *(
            (
                f'{{"version": 2, "stages": {{"a": {{"file": "a.onnx", "every": {every}}}}}, "links": []}}',
                SpecError,
                "it must be a number from 0, or null",
            )
            for every in ("-1", "1.5", "true", '"1"')
        ),
    ],
)
def test_a_broken_bundle_is_one_clear_error(
    tmp_path: Path, text: str | None, error: type[Exception], message: str
) -> None:
    if text is not None:
        (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(error, match=message):
        load_bundle(tmp_path)


def test_an_existing_bundle_is_kept(folder: Path, modules: tuple[Encoder, Decoder]) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(OutputExistsError):
        export_bundle(StagedModules({"encode": lift(modules[0], "x=float32[B,T,3]")}, {}, ()), folder)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert isinstance(load_bundle(folder), Bundle)


def test_a_bundle_that_fails_halfway_leaves_no_mixture(folder: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(folder, tmp_path / "model"))
    bundle = read_bundle(target)
    (target / "decode.onnx").unlink()
    (target / "decode.onnx").mkdir()
    with pytest.raises(OutputError):
        write_bundle(target, bundle, {"encode": b"new", "decode": b"new"}, overwrite=True)
    assert (target / "encode.onnx").read_bytes() == (folder / "encode.onnx").read_bytes()
    assert read_bundle(target) == bundle


def test_an_input_that_stages_share_begins_with_one_output(modules: tuple[Encoder, Decoder]) -> None:
    steps = {name: lift(modules[0], "x=float32[B,T,3]") for name in ("one", "two")} | {
        "decode": lift(modules[1], EXAMPLE)
    }
    links = tuple(Link(name, "speaker", "decode", "speaker") for name in ("one", "two"))
    staged = StagedModules(steps, {"one": None, "two": None}, links)
    with pytest.raises(SpecError, match="which would begin with two outputs"):
        check_bundle(staged.spec, {name: step.spec for name, step in steps.items()})
