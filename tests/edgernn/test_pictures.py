"""Models of pictures: whole pictures and single steps agree, on the device too; data of every kind, or one error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from edgernn.artefacts.pictures import as_text, between, encode_picture, grid
from edgernn.models.picture import PictureConfig
from edgernn.models.pixels import PixelModel, PixelStep
from edgernn.models.rows import RowModel
from edgernn.models.rows import stages as row_stages
from edgernn.models.vae import RowVAE, VaeConfig
from edgernn.models.vae import stages as vae_stages
from edgernn.tasks.pictures import Pictures, batch_index, digits, read_folder, read_picture
from edgernn.tasks.vae.objective import elbo_loss, kl_nats
from edgernn_export import export, export_bundle
from edgernn_runtime import Model, Sampler, load, load_bundle
from edgernn_runtime.drawing import draw
from edgernn_runtime.errors import DataError, InputError
from edgernn_runtime.png import grey_png

CONFIG = PictureConfig("gru", width=5, height=4, levels=7, classes=3, hidden=12, layers=2)
VAE = VaeConfig("lstm", width=5, height=4, latent=3, hidden=8, layers=2, dropout=0.0, every_step=True)

Greys = NDArray[np.uint8]


def random_weights(model: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    model.eval()


@pytest.fixture(scope="module")
def pixel_model() -> PixelModel:
    model = PixelModel(CONFIG)
    random_weights(model)
    return model


@pytest.fixture(scope="module")
def row_model() -> RowModel:
    model = RowModel(CONFIG)
    random_weights(model)
    return model


@pytest.fixture(scope="module")
def vae() -> RowVAE:
    model = RowVAE(VAE)
    random_weights(model)
    return model


@pytest.fixture(scope="module")
def vae_folder(vae: RowVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae") / "bundle"
    export_bundle(vae_stages(vae), folder)
    return folder


@pytest.fixture(scope="module")
def pixel_runtime(pixel_model: PixelModel, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(PixelStep(pixel_model), tmp_path_factory.mktemp("pixels") / "model.onnx").path)


def some_pictures(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, CONFIG.levels, (CONFIG.pixels, count), generator=generator)
    return pixels, torch.arange(count) % CONFIG.classes


@torch.inference_mode()
def test_pixels_step_by_step_are_those_of_whole_pictures(pixel_model: PixelModel) -> None:
    pixels, kind = some_pictures()
    state, made = pixel_model.init(3), []
    for token in torch.cat([torch.zeros(1, 3, dtype=torch.int64), pixels[:-1]]):
        logits, state = pixel_model.step(token, kind, state)
        made.append(logits)
    torch.testing.assert_close(torch.stack(made), pixel_model.scan(pixels, kind))


@torch.inference_mode()
def test_a_pixel_depends_on_those_before_it_alone(pixel_model: PixelModel, row_model: RowModel) -> None:
    pixels, kind = some_pictures()
    changed = pixels.clone()
    changed[11] = (changed[11] + 1) % CONFIG.levels
    for model in (pixel_model, row_model):
        before, after = model.scan(pixels, kind), model.scan(changed, kind)
        assert torch.equal(before[:12], after[:12])
        assert not torch.equal(before[12], after[12])


def test_the_stages_of_rows_are_the_whole_model_on_a_device(row_model: RowModel, tmp_path: Path) -> None:
    export_bundle(row_stages(row_model), tmp_path)
    pixels, _ = some_pictures(1)
    stream = load(tmp_path).stream()
    stream.set_input("class", np.array(2))
    made = stream.run([0, *pixels[:-1, 0].tolist()])
    with torch.inference_mode():
        expected = row_model.scan(pixels, torch.tensor([2]))[:, 0]
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-5)


def test_given_pixels_stay_and_the_rest_is_drawn_around_them(pixel_runtime: Model) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (4, 5)).astype(np.uint8)
    known = np.random.default_rng(4).random((4, 5)) < 0.5
    codec = CONFIG.codec
    whole = [
        draw(pixel_runtime.stream(seed=seed, sampler=Sampler()), pixel_runtime.spec, given=picture, known=known)
        for seed in (0, 0, 1)
    ]
    kept = codec.decode(codec.encode(picture)).reshape(4, 5)[known]
    assert all((each[known] == kept).all() for each in whole)
    assert (whole[0] == whole[1]).all()
    assert (whole[0] != whole[2]).any()


@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_a_picture_gone_on_from_its_own_first_half_comes_out_the_same(
    pixel_runtime: Model, row_model: RowModel, tmp_path: Path, order: str
) -> None:
    export_bundle(row_stages(row_model), tmp_path / "rows")
    model = pixel_runtime if order == "pixels" else load(tmp_path / "rows")
    for seed in range(3):
        free = draw(model.stream(seed=seed, sampler=Sampler()), model.spec)
        for kept in (1, 2, 3):
            known = np.arange(CONFIG.height)[:, None] < np.full(CONFIG.width, kept)
            again = draw(model.stream(seed=seed, sampler=Sampler()), model.spec, given=free, known=known)
            assert free.tolist() == again.tolist()


@torch.inference_mode()
def test_a_vae_draws_on_a_device_what_it_draws_in_training(vae: RowVAE, vae_folder: Path) -> None:
    latent = np.random.default_rng(0).standard_normal(3).astype(np.float32)
    model = load(vae_folder)
    stream = model.stream()
    stream.set_input("latent", latent)
    expected = torch.sigmoid(vae.decode(torch.from_numpy(latent)[None]))[:, 0].numpy()
    np.testing.assert_allclose(list(stream.generate_frames(4)), expected, atol=1e-6)
    stream.reset()
    stream.set_input("latent", latent)
    np.testing.assert_allclose(draw(stream, model.spec), np.rint(expected * 255), atol=1)


@torch.inference_mode()
def test_an_encoder_reads_a_picture_on_a_device_as_in_training(vae: RowVAE, vae_folder: Path) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (4, 5)).astype(np.uint8)
    rows = torch.from_numpy((picture / np.float32(255)).astype(np.float32))[:, None]
    found = encode_picture(load_bundle(vae_folder), picture)
    np.testing.assert_allclose(found["latent"], vae.encode(rows)[0][0].numpy(), atol=1e-6)


def test_encodings_are_gone_between_in_straight_lines() -> None:
    ends = [{"latent": np.array([value], np.float32)} for value in (0, 1, 5)]
    found = [float(between(ends, share)["latent"][0]) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert [0, 0.5, 1, 3, 5] == found


@torch.inference_mode()
def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 4, 3)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)), torch.distributions.Normal(0, 1)
    )
    torch.testing.assert_close(kl_nats(mean, log_variance), expected)


@torch.inference_mode()
def test_free_bits_and_the_warmup_take_the_divergence_out_of_the_loss(vae: RowVAE) -> None:
    rows = torch.rand(4, 6, 5)

    def loss(kl_weight: float, free_bits: float) -> float:
        torch.manual_seed(0)
        return float(elbo_loss(vae, rows, levels=4, kl_weight=kl_weight, free_bits=free_bits))

    assert loss(0, 0) == loss(0, 100)
    assert loss(1, 100) == pytest.approx(loss(0, 0) + 3 * 100, rel=1e-6)
    assert loss(0, 0) < loss(0.5, 0) < loss(1, 0)


def test_every_picture_is_trained_on_once_an_epoch() -> None:
    taken = np.concatenate([batch_index(10, batch=4, step=step, seed=3) for step in range(5)])
    assert list(range(10)) == sorted(taken[:10]) == sorted(taken[10:])
    assert taken[:10].tolist() != taken[10:].tolist()
    assert list(range(10)) == sorted(batch_index(10, batch=25, step=0, seed=3)[:10])


def test_a_folder_of_pictures_is_read_in_grey_and_in_its_size_with_folders_as_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            grey = np.full((9, 12), 10 * i + (100 if name == "b" else 0), np.uint8)
            (tmp_path / name / f"{i}.png").write_bytes(grey_png(grey))
    found = read_folder(tmp_path, width=4, height=3)
    assert (12, 3, 4) == found.greys.shape
    assert ("a", "b") == found.labels
    assert [0, 10, 20, 30, 40, 50, 100, 110, 120, 130, 140, 150] == found.greys[:, 0, 0].tolist()
    assert [0] * 6 + [1] * 6 == found.classes.tolist()
    train, held_out = found.split(0)
    assert (10, 2) == (len(train.greys), len(held_out.greys))
    assert found.sha256 != Pictures(found.greys, found.classes[::-1].copy(), found.labels).sha256


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(grey_png(np.zeros((2, 2), np.uint8)))
    (tmp_path / "7.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"7\.png is no picture that can be read"):
        read_folder(tmp_path, width=4, height=4)


def test_greys_of_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.arange(0, 64000, 1000, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_picture(tmp_path / "deep.png", width=8, height=8)


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 pictures"):
        read_folder(tmp_path, width=4, height=4)
    with pytest.raises(DataError, match="is no folder"):
        read_folder(tmp_path / "none", width=4, height=4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8)])
def test_a_png_is_read_back_by_another_library_as_it_was(tmp_path: Path, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "p.png").write_bytes(grey_png(picture))
    found, opaque = read_picture(tmp_path / "p.png", width=shape[1], height=shape[0])
    assert picture.tolist() == found.tolist()
    assert opaque.all()


def test_digits_are_scaled_when_asked_for() -> None:
    assert (1797, 8, 8) == digits().greys.shape
    assert (1797, 6, 5) == digits(width=5, height=6).greys.shape
    assert (0, 255) == (digits().greys.min(), digits().greys.max())


def test_pictures_lie_in_a_grid_and_read_as_text() -> None:
    ones = [np.full((2, 2), grey, np.uint8) for grey in (0, 255, 128)]
    whole = grid(ones, columns=2, scale=2)
    assert (10, 10) == whole.shape
    assert (0, 255, 128) == (whole[0, 0], whole[0, -1], whole[-1, 0])
    assert "    \n@@@@" == as_text(np.array([[0, 0], [255, 255]], np.uint8))


def test_only_a_model_that_draws_pixel_by_pixel_draws_around_others(vae_folder: Path) -> None:
    model = load(vae_folder)
    with pytest.raises(InputError, match="only one that draws pixel by pixel"):
        draw(model.stream(), model.spec, given=np.zeros((4, 5), np.uint8), known=np.ones((4, 5), bool))
