"""What quantization refuses: one clear error, and nothing is left in the folder."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import Recording, export, quantize
from edgernn_export.metadata import read_model, write_spec
from edgernn_export.quality import Metric
from edgernn_runtime.errors import (
    EdgeRNNError,
    GateError,
    InputError,
    OutputError,
    OutputExistsError,
    QuantizationError,
)
from edgernn_runtime.spec import BATCH, Spec, StateSpec, TensorSpec

CHANNELS, WIDTH = 20, 17
FRAME = TensorSpec("frame", "float32", (BATCH, CHANNELS), "frame")
Y = TensorSpec("y", "float32", (BATCH, WIDTH), "params")
S = StateSpec("state.s", "next_state.s", "float32", (BATCH, CHANNELS))


class Level(nn.Module):
    """A leaky sum of frames, seen through a matrix: `s = keep s + frame`, `y = s W`, or its exponential."""

    spec = Spec((FRAME,), (Y,), (S,))

    def __init__(self, keep: float = 0.5, *, exponential: bool = False) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.keep, self.exponential = keep, exponential
        self.weight = nn.Parameter(torch.from_numpy(rng.random((CHANNELS, WIDTH)).astype("f4") + 0.5))
        with torch.no_grad():
            self.weight[0] = 0.01

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self.keep * s + frame
        y = s @ self.weight
        return torch.exp(y) if self.exponential else y, s


class Decay(nn.Module):
    """A module without any product: `s = 0.9 s + frame`."""

    spec = Spec((FRAME,), (TensorSpec("y", "float32", (BATCH, CHANNELS), "params"),), (S,))

    def forward(self, frame: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s = 0.9 * s + frame
        return s + 0, s


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Level(), tmp_path_factory.mktemp("level") / "level.onnx").path


def frames(steps: int = 300) -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((steps, CHANNELS)).astype(np.float32)


def stream(steps: int = 300) -> Recording:
    return Recording.of("frame", frames(steps))


@contextmanager
def refused(folder: Path, error: type[EdgeRNNError], message: str) -> Iterator[None]:
    """Expect an error of just this type, of one line, and a folder that is left as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(error, match=message) as raised:
        yield
    assert raised.type is error
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def changed(source: Path, target: Path, index: tuple[int, int], value: float) -> Path:
    """Write a model with one other number in its matrix."""
    proto, spec, _ = read_model(source)
    (tensor,) = (each for each in proto.graph.initializer if list(each.dims) == [CHANNELS, WIDTH])
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[index] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    write_spec(proto, spec)
    target.write_bytes(proto.SerializeToString())
    return target


def test_a_quantized_model_is_not_quantized_again(
    tiny_path: Callable[..., Path], tmp_path: Path, tiny_tokens: NDArray[np.int64]
) -> None:
    recording = Recording.of_tokens("token", tiny_tokens[:100])
    with refused(tmp_path, QuantizationError, "is int8 already; quantize the float32 model that it came from"):
        quantize(tiny_path("gru", "int8"), tmp_path / "x.onnx", precision="int4", recording=recording)


def test_a_model_with_nothing_to_quantize_is_an_error(tmp_path: Path) -> None:
    source = export(Decay(), tmp_path / "decay.onnx").path
    with refused(tmp_path, QuantizationError, "nothing was quantized"):
        quantize(source, tmp_path / "x.onnx", precision="int8", recording=stream())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_named(level: Path, tmp_path: Path, value: float) -> None:
    source = changed(level, tmp_path / "nan.onnx", (3, 4), value)
    with refused(tmp_path, QuantizationError, "weight.* holds NaN or infinity"):
        quantize(source, tmp_path / "x.onnx", precision="fp16", recording=stream())


def test_a_weight_beyond_half_precision_is_named(level: Path, tmp_path: Path) -> None:
    source = changed(level, tmp_path / "large.onnx", (3, 4), 7e4)
    with refused(tmp_path, QuantizationError, "weight.* holds 70000, and half precision ends at 65504"):
        quantize(source, tmp_path / "x.onnx", precision="fp16", recording=stream())


