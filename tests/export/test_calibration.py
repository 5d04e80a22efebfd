"""Calibration: what is gathered along a stream is what the model met, the state evolving and reset as it is live."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.models import RecurrentLM
from edgernn.models.vae import RowVAE, VaeConfig
from edgernn.models.vae import stages as vae_stages
from edgernn_export import Recording, export, export_bundle, quantize
from edgernn_export.quantization.calibration import Calibration, calibrate, check_calibration
from edgernn_export.quantization.histogram import Histogram
from edgernn_export.quantization.source import Source
from edgernn_runtime import load_bundle
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.codecs.series import Gaps
from edgernn_runtime.errors import InputError, QuantizationError
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

STEPS, SEQUENCE = 520, 40
VAE = VaeConfig("lstm", width=5, height=4, latent=3, hidden=20, layers=1, dropout=0.0, every_step=True)


@pytest.fixture(scope="module")
def recording(tiny_tokens: NDArray[np.int64]) -> Recording:
    """520 tokens in sequences of 40, which is no divisor of what is summed up at once."""
    return Recording({"token": tiny_tokens[:STEPS]}, np.arange(STEPS) % SEQUENCE == 0)


def elman_activations(model: RecurrentLM, recording: Recording) -> tuple[NDArray[np.float64], ...]:
    """Return what torch computes along a recording: the states of both layers after each step, `[steps, hidden]`."""
    state = model.init(1)
    firsts, seconds = [], []
    with torch.inference_mode():
        for token, start in zip(recording.inputs["token"], recording.starts, strict=True):
            state = model.init(1) if start else state
            _, state = model.scan(torch.tensor([[int(token)]]), state)
            firsts.append(state[0][0].double().numpy())
            seconds.append(state[1][0].double().numpy())
    return np.stack(firsts), np.stack(seconds)


def before_step(states: NDArray[np.float64], starts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the states that each step began with."""
    return np.asarray(np.where(starts[:, None], 0, np.roll(states, 1, axis=0)))


def test_what_weights_meet_is_what_torch_computes_along_the_same_stream(
    tiny_path: Callable[..., Path], tiny_lm: Callable[[str], RecurrentLM], recording: Recording
) -> None:
    first, second = elman_activations(tiny_lm("elman"), recording)
    met = calibrate(Source.open(tiny_path("elman")), recording)
    assert met.steps == STEPS
    expected = {
        "model.stack.cells.0.kernel.weight_hh_l0.T": before_step(first, recording.starts),
        "model.stack.cells.1.kernel.weight_ih_l0.T+model.stack.cells.1.kernel.weight_hh_l0.T": np.hstack(
            [first, before_step(second, recording.starts)]
        ),
        "model.head.weight.T": second,
    }
    assert met.inputs.keys() == expected.keys()
    for name, values in expected.items():
        found = met.inputs[name]
        assert found.moments is not None
        np.testing.assert_allclose(found.moments, values.T @ values / STEPS, rtol=0, atol=1e-5)
        peaks = [np.abs(part).max() for part in np.array_split(values, 8)]
        np.testing.assert_allclose(found.peaks, peaks, rtol=0, atol=1e-5)
        assert found.histogram.counts.sum() == values.size
        assert (found.histogram.low, found.histogram.high) == pytest.approx((values.min(), values.max()), abs=1e-5)
    for name, values in zip(("state.0.h", "state.1.h"), (first, second), strict=True):
        assert met.states[name].moments is None
        assert met.states[name].histogram.high == pytest.approx(values.max(), abs=1e-5)
        assert met.states[name].histogram.counts.sum() == values.size


def test_the_calibration_of_any_cell_follows_resets(
    tiny_path: Callable[..., Path], cell: str, recording: Recording
) -> None:
    source = Source.open(tiny_path(cell))
    once = Recording(recording.inputs, np.arange(STEPS) == 0)
    name = "model.stack.cells.0.kernel.weight_hh_l0.T" + (".gates" if cell == "lstm" else "")
    cut, uncut = (calibrate(source, each).inputs[name].histogram for each in (recording, once))
    zeros = len(cut.counts) // 2
    assert cut.counts.sum() == uncut.counts.sum() == STEPS * 24
    assert not np.array_equal(cut.counts, uncut.counts)
    assert cut.counts[zeros] >= 24 * STEPS // SEQUENCE


