"""The gan task: its data, the game of its two networks, how a game is lost, and the generator on a device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional
from typer.testing import CliRunner

from edgernn.cells.stack import CELLS
from edgernn.cli import main
from edgernn.cli.app import app
from edgernn.models.gan import GanConfig, GeneratorStep, SeriesGan, Streams, frozen
from edgernn.tasks import MODEL, find_task
from edgernn.tasks.gan.data import GanData, as_batch, windows_of
from edgernn.tasks.gan.likeness import PATIENCE, distance, drawn_windows, evaluate
from edgernn.tasks.gan.objective import bound_weights, discriminator_loss, draw_noise, game_loss, new_streams
from edgernn.tasks.gan.scores import Judged, discriminative_score, predictive_score
from edgernn.tasks.gan.settings import GanSettings
from edgernn.tasks.gan.sources import Recordings, detrended, load_recordings
from edgernn.tasks.share import Share
from edgernn.training import Run, Trainer
from edgernn_export import export
from edgernn_runtime import Model, SeriesCodec, load
from edgernn_runtime.distributions import normals
from edgernn_runtime.errors import DataError, InputError, TrainingError
from edgernn_runtime.noise import Noise

Windows = NDArray[np.float32]

TASK = find_task("gan")
CONFIG = GanConfig(
    cell="gru",
    hidden=8,
    layers=1,
    noise=3,
    latent=0,
    means=(50.0, -1.0),
    deviations=(10.0, 0.5),
    changes=(0.5, 0.7),
)
CODEC = SeriesCodec(("level", "flow"), "interpolate", CONFIG.means)


def settings(**values: Any) -> GanSettings:
    common: dict[str, Any] = {"window": 8, "hidden": 8, "batch": 8, "max_steps": 4, "valid_every": 2}
    return GanSettings(**common | values)


def waves(rows: int = 200, columns: int = 1) -> Windows:
    steps = np.arange(rows)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.2, (rows, columns))
    return (50 + 3 * np.sin(2 * np.pi * steps / 7 + np.arange(columns)) + noise).astype(np.float32)


def wave_data(told: GanSettings) -> GanData:
    values = waves()
    return GanData(Recordings(("wave",), (values[:150],), (values[150:],)), told)


def make_model(config: GanConfig = CONFIG) -> SeriesGan:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SeriesGan(config)


def new_trainer(folder: Path, told: GanSettings, *, resume: bool = False) -> Trainer:
    torch.set_num_threads(1)
    data = wave_data(told)
    run = Run(folder, TASK, told, data.facts, data.sha256)
    if not resume:
        run.create(data)
    return Trainer(run, data, resume=resume)


def train(trainer: Trainer) -> None:
    trainer.train(stop=lambda: False, report=lambda _: None)


def exported(folder: Path, config: GanConfig = CONFIG) -> tuple[SeriesGan, Model]:
    model = make_model(config)
    export(GeneratorStep(model.averaged(), CODEC), folder / "model.onnx")
    return model, load(folder / "model.onnx")


def command(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output


def gradients(loss: torch.Tensor, module: torch.nn.Module) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))


@pytest.mark.parametrize("compress", [0.0, 10.0])
@pytest.mark.parametrize("latent", [0, 2])
@pytest.mark.parametrize("cell", [*CELLS])
def test_a_stream_makes_of_noise_what_the_generator_makes_of_it_in_training(
    tmp_path: Path, cell: str, latent: int, compress: float
) -> None:
    config = replace(CONFIG, cell=cell, latent=latent, compress=compress, limit=compress / 8)
    model, deployed = exported(tmp_path, config)
    stream = deployed.stream(seed=5)
    stream.draw_latents()
    made = np.stack(list(stream.generate_frames(20)))
    noise = torch.from_numpy(np.stack([Noise(5).uniforms(step, config.noise) for step in range(20)])).unsqueeze(1)
    drawn = torch.from_numpy(normals(Noise(5).uniforms(2**63, 2 * latent))).view(1, latent)
    generator = model.averaged()
    with torch.inference_mode():
        expected, _ = Streams.start(generator, drawn).make(generator, noise)
    np.testing.assert_allclose(made, expected[:, 0].numpy(), rtol=1e-4, atol=1e-3)


def test_compressed_values_stay_near_those_that_were_seen() -> None:
    data = wave_data(settings(compress=10.0))
    model: Any = TASK.model(data.settings, data.facts)
    with torch.inference_mode():
        model.average *= 1e3
        made = drawn_windows(model, time=20)
        largest = model.generator.scales.scaled(as_batch(data.train)).abs().max()
        assert 1.09 * largest < model.generator.scales.scaled(made).abs().max() < 1.11 * largest


def test_streams_of_one_seed_are_one_series_and_those_of_another_differ(tmp_path: Path) -> None:
    _, model = exported(tmp_path)
    one, two, other = (np.stack(list(model.stream(seed=seed).generate_frames(30))) for seed in (1, 1, 2))
    assert (one == two).all()
    assert not (one == other).any()
    assert model.spec.main_input.name == "value"


def test_a_generator_takes_noise_in_steps_that_are_cut_as_in_one_go() -> None:
    model = make_model(replace(CONFIG, latent=2))
    streams, noise = new_streams(model, 4), draw_noise(model, time=10, batch=4)
    whole, _ = streams.make(model.generator, noise)
    first, after = streams.make(model.generator, noise[:3])
    second, _ = Streams.of(after.tensors).make(model.generator, noise[3:])
    torch.testing.assert_close(torch.cat([first, second]), whole)


@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_each_network_gets_the_gradient_of_its_own_loss_alone(penalty: float) -> None:
    model = make_model()
    scales = model.generator.scales
    real = scales.raw(torch.randn(8, 6, 2))
    made, _ = new_streams(model, 6).make(model.generator, draw_noise(model, time=8, batch=6))
    loss = game_loss(model, real, made, penalty=penalty)
    fooled = functional.softplus(-model.discriminator(scales.scaled(made))).mean()
    judged = discriminator_loss(model.discriminator, scales.scaled(real), scales.scaled(made.detach()), penalty=penalty)
    torch.testing.assert_close(loss, fooled + judged)
    torch.testing.assert_close(gradients(loss, model.discriminator), gradients(judged, model.discriminator))
    torch.testing.assert_close(gradients(loss, model.generator), gradients(fooled, model.generator))
    mixed = gradients(fooled, model.discriminator)
    assert max(float(each.abs().max()) for each in mixed) > 1e-3


def test_weights_that_were_frozen_learn_again_also_behind_an_error() -> None:
    model = make_model()
    with frozen(model.discriminator):
        assert not any(each.requires_grad for each in model.discriminator.parameters())
        assert all(each.requires_grad for each in model.generator.parameters())
    with pytest.raises(ZeroDivisionError), frozen(model.discriminator):
        raise ZeroDivisionError
    assert all(each.requires_grad for each in model.parameters())


def test_the_penalty_is_half_the_mean_squared_gradient_at_real_windows() -> None:
    model = make_model()
    real, made = torch.randn(8, 5, 2), torch.randn(8, 5, 2)
    free = discriminator_loss(model.discriminator, real, made, penalty=0.0)
    paid = discriminator_loss(model.discriminator, real, made, penalty=3.0)
    squares = []
    for i in range(5):
        window = real[:, i : i + 1].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model.discriminator(window).sum(), window)
        squares.append(float(slope.square().sum()))
    assert float((paid - free).detach()) == pytest.approx(1.5 * float(np.mean(squares)), rel=1e-4)


def test_bounded_weights_stretch_no_vector_and_small_ones_stay() -> None:
    model = make_model()
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.mul_(20.0)
        model.discriminator.head.weight.fill_(0.01)
    bound_weights(model.discriminator, CONFIG.hidden)
    kernel: Any = model.discriminator.stack.layers[0]
    for weight in (kernel.kernel.weight_ih_l0, kernel.kernel.weight_hh_l0):
        for gate in weight.detach().chunk(3):
            assert float(torch.linalg.matrix_norm(gate, 2)) == pytest.approx(1.0, rel=1e-4)
    assert torch.equal(model.discriminator.head.weight, torch.full((1, 16), 0.01))


def test_the_exported_weights_are_the_average_and_not_the_last_ones() -> None:
    model = make_model()
    before = model.averaged().head.bias.detach().clone()
    with torch.no_grad():
        model.generator.head.bias += 4.0
    model.follow(0.75)
    torch.testing.assert_close(model.averaged().head.bias, before + 1.0)
    torch.testing.assert_close(model.generator.head.bias, before + 4.0)


def test_training_that_was_cut_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = new_trainer(tmp_path / "whole", settings())
    train(whole)
    cut = new_trainer(tmp_path / "cut", settings())
    asked = iter([False, False, True])
    cut.train(stop=lambda: next(asked), report=lambda _: None)
    resumed = new_trainer(tmp_path / "cut", settings(), resume=True)
    assert resumed.position.step == 3
    train(resumed)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_processes_that_share_the_batches_have_the_gradient_of_one() -> None:
    data = wave_data(settings())

    def step(share: Share) -> tuple[torch.Tensor, list[torch.Tensor], tuple[torch.Tensor, ...]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model: Any = TASK.model(data.settings, data.facts)
            data.share = share
            begun = tuple(share.of(each, 0) for each in TASK.begin(model, data.settings))
            loss, carried = TASK.loss(model, data, step=3, state=begun, spent=0.0)
        return loss.detach(), gradients(loss, model.generator) + gradients(loss, model.discriminator), carried

    chances = [torch.Generator().manual_seed(7) for _ in range(3)]
    whole = step(Share(chance=chances[0]))
    halves = [step(Share(rank, 2, chances[1 + rank])) for rank in range(2)]
    torch.testing.assert_close(whole[0], (halves[0][0] + halves[1][0]) / 2)
    for one, first, second in zip(whole[1], halves[0][1], halves[1][1], strict=True):
        torch.testing.assert_close(one, (first + second) / 2, rtol=1e-4, atol=1e-6)
    for one, first, second in zip(whole[2], halves[0][2], halves[1][2], strict=True):
        torch.testing.assert_close(one, torch.cat([first, second]))


@pytest.mark.parametrize("stabiliser", ["r1", "spectral", "none"])
def test_a_gan_comes_nearer_to_waves(tmp_path: Path, stabiliser: str) -> None:
    told = settings(stabiliser=stabiliser, max_steps=150, valid_every=50, hidden=16, batch=32, learning_rate=5e-3)
    trainer = new_trainer(tmp_path / "run", told)
    with torch.inference_mode():
        before = TASK.evaluate(trainer.model, trainer.data)
    train(trainer)
    assert trainer.position.best_loss < 0.85 * before.loss
    assert set(trainer.position.best_metrics) == {"held_out", "spread", "called_real", "called_made"}


def test_a_diverging_gan_is_an_error_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    told = settings(learning_rate=1e6, max_steps=100, valid_every=1, warmup=0.0)
    trainer = new_trainer(tmp_path / "run", told)
    with pytest.raises(TrainingError, match=r"train anew in another folder, with a lower --learning-rate"):
        train(trainer)
    assert trainer.position.step < 50
    assert not list((tmp_path / "run").glob("*.part")) + list((tmp_path / "run").glob(".*"))
    resumed = new_trainer(tmp_path / "run", told, resume=True)
    assert all(bool(each.isfinite().all()) for each in resumed.model.parameters())


@pytest.mark.parametrize(("factor", "found"), [(0.0, "collapsed: .* 0.0%"), (1e4, "diverged: .*%")])
def test_windows_that_stay_alike_or_run_away_end_a_training(factor: float, found: str) -> None:
    data = wave_data(settings())
    model: Any = TASK.model(data.settings, data.facts)
    train_windows, held = as_batch(data.train), as_batch(data.held)
    with torch.inference_mode():
        evaluate(model, train_windows, held)
        sound = model.average.clone()
        model.average *= factor
        for _ in range(PATIENCE - 1):
            evaluate(model, train_windows, held)
        model.average.copy_(sound)
        evaluate(model, train_windows, held)  # one that is sound begins the count anew
        model.average *= factor
        for _ in range(PATIENCE - 1):
            evaluate(model, train_windows, held)
        with pytest.raises(TrainingError, match=f"{found} as far as real ones"):
            evaluate(model, train_windows, held)


def test_the_distance_is_nothing_from_windows_to_themselves_and_grows_with_level_pace_and_noise() -> None:
    windows = as_batch(windows_of([(waves(500) - 50) / 2], 16))
    assert distance(windows, windows) == 0
    other = as_batch(windows_of([(waves(700)[200:] - 50) / 2], 16))
    near = distance(windows, other)
    assert near < 0.1
    for changed in (windows + 0.5, windows[::2].repeat(2, 1, 1), windows + 0.5 * torch.randn(windows.shape)):
        assert distance(changed, windows) > 2 * near


def test_windows_are_drawn_from_the_same_noise_every_time() -> None:
    model = make_model()
    with torch.inference_mode():
        first = drawn_windows(model, time=5)
        torch.rand(7)
        assert torch.equal(first, drawn_windows(model, time=5))


def test_a_value_loses_the_mean_of_the_rows_that_end_with_it() -> None:
    values = waves(30, 2)
    found = detrended(values, 5)
    assert found.shape == (26, 2)
    np.testing.assert_allclose(found[3], values[7] - values[3:8].mean(0), rtol=1e-4, atol=1e-5)
    assert detrended(values, 0) is values
    assert not len(detrended(values, 31))


def test_a_table_is_cut_into_windows_and_its_end_held_out(tmp_path: Path) -> None:
    path = tmp_path / "waves.csv"
    rows = [f"{row[0]},{row[1]}" for row in waves(100, 2)]
    rows[10] = ",3.0"
    path.write_text("a,b\n" + "\n".join(rows) + "\n")
    told = settings(data=path, window=8)
    data = GanData(load_recordings(told), told)
    assert data.train.shape == (100 - 24 - 7, 8, 2)
    assert data.held.shape == (17, 8, 2)
    assert np.isfinite(data.train).all()
    assert torch.equal(data.batch(3), data.batch(3))
    assert not torch.equal(data.batch(3), data.batch(4))
    recording = data.recordings("valid")[MODEL]
    assert recording.inputs["noise"].shape == (17 * 8, 8)
    np.testing.assert_array_equal(recording.inputs["value"][:8], [[0, 0], *data.held[0, :-1]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n" + "1\n2\n" * 15, "30 rows are too few: 24 are held out, and two windows of 8 are needed"),
        ("a,b\n" + "".join(f"{i % 3},7\n" for i in range(100)), "column b never changes; leave it out with --columns"),
        ("a\n", "no rows of values"),
    ],
)
def test_a_table_that_no_gan_can_learn_is_one_line_on_stderr_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "table.csv").write_text(text)
    own = ["--data", str(tmp_path / "table.csv"), "--window", "8", "--max-steps", "2"]
    monkeypatch.setattr("sys.argv", ["edgernn", "train", "gan", *own, "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert (1, "", 1) == (end.value.code, out, err.count("\n"))
    assert err.startswith("error: ")
    assert said in err
    assert not (tmp_path / "run").exists()


def test_recordings_shorter_than_a_window_are_refused() -> None:
    with pytest.raises(DataError, match="the longest recording has 7 rows, and a window 8; use a smaller --window"):
        GanData(Recordings(("a",), (waves(7),), (waves(5),)), settings())


def test_dropout_is_refused() -> None:
    with pytest.raises(InputError, match="dropout must be 0"):
        settings(dropout=0.1)


def test_motions_are_forty_recordings_and_forty_held_out() -> None:
    pytest.importorskip("aeon", reason="the motions come with aeon")
    recordings = load_recordings(GanSettings(series="motions"))
    assert [len(part) for part in (recordings.train, recordings.held)] == [40, 40]
    assert {each.shape for each in (*recordings.train, *recordings.held)} == {(100, 6)}


def test_a_judge_tells_apart_what_differs_and_not_what_is_alike() -> None:
    windows = windows_of([waves(400)], 12)
    other = windows_of([waves(800)[400:]], 12)
    level = other + 4
    real = Judged(windows[:200], windows[200:])
    assert discriminative_score(real, Judged(level[:200], level[200:]), seed=0) > 0.45
    assert discriminative_score(real, Judged(other[:200], other[200:]), seed=0) < 0.2
    noise = np.random.default_rng(1).normal(50, 2, windows.shape).astype(np.float32)
    learnt, at_a_loss = (predictive_score(real, each, seed=0) for each in (other, noise))
    assert learnt < 0.5 * at_a_loss
    assert learnt == predictive_score(real, other, seed=0)


@pytest.mark.slow
def test_a_run_exports_verifies_and_quantizes(tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "run" / "model.onnx"
    own = ["--series", "sunspots", "--hidden", "16", "--max-steps", "20", "--valid-every", "10"]
    command("train", "gan", *own, "-o", run)
    command("export", run)
    command("verify", model, "--against", run, "--steps", "200")
    for precision in ("int8", "int4"):
        command("quantize", model, "--precision", precision)
        stream = load(run / f"model.{precision}.onnx").stream(seed=1)
        assert np.isfinite(np.stack(list(stream.generate_frames(100)))).all()
