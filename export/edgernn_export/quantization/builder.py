"""Builder: from a plan to the model files that follow it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgernn_export.metadata import weight_bytes, write_spec
from edgernn_export.passes import tidy
from edgernn_export.quantization.activation import Activation
from edgernn_export.quantization.blocks import Blocks, fitting_block
from edgernn_export.quantization.calibration import Calibration
from edgernn_export.quantization.formats import Blocked, Format, Half, Plan, Precision
from edgernn_export.quantization.methods import Method, needs_moments, quantize_matrix
from edgernn_export.quantization.operators.blocked import look_up_blocks, multiply_blocks
from edgernn_export.quantization.operators.expanded import expand_blocks, expand_half
from edgernn_export.quantization.operators.portable import by_column, look_up_portably, multiply_portably
from edgernn_export.quantization.source import Graph, Source, qualified
from edgernn_export.quantization.weights import Part, Weight
from edgernn_runtime.errors import QuantizationError

_PORTABLE_CODES: Final = 255
_OTHERWISE: Final = "choose the method nearest or hqq, and not int8-portable"


@dataclass(frozen=True, slots=True)
class QuantizedNode:
    """One weight matrix that was quantized.

    Attributes:
        name: The name of its weights.
        shape: Their shape `[K, N]`.
        format: How they are stored.
        max_error: The largest absolute error of a weight.
    """

    name: str
    shape: tuple[int, int]
    format: str
    max_error: float


class Builder:
    """Makes the forms of a source that plans describe, and keeps each matrix that it has rounded. Mutable."""

    def __init__(
        self, source: Source, calibration: Calibration | None = None, *, method: Method = "gptq", expand: bool = False
    ) -> None:
        """Prepare to build.

        Args:
            source: The float32 model.
            calibration: What its weights meet; needed by the methods that know their inputs, and for portable int8.
            method: How products are rounded to blocks; all else is rounded to the nearest value.
            expand: Whether weights are float32 again once the model is loaded.
        """
        self._source = source
        self._calibration = calibration
        self._method = method
        self._expand = expand
        self._weights = source.weights
        self._rounded: dict[tuple[str, Blocked], Blocks] = {}

    def build(self, plan: Plan, precision: Precision) -> Mapping[str, bytes]:
        """Return the content of every model file, by stage.

        Raises:
            QuantizationError: If a format needs a calibration, or one that met this weight.
        """
        return {stage: self._built(stage, graph, plan, precision) for stage, graph in self._source.graphs.items()}

    def nodes(self, plan: Plan) -> tuple[QuantizedNode, ...]:
        """Return what a plan quantizes."""
        found = []
        for name, form in plan.items():
            weight = self._weights[name]
            shape = (int(weight.array.shape[0]), int(weight.array.shape[1]))
            error = np.abs(self.stored(name, form) - weight.array).max()
            found.append(QuantizedNode(name, shape, form.name, float(error)))
        return tuple(found)

    def stored(self, name: str, form: Format) -> NDArray[np.float32]:
        """Return the matrix `[K, N]` that is left of a weight in a format."""
        weight = self._weights[name]
        if isinstance(form, Blocked):
            stored = self.rounded(name, form).weights()
            return stored if weight.kind == "product" else stored.T
        if isinstance(form, Half):
            return weight.array.astype(np.float16).astype(np.float32)
        codes, scales = by_column(weight.array)
        return codes * scales

    def rounded(self, name: str, form: Blocked) -> Blocks:
        """Return a matrix in blocks, those of the transposed one for a table."""
        key = (name, form)
        if key not in self._rounded:
            weight = self._weights[name]
            product = weight.kind == "product"
            moments = self._moments(name) if product else None
            method: Method = self._method if product else "nearest"
            matrix = weight.array if product else weight.array.T
            self._rounded[key] = _in_blocks(matrix, form, method, moments)
        return self._rounded[key]

    def part_alone(self, name: str, part: Part, form: Blocked) -> NDArray[np.float32]:
        """Return what is left of a product `[K, N]` if one part of it alone is rounded."""
        array = self._weights[name].array.copy()
        rows = slice(part.start, part.stop)
        moments = self._moments(name)
        if moments is not None:
            moments = moments[rows, rows]
        array[rows] = _in_blocks(array[rows], form, self._method, moments).weights()
        return array

    def _moments(self, name: str) -> NDArray[np.float64] | None:
        """Return the second moments of what a product multiplies; None if the method does not need them."""
        return self._met(name).moments if needs_moments(self._method) else None

    def _met(self, name: str) -> Activation:
        """Return what a weight is multiplied with."""
        if self._calibration is None:
            raise QuantizationError(f"{name} must be calibrated along live streams; give a recording, or {_OTHERWISE}")
        if name not in self._calibration.inputs:
            raise QuantizationError(f"the calibration never reached {name}; calibrate its stage too, or {_OTHERWISE}")
        return self._calibration.inputs[name]

    def _built(self, stage: str, graph: Graph, plan: Plan, precision: Precision) -> bytes:
        forms = {each.name: plan.get(qualified(stage, each.name)) for each in graph.weights}
        if not any(forms.values()):
            return graph.content
        model = graph.model()
        for weight in graph.weights:
            form = forms[weight.name]
            if form is not None:
                self._store(model, qualified(stage, weight.name), weight, form)
        tidy(model)
        result = ir.to_proto(model)
        expanded = all(self._expand or isinstance(form, Half) for form in forms.values() if form is not None)
        read = weight_bytes(graph.proto if expanded else result)
        write_spec(result, replace(graph.spec, precision=precision, weight_bytes=read, parity=None))
        content: bytes = result.SerializeToString()
        return content

    def _store(self, model: ir.Model, name: str, weight: Weight, form: Format) -> None:
        if isinstance(form, Half):
            expand_half(model, weight)
        elif isinstance(form, Blocked):
            place = expand_blocks if self._expand else multiply_blocks if weight.kind == "product" else look_up_blocks
            place(model, weight, self.rounded(name, form))
        elif weight.kind == "table":
            look_up_portably(model, weight)
        else:
            low, high = self._met(name).histogram.best_range(_PORTABLE_CODES)
            multiply_portably(model, weight, low, high)


def _in_blocks(
    matrix: NDArray[np.float32], form: Blocked, method: Method, moments: NDArray[np.float64] | None
) -> Blocks:
    block = fitting_block(len(matrix), form.block)
    return quantize_matrix(matrix, bits=form.bits, block=block, method=method, moments=moments)