def test_a_recording_is_split_into_what_is_calibrated_on_and_what_is_measured(
    tiny_path: Callable[..., Path], recording: Recording
) -> None:
    source, name = Source.open(tiny_path("elman")), "model.head.weight.T"
    whole = Recording(recording.inputs, recording.starts, recording.inputs["token"] + 1)
    before, after = whole.split(290)
    assert (len(before), len(after)) == (290, 230)
    assert np.flatnonzero(after.starts).tolist() == [0, *range(30, 230, 40)]
    assert not whole.starts[290]
    for part, place in ((before, slice(290)), (after, slice(290, None))):
        assert part.targets is not None
        np.testing.assert_array_equal(part.inputs["token"], recording.inputs["token"][place])
        np.testing.assert_array_equal(part.targets, recording.inputs["token"][place] + 1)
        assert part.scored.all()
    head = calibrate(source, whole.head(290)).inputs[name]
    np.testing.assert_array_equal(calibrate(source, before).inputs[name].histogram.counts, head.histogram.counts)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.tuples(st.integers(0, 300), st.floats(-14, 20), st.floats(-1, 1)), min_size=1, max_size=6))
def test_a_histogram_counts_everything_and_its_range_grows(parts: list[tuple[int, float, float]]) -> None:
    histogram, limits = Histogram(), []
    arrays = [
        2.0**scale * (np.random.default_rng(index).uniform(-1, 1, size) + centre)
        for index, (size, scale, centre) in enumerate(parts)
    ]
    for array in arrays:
        histogram.add(array)
        limits.append(histogram.limit)
    values = np.concatenate(arrays)
    assert histogram.counts.sum() == values.size
    assert limits == sorted(limits)
    if values.size:
        assert (histogram.low, histogram.high) == (values.min(), values.max())
        assert np.abs(values).max() <= histogram.limit
        width = 2 * histogram.limit / len(histogram.counts)
        centres = np.linspace(-histogram.limit, histogram.limit, 2 * len(histogram.counts) + 1)[1::2]
        assert abs(float((histogram.counts * centres).sum()) / values.size - values.mean()) <= width


def test_the_best_range_of_a_normal_distribution_leaves_a_lonely_outlier_out() -> None:
    values = np.random.default_rng(0).standard_normal(500_000)
    histogram = Histogram()
    histogram.add(values)
    low, high = histogram.best_range(255)
    assert 3 < -low <= -values.min()
    assert 3 < high <= values.max()
    histogram.add(np.array([40.0]))
    low, high = histogram.best_range(255)
    assert histogram.high == 40
    assert 3 < high < 30

    def squared_error(first: float, last: float) -> float:
        step = (last - first) / 255
        everything = np.append(values, 40.0)
        return float(np.square(np.clip(np.rint(everything / step) * step, first, last) - everything).sum())

    assert squared_error(low, high) < 0.75 * squared_error(values.min(), 40.0)


@pytest.mark.parametrize(("low", "high"), [(2.0, 3.0), (-3.0, -2.0)])
def test_the_best_range_holds_zero(low: float, high: float) -> None:
    histogram = Histogram()
    histogram.add(np.linspace(low, high, 1000))
    found = histogram.best_range(255)
    assert found[0] <= 0 <= found[1]
    assert max(abs(found[0]), abs(found[1])) == pytest.approx(3, rel=0.05)


def test_a_signal_that_never_leaves_zero_has_a_range() -> None:
    histogram = Histogram()
    histogram.add(np.zeros(100))
    assert histogram.best_range(255) == (0, 0)