REFUSED: dict[str, tuple[dict[str, Any], type[EdgeRNNError], str]] = {
    "int4 without calibration": ({"precision": "int4"}, QuantizationError, "must be calibrated along live streams"),
    "clipping without calibration": (
        {"precision": "int4", "method": "clipped"}, QuantizationError, "must be calibrated along live streams"
    ),
    "portable int8 without calibration": (
        {"precision": "int8-portable", "method": "nearest"}, QuantizationError, "must be calibrated along live streams"
    ),
    "mixed without a budget": ({"precision": "mixed"}, InputError, "budget; give one with max_loss"),
    "an unknown precision": ({"precision": "int5"}, InputError, "must be one of int8, int4, .*, got int5"),
    "an unknown method": ({"precision": "int4", "method": "awq"}, InputError, "must be one of nearest, .*, got awq"),
    "expanded portable weights": ({"precision": "int8-portable", "expand": True}, InputError, "not expanded at load"),
    "a negative loss": ({"precision": "int8", "max_loss": -0.1}, InputError, "max_loss must be 0 or more.*-0.1"),
    "an infinite loss": ({"precision": "int8", "max_loss": math.inf}, InputError, "max_loss must be .* finite"),
    "a loss of NaN": ({"precision": "int8", "max_loss": math.nan}, InputError, "max_loss must be .* finite"),
    "a negative drift": ({"precision": "int8", "max_drift": -1.0}, InputError, "max_drift must be 0 or more"),
    "an infinite drift": ({"precision": "int8", "max_drift": math.inf}, InputError, "max_drift must be .* finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_met_are_refused(level: Path, tmp_path: Path, name: str) -> None:
    settings, error, message = REFUSED[name]
    with refused(tmp_path, error, message):
        quantize(level, tmp_path / "x.onnx", recording=stream(), **settings)


def one_of(array: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    array[123, 7] = value
    return array


CALIBRATIONS: dict[str, tuple[Callable[[], Recording], str]] = {
    "too short": (lambda: stream(255), "calibration needs 256 steps at least, got 255"),
    "NaN": (lambda: Recording.of("frame", one_of(frames(), math.nan)), "calibration's frame .* at step 123"),
    "infinite": (lambda: Recording.of("frame", one_of(frames(), math.inf)), "calibration's frame .* at step 123"),
    "of another input": (lambda: Recording.of("frames", frames()), "the model has no input frames; it has frame"),
    "of another shape": (lambda: Recording.of("frame", frames()[:, :-1]), r"frame must be float32.*got float32.*19\]"),
    "of another dtype": (lambda: Recording.of("frame", frames() * 1j), "frame must be float32.*got complex64"),
    "empty": (lambda: Recording.of("frame", frames()[:0]), "there are no inputs"),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_calibration_that_does_not_fit_is_refused(level: Path, tmp_path: Path, name: str) -> None:
    make, message = CALIBRATIONS[name]
    with refused(tmp_path, InputError, message):
        quantize(level, tmp_path / "x.onnx", precision="int4", recording=stream(), calibration=make())


def test_a_calibration_of_unknown_tokens_is_refused(
    tiny_path: Callable[..., Path], tmp_path: Path, tiny_tokens: NDArray[np.int64]
) -> None:
    recording, far = (Recording.of_tokens("token", tiny_tokens[:300] + more) for more in (0, 20))
    with refused(tmp_path, InputError, r"token must lie in 0\.\.21"):
        quantize(tiny_path("gru"), tmp_path / "x.onnx", precision="int4", recording=recording, calibration=far)


def test_a_state_that_overflows_while_it_is_calibrated_is_named(level: Path, tmp_path: Path) -> None:
    steep = frames()
    steep[280:] = 3e38
    calibration = Recording.of("frame", steep)
    with refused(tmp_path, InputError, r"state\.s becomes NaN or infinite at step 281 of the calibration"):
        quantize(level, tmp_path / "x.onnx", precision="int4", recording=stream(), calibration=calibration)


def test_a_loss_above_its_limit_fails_and_says_how_near_it_was(level: Path, tmp_path: Path) -> None:
    with refused(tmp_path, GateError, r"the loss is \+.*%, and \+.*% cannot be ruled out; the limit is 1e-07%"):
        quantize(level, tmp_path / "x.onnx", precision="int4", recording=stream(), calibration=stream(), max_loss=1e-9)


def test_a_budget_that_no_mix_keeps_fails_and_says_how_near_it_was(level: Path, tmp_path: Path) -> None:
    with refused(tmp_path, GateError, r"no mix .* within 0%; the nearest, with weights in int8, costs \+"):
        quantize(level, tmp_path / "x.onnx", precision="mixed", recording=stream(), calibration=stream(), max_loss=0)


def test_a_drift_above_its_limit_fails_and_names_the_state(level: Path, tmp_path: Path) -> None:
    with refused(tmp_path, GateError, r"drift apart by .* over 300 steps; the limit is 1e-09.*look at is state\.s"):
        quantize(level, tmp_path / "x.onnx", precision="int8", recording=stream(), calibration=stream(), max_drift=1e-9)


def counted(first: int, second: int) -> Metric:
    sizes = iter((first, second))
    return lambda *_: np.ones(next(sizes))


def broken(*_: object) -> float:
    raise KeyError("targets")


METRICS: dict[str, tuple[Callable[[], Metric], str]] = {
    "NaN": (lambda: lambda *_: math.nan, "numbers that are not finite"),
    "some NaN": (lambda: lambda *_: np.array([1.0, math.nan]), "numbers that are not finite"),
    "nothing": (lambda: lambda *_: np.zeros(0), "the metric gave no numbers"),
    "another number of values": (lambda: counted(20, 19), "gave 20 numbers for the model and 19 for a form"),
    "zero": (lambda: lambda *_: 0.0, "cannot be compared"),
    "a table": (lambda: lambda *_: np.ones((3, 2)), r"got an array of shape \(3, 2\)"),
    "an error": (lambda: broken, "the metric broken failed: KeyError: 'targets'"),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_gives_no_usable_numbers_is_an_error(level: Path, tmp_path: Path, name: str) -> None:
    make, message = METRICS[name]
    with refused(tmp_path, InputError, message):
        quantize(level, tmp_path / "x.onnx", precision="fp16", recording=stream(), metric=make())


def test_a_form_whose_outputs_become_infinite_is_not_written(tmp_path: Path) -> None:
    step = Level(keep=0.0, exponential=True)
    source, large = export(step, tmp_path / "model.onnx").path, np.abs(frames())
    peaks = (large @ step.weight.detach().numpy()).max(axis=1, keepdims=True)
    recording = Recording.of("frame", large * (88.6 / peaks))  # exp(88.8) is no float32
    quantize(source, tmp_path / "fp16.onnx", precision="fp16", recording=recording)
    with refused(tmp_path, QuantizationError, "outputs or states become NaN or infinite; nothing was written"):
        quantize(source, tmp_path / "x.onnx", precision="int4", recording=recording, method="nearest")


def test_the_source_is_not_replaced_by_its_own_form(level: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(level.read_bytes())
    with refused(tmp_path, QuantizationError, "would be replaced by its quantized form; name another file"):
        quantize(source, source, precision="fp16", recording=stream(), overwrite=True)


def test_an_existing_file_is_kept_unless_it_may_be_replaced(level: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"precious")
    with refused(tmp_path, OutputExistsError, "model.onnx"):
        quantize(level, target, precision="fp16", recording=stream())
    assert quantize(level, target, precision="fp16", recording=stream(), overwrite=True).path == target
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("name", "message"), [("model.bin", "must end in .onnx"), ("nowhere/model.onnx", "nowhere does not exist")]
)
def test_a_target_that_cannot_be_written_is_refused(level: Path, tmp_path: Path, name: str, message: str) -> None:
    with refused(tmp_path, OutputError, message):
        quantize(level, tmp_path / name, precision="fp16", recording=stream())
