"""Quantize: a step model with weights in fewer bits, and what that costs in quality."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import onnx_ir as ir

from edgernn_export.metadata import check_model_target, read_model, weight_bytes, write_spec
from edgernn_export.passes import tidy
from edgernn_export.passes.split_gemm import split_gemm
from edgernn_export.quantization.blocks import Bits
from edgernn_export.quantization.matmul_nbits import QuantizedNode, to_matmul_nbits
from edgernn_export.recording import Recording
from edgernn_export.verification import TeacherForced, teacher_forced
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import QuantizationError
from edgernn_runtime.files import write_bytes

Precision = Literal["int8", "int4"]
Metric = Callable[[Engine], float]
"""A figure of quality, called with the model before and after."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a precision stores a weight: its bits, and the weights that share a scale."""

    bits: Bits
    block: int


FORMATS: Final[Mapping[Precision, Format]] = {"int8": Format(8, 128), "int4": Format(4, 64)}


@dataclass(frozen=True, slots=True)
class Quality:
    """What quantization costs.

    Attributes:
        metric: The metric's name.
        before: Its value for the model as it was.
        after: Its value for the quantized model.
    """

    metric: str
    before: float
    after: float

    @property
    def relative(self) -> float | None:
        """The change as a share of the value before; None where that is not positive and finite."""
        return self.after / self.before - 1 if 0 < self.before < math.inf else None


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What a quantization wrote.

    Attributes:
        path: The file.
        precision: The precision of its weights.
        bytes_before: Size of the source file.
        bytes_after: Size of the file.
        nodes: The products that were quantized.
        quality: The metric before and after.
        drift: The distance to the source along the recording, both fed the same inputs.
    """

    path: Path
    precision: Precision
    bytes_before: int
    bytes_after: int
    nodes: tuple[QuantizedNode, ...]
    quality: Quality
    drift: TeacherForced


def quantize(
    source: str | Path,
    target: str | Path,
    *,
    precision: Precision,
    recording: Recording,
    metric: Metric,
    metric_name: str,
    overwrite: bool = False,
) -> QuantizeReport:
    """Write a step model with its weights, and the activations they meet, in fewer bits.

    States, and the arithmetic that updates them, stay float32.

    Args:
        source: A float32 step model.
        target: The file to write.
        precision: `int8` or `int4`; activations are int8 in both.
        recording: Inputs of one stream, to measure drift along.
        metric: The figure of quality.
        metric_name: Its name.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ModelFileError: If the source is no model; SpecError if it is no step model.
        QuantizationError: If the source is quantized already, nothing in it can be, a weight is NaN or
            infinite, or source and target are one file.
        OutputError: If the file cannot be written; OutputExistsError if it exists.
    """
    path, output = Path(source), Path(target)
    check_model_target(output, overwrite=overwrite)
    if output.resolve() == path.resolve():
        raise QuantizationError(f"{path} would be replaced by its quantized form; name another file")
    content, nodes = quantized(path, precision)
    if not nodes:
        raise QuantizationError(f"{path} has no product with a constant float32 matrix, so nothing was quantized")
    before, after = OrtEngine(path), OrtEngine(content)
    quality = Quality(metric_name, metric(before), metric(after))
    drift = teacher_forced(before, after, recording)
    write_bytes(output, content, overwrite=overwrite)
    return QuantizeReport(
        path=output,
        precision=precision,
        bytes_before=path.stat().st_size,
        bytes_after=len(content),
        nodes=nodes,
        quality=quality,
        drift=drift,
    )


def quantized(path: Path, precision: Precision) -> tuple[bytes, tuple[QuantizedNode, ...]]:
    """Return a step model with the weights of its products in fewer bits, and what was quantized, maybe nothing.

    Raises:
        ModelFileError: If the file is no model; SpecError if it is no step model.
        QuantizationError: If it is quantized already, or a weight is NaN or infinite.
    """
    proto, spec, _ = read_model(path)
    if spec.precision != "float32":
        raise QuantizationError(f"{path} is {spec.precision} already; quantize the float32 model that it came from")
    model = ir.from_proto(proto)
    split_gemm(model)
    form = FORMATS[precision]
    nodes = to_matmul_nbits(model, bits=form.bits, block=form.block)
    if not nodes:
        return path.read_bytes(), ()
    tidy(model)
    result = ir.to_proto(model)
    write_spec(result, replace(spec, precision=precision, weight_bytes=weight_bytes(result), parity=None))
    return result.SerializeToString(), tuple(nodes)