class Counting(nn.Module):
    """A sum of all frames, which grows without end, and a leaky one, which does not."""

    spec = Spec(
        inputs=(TensorSpec("frame", "float32", (BATCH, 3), "frame"),),
        outputs=(TensorSpec("y", "float32", (BATCH, 17), "params"),),
        states=(
            StateSpec("state.sum", "next_state.sum", "float32", (BATCH, 3)),
            StateSpec("state.leaky", "next_state.leaky", "float32", (BATCH, 3)),
            StateSpec("state.count", "next_state.count", "int64", (BATCH, 1)),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 17)

    def forward(self, frame: Tensor, total: Tensor, leaky: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        total, leaky = total + frame, 0.9 * leaky + frame
        return self.head(torch.cat([total, leaky], dim=1)), total, leaky, count + 1


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return export(Counting().eval(), tmp_path_factory.mktemp("counting") / "model.onnx").path


def met_by(counting: Path, starts: NDArray[np.bool_]) -> Calibration:
    frames = np.random.default_rng(1).random((len(starts), 3)).astype(np.float32)
    return calibrate(Source.open(counting), Recording({"frame": frames}, starts))


def test_a_state_that_counts_upward_is_said_to_grow_and_a_bounded_one_is_not(counting: Path) -> None:
    met = met_by(counting, np.arange(400) == 0)
    assert met.growing == ("state.sum",)
    assert met.states.keys() == {"state.sum", "state.leaky"}
    peaks = met.states["state.sum"].peaks
    assert peaks.tolist() == sorted(peaks.tolist())


def test_a_state_that_resets_keep_small_does_not_grow(counting: Path) -> None:
    assert met_by(counting, np.arange(400) % 50 == 0).growing == ()


@pytest.fixture(scope="module")
def vae_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = RowVAE(VAE)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    folder = tmp_path_factory.mktemp("vae") / "bundle"
    export_bundle(vae_stages(model.eval()), folder)
    return folder


def vae_recordings(folder: Path) -> tuple[Recording, Recording]:
    """Return what the bundle's stream and its encoder are fed: 80 pictures of 4 rows."""
    rng, steps = np.random.default_rng(2), 320
    spec = load_bundle(folder).model.spec
    inputs = {each.name: rng.standard_normal((steps, *each.sized(1)[1:])).astype(np.float32) for each in spec.inputs}
    starts = np.arange(steps) % VAE.height == 0
    return Recording(inputs, starts), Recording({"row": rng.random((300, VAE.width), np.float32)}, starts[:300])


def test_a_stage_with_a_stream_of_its_own_is_calibrated_by_its_own_recording(vae_bundle: Path, tmp_path: Path) -> None:
    drawn, read = vae_recordings(vae_bundle)
    source = Source.open(vae_bundle)
    whole, alone = calibrate(source, drawn, stages={"encode": read}), calibrate(source, drawn)
    assert {name.split("/")[0] for name in whole.inputs} == {"encode", "begin", "decode"}
    assert {name.split("/")[0] for name in alone.inputs} == {"begin", "decode"}
    products = {name for name, weight in source.weights.items() if weight.kind == "product"}
    assert whole.inputs.keys() == products
    assert {name.split("/")[0] for name in whole.states} == {"encode", "decode"}
    rows = read.inputs["row"].astype(np.float64)
    (moments,) = (
        each.moments[: VAE.width, : VAE.width]
        for name, each in whole.inputs.items()
        if name.startswith("encode/") and "weight_ih" in name and each.moments is not None
    )
    np.testing.assert_allclose(moments, rows.T @ rows / len(rows), rtol=0, atol=1e-5)
    report = quantize(
        vae_bundle, tmp_path / "small", precision="int4", recording=drawn, calibration=drawn,
        stage_calibrations={"encode": read},
    )  # fmt: skip
    assert {node.name for node in report.nodes if node.format == "int4"} <= products


def test_int4_without_a_recording_of_every_stage_is_an_error_and_no_bundle(vae_bundle: Path, tmp_path: Path) -> None:
    drawn, _ = vae_recordings(vae_bundle)
    with pytest.raises(QuantizationError, match="never reached encode/"):
        quantize(vae_bundle, tmp_path / "small", precision="int4", recording=drawn, calibration=drawn)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("gaps", "step"), [("mask", 9), ("last", 7)])
def test_a_missing_value_is_an_input_only_where_the_model_takes_it(gaps: Gaps, step: int) -> None:
    spec = Spec(
        (TensorSpec("value", "float32", (BATCH, 1), "frame"),),
        (TensorSpec("y", "float32", (BATCH, 1), "params"),),
        (),
        codec=SeriesCodec(("level",), gaps, (0.0,)),
    )
    values = np.ones((300, 1), np.float32)
    values[7] = np.nan
    with nullcontext() if gaps == "mask" else pytest.raises(InputError, match="value is NaN or infinite at step 7"):
        check_calibration(Recording.of("value", values), spec)
    values[9] = np.inf
    with pytest.raises(InputError, match=f"NaN or infinite at step {step}"):
        check_calibration(Recording.of("value", values), spec)
