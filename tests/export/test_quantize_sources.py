"""What a quantized model keeps to: rows that never feel their mates, fused cells, and bundles of several graphs."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgernn.cells import Lowering, lower
from edgernn.models import FrameModel
from edgernn.models.picture import PictureConfig
from edgernn.models.rows import RowModel
from edgernn.models.rows import stages as row_stages
from edgernn_export import Recording, export, export_bundle, quantize
from edgernn_export.outputs import outputs_along
from edgernn_export.quantization.formats import PRECISIONS, Precision
from edgernn_export.quantization.source import Source
from edgernn_runtime import load, load_bundle
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.engines.ort import OrtEngine

CHANNELS = 12
FRAMES = np.random.default_rng(2).standard_normal((300, CHANNELS)).astype(np.float32)
RECORDING = Recording.of("frame", FRAMES)


@pytest.fixture(scope="module")
def frame_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Exports a model of frames with lively weights: `frame_source("lstm")`, `frame_source("lstm", "fused")`."""
    folder = tmp_path_factory.mktemp("frames")

    @cache
    def make(cell: str, lowering: Lowering) -> Path:
        torch.manual_seed(3)
        mean, deviation = [0.0] * CHANNELS, [1.0] * CHANNELS
        model = FrameModel(cell, mean=mean, deviation=deviation, hidden=40, layers=2, output=(7,), distribution="none")
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        lower(model, lowering)
        return export(model.eval(), folder / f"{cell}.{lowering}.onnx").path

    return lambda cell, lowering="cell": make(cell, lowering)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def row_along(engine: Engine, batch: int, row: int, scale: float) -> Array:
    """Return the outputs of one row, the same whatever its mates, which are `scale` times larger."""
    rng = np.random.default_rng([batch, row])
    own = np.random.default_rng(0)
    states = [np.asarray(rng.standard_normal((batch, *state.shape[1:])) * scale, "f4") for state in engine.spec.states]
    for state in states:
        state[row] = own.standard_normal(state.shape[1:])
    executor = engine.executor(batch)
    executor.write_state(states)
    made = []
    for frame in FRAMES[:8]:
        executor.inputs["frame"][:] = rng.standard_normal((batch, CHANNELS)) * scale
        executor.inputs["frame"][row] = frame
        executor.run()
        made.append(executor.outputs["params"][row].copy())
    return np.stack(made)


@pytest.mark.parametrize("precision", ["int8", "int4", "int8-portable"])
def test_a_row_never_feels_its_mates(
    frame_source: Callable[..., Path], tmp_path: Path, cell: str, precision: Precision
) -> None:
    target = tmp_path / "form.onnx"
    quantize(frame_source(cell), target, precision=precision, recording=RECORDING, calibration=RECORDING)
    engine = OrtEngine(target)
    loud = row_along(engine, 64, 17, 8.0)
    assert np.abs(loud).max() > 0.1
    for batch, row in ((64, 17), (64, 0), (2, 0), (2, 1), (3, 1), (16, 15), (7, 3)):
        np.testing.assert_array_equal(row_along(engine, batch, row, 1.0), loud)
    for batch, row in ((1, 0), (3, 2)):  # ONNX Runtime has another kernel for the row that is left over
        np.testing.assert_allclose(row_along(engine, batch, row, 1.0), loud, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_fused_cells_are_plain_products_first_and_the_report_says_so(
    frame_source: Callable[..., Path], tmp_path: Path, cell: str, precision: Precision
) -> None:
    sources = frame_source(cell, "fused"), frame_source(cell)
    assert [OrtEngine(source).spec.lowering for source in sources] == ["fused", "cell"]
    reports = [
        quantize(source, tmp_path / source.name, precision=precision, recording=RECORDING, calibration=RECORDING)
        for source in sources
    ]
    assert [report.relowered for report in reports] == [True, False]
    assert operators(reports[0].path) == operators(reports[1].path)
    assert OrtEngine(reports[0].path).spec.lowering == "cell"
    outputs = [outputs_along(OrtEngine(report.path), RECORDING) for report in reports]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=2e-2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = RowModel(PictureConfig("gru", width=5, height=4, levels=7, classes=3, hidden=20, layers=1))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    folder = tmp_path_factory.mktemp("rows") / "bundle"
    export_bundle(row_stages(model.eval()), folder)
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_graph_of_a_bundle_is_quantized(bundle: Path, tmp_path: Path, precision: Precision) -> None:
    rng = np.random.default_rng(6)
    recording = Recording(
        {"token": rng.integers(0, 7, 400), "class": np.repeat(rng.integers(0, 3, 20), 20)},
        np.arange(400) % 20 == 0,
        rng.integers(0, 7, 400),
    )
    report = quantize(
        bundle,
        tmp_path / "small",
        precision=precision,
        recording=recording,
        calibration=recording,
        max_loss=1.0 if precision == "mixed" else None,
    )
    source, stages = Source.open(bundle), load_bundle(report.path)
    products = {name for name, weight in source.weights.items() if weight.kind == "product"}
    assert products <= {node.name for node in report.nodes} <= source.weights.keys()
    assert {node.name.split("/")[0] for node in report.nodes} == {"row", "pixel"}
    assert {model.spec.precision for model in stages.stages.values()} == {precision}
    assert report.bytes_after == sum(path.stat().st_size for path in report.path.glob("*.onnx")) < report.bytes_before
    assert report.drift.max_abs < 2
    assert load(report.path).spec.states == load(bundle).spec.states
