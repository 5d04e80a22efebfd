"""Sensitivity: what each weight matrix costs when it alone is rounded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgernn_export.metadata import write_spec
from edgernn_export.quality import Judge
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import Progress
from edgernn_export.quantization.formats import INT4, INT8
from edgernn_export.quantization.source import Source, qualified
from edgernn_export.quantization.weights import Weight


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one matrix of the source costs when it alone is rounded, all else float32.

    Attributes:
        weight: The qualified name of the weight matrix of the graph.
        part: The name of the source's matrix in it, such as the input or the recurrent weights of a layer.
        format: How it is stored.
        relative: The loss, as `Quality.relative`.
        kl_nats: The divergence of its token distribution, as `Quality.kl_nats`.
    """

    weight: str
    part: str
    format: str
    relative: float
    kl_nats: float | None

    @property
    def damage(self) -> float:
        """The figure to compare matrices by: the divergence, which noise moves least, else the loss; at least 0."""
        return max(self.relative if self.kl_nats is None else self.kl_nats, 0.0)


def sensitivities(source: Source, builder: Builder, judge: Judge, progress: Progress) -> tuple[Sensitivity, ...]:
    """Return what each matrix costs that is judged: products in int4, tables in int8.

    Only the weights are rounded; what rounded activations add is in the quality of the whole.
    """
    judged = {name: weight for name, weight in source.weights.items() if source.judged(name)}
    parts = [(name, weight, part) for name, weight in judged.items() for part in weight.parts]
    found = []
    for done, (name, weight, part) in enumerate(parts):
        progress("sensitivity", done, len(parts))
        if weight.kind == "product":
            form, array = INT4, builder.part_alone(name, part, INT4)
        else:
            form, array = INT8, builder.stored(name, INT8)
        quality = judge.quality(source.opened(_with_weight(source, name, weight, array)))
        found.append(Sensitivity(name, part.name, form.name, quality.relative, quality.kl_nats))
    progress("sensitivity", len(parts), len(parts))
    return tuple(found)


def _with_weight(source: Source, name: str, weight: Weight, array: NDArray[np.float32]) -> Mapping[str, bytes]:
    """Return the contents of a source with other numbers in one weight."""
    contents = {}
    for stage, graph in source.graphs.items():
        contents[stage] = graph.content
        if qualified(stage, weight.name) == name:
            model = graph.model()
            model.graph.initializers[weight.name].const_value = ir.tensor(array, name=weight.name)
            proto = ir.to_proto(model)
            write_spec(proto, graph.spec)
            contents[stage] = proto.SerializeToString()
    return contents
