"""Quantizing a bundle: every stage in fewer bits, quality and drift measured of all of them together."""

from pathlib import Path

from edgernn_export.bundle_exporter import check_bundle_target, write_bundle
from edgernn_export.quantization.quantizer import Metric, Precision, Quality, QuantizeReport, quantized
from edgernn_export.recording import Recording
from edgernn_export.verification import teacher_forced
from edgernn_runtime.bundle_spec import read_bundle
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.engines.staged import StagedEngine
from edgernn_runtime.errors import QuantizationError
from edgernn_runtime.profiling import model_bytes


def quantize_bundle(
    source: str | Path,
    target: str | Path,
    *,
    precision: Precision,
    recording: Recording,
    metric: Metric,
    metric_name: str,
    overwrite: bool = False,
) -> QuantizeReport:
    """Write a bundle with the weights of its stages in fewer bits; a stage without products is copied.

    Arguments, results and errors are those of `quantize`, for folders; `bundle.json` is written last.
    """
    folder, output = Path(source), Path(target)
    bundle = read_bundle(folder)
    if output.resolve() == folder.resolve():
        raise QuantizationError(f"{folder} would be replaced by its quantized form; name another folder")
    check_bundle_target(output, bundle, overwrite=overwrite)
    made = {name: quantized(folder / stage.file, precision) for name, stage in bundle.stages.items()}
    nodes = tuple(node for _, found in made.values() for node in found)
    if not nodes:
        raise QuantizationError(f"{folder} has no product with a constant float32 matrix, so nothing was quantized")
    before = open_engine(folder)
    after = StagedEngine(bundle, {name: OrtEngine(content) for name, (content, _) in made.items()})
    quality = Quality(metric_name, metric(before), metric(after))
    drift = teacher_forced(before, after, recording)
    write_bundle(output, bundle, {name: content for name, (content, _) in made.items()}, overwrite=overwrite)
    return QuantizeReport(
        path=output,
        precision=precision,
        bytes_before=model_bytes(folder),
        bytes_after=sum(len(content) for content, _ in made.values()),
        nodes=nodes,
        quality=quality,
        drift=drift,
    )
