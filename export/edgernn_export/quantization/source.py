"""Source: the float32 model that is quantized, a file or a bundle of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from edgernn_export.bundle_files import check_bundle_target, write_bundle
from edgernn_export.metadata import check_model_target, lowering_of, read_model, weight_bytes, write_spec
from edgernn_export.passes import optimize
from edgernn_export.passes.drop_sequence_axis import RECURRENT
from edgernn_export.passes.lower_recurrent import lower_recurrent
from edgernn_export.passes.split_gemm import split_gemm
from edgernn_export.quantization.weights import Weight, find_weights
from edgernn_runtime.bundle_spec import BundleSpec, read_bundle
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.opening import open_engine
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.engines.staged import StagedEngine
from edgernn_runtime.errors import QuantizationError
from edgernn_runtime.files import write_bytes
from edgernn_runtime.profiling import model_bytes
from edgernn_runtime.spec import Spec

Contents = Mapping[str, bytes]
"""The contents of model files by stage."""


@dataclass(frozen=True, slots=True)
class Graph:
    """One step graph of a source.

    Attributes:
        proto: The graph, in the cell lowering and without Gemm.
        spec: Its Spec, in that lowering.
        content: The file as it is.
        weights: Its matrices.
        relowered: Whether its cells were fused operators.
    """

    proto: onnx.ModelProto
    spec: Spec
    content: bytes
    weights: tuple[Weight, ...]
    relowered: bool

    def model(self) -> ir.Model:
        """Return the graph, to be changed."""
        return ir.from_proto(self.proto)


@dataclass(frozen=True, slots=True)
class Source:
    """A float32 model: one graph, or those of a bundle.

    Attributes:
        path: The file, or the bundle's folder.
        bundle: What passes between the graphs; None for a single one.
        graphs: The graphs by stage; a single one is called "".
    """

    path: Path
    bundle: BundleSpec | None
    graphs: Mapping[str, Graph]

    @classmethod
    def open(cls, path: Path) -> "Source":
        """Return the model in a file or a bundle's folder.

        Raises:
            ModelFileError: If it cannot be read; SpecError if it is no step model.
            QuantizationError: If it is quantized already, nothing in it can be, or a weight is NaN or infinite.
        """
        bundle = read_bundle(path) if path.is_dir() else None
        files = {"": path} if bundle is None else {name: path / stage.file for name, stage in bundle.stages.items()}
        graphs = {name: _graph(file) for name, file in files.items()}
        if not any(graph.weights for graph in graphs.values()):
            raise QuantizationError(f"{path} has no product with a constant float32 matrix, so nothing was quantized")
        return cls(path, bundle, graphs)

    @property
    def relowered(self) -> bool:
        """Whether its cells were fused operators, which are plain products and activations here."""
        return any(graph.relowered for graph in self.graphs.values())

    @property
    def left(self) -> tuple[str, ...]:
        """The recurrent operators that could not become plain ones, each once."""
        nodes = [node for graph in self.graphs.values() for node in graph.proto.graph.node]
        return tuple(dict.fromkeys(node.op_type for node in nodes if node.op_type in RECURRENT))

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The stages with streams of their own, which do not step when the bundle does."""
        stages = {} if self.bundle is None else self.bundle.stages
        return tuple(name for name, stage in stages.items() if stage.every is None)

    def judged(self, name: str) -> bool:
        """Return whether the quality of the whole depends on the weight of a qualified name."""
        return name.partition("/")[0] not in self.unjudged

    @property
    def size(self) -> int:
        """The bytes of its model files."""
        return model_bytes(self.path)

    @property
    def weights(self) -> Mapping[str, Weight]:
        """The matrices of all graphs, by stage and name."""
        return {qualified(stage, each.name): each for stage, graph in self.graphs.items() for each in graph.weights}

    def cell_contents(self) -> Contents:
        """Return the contents of all model files in float32 and the cell lowering, by stage."""
        contents = {}
        for stage, graph in self.graphs.items():
            proto = onnx.ModelProto()
            proto.CopyFrom(graph.proto)
            write_spec(proto, replace(graph.spec, weight_bytes=weight_bytes(proto), parity=None))
            contents[stage] = proto.SerializeToString()
        return contents

    def engine(self) -> Engine:
        """Return the engine of the model as it is."""
        return open_engine(self.path)

    def joined(self, engines: Mapping[str, Engine]) -> Engine:
        """Return one engine for the engines of all graphs."""
        return engines[""] if self.bundle is None else StagedEngine(self.bundle, engines)

    def opened(self, contents: Contents, *, threads: int = 1, spinning: bool = False) -> Engine:
        """Return one engine for the contents of all model files."""
        return self.joined(
            {name: OrtEngine(content, threads=threads, spinning=spinning) for name, content in contents.items()}
        )

    def check_target(self, target: Path, *, overwrite: bool) -> None:
        """Check that a form of the model may be written there, before any work is spent on it.

        Raises:
            QuantizationError: If the source itself lies there.
            OutputError: If it cannot be written; OutputExistsError if it exists and `overwrite` is false.
        """
        if target.resolve() == self.path.resolve():
            what = "folder" if self.path.is_dir() else "file"
            raise QuantizationError(f"{self.path} would be replaced by its quantized form; name another {what}")
        if self.bundle is not None:
            check_bundle_target(target, self.bundle, overwrite=overwrite)
        else:
            check_model_target(target, overwrite=overwrite)

    def write(self, target: Path, contents: Contents, *, overwrite: bool) -> None:
        """Write the contents of all model files; errors as in `check_target`."""
        if self.bundle is not None:
            write_bundle(target, self.bundle, contents, overwrite=overwrite)
        else:
            write_bytes(target, contents[""], overwrite=overwrite)


def qualified(stage: str, name: str) -> str:
    """Return the name of something in a stage.

    >>> qualified("decode", "head.weight"), qualified("", "head.weight")
    ('decode/head.weight', 'head.weight')
    """
    return f"{stage}/{name}" if stage else name


def _graph(path: Path) -> Graph:
    proto, spec, _ = read_model(path)
    if spec.precision != "float32":
        raise QuantizationError(f"{path} is {spec.precision} already; quantize the float32 model that it came from")
    model = ir.from_proto(proto)
    relowered = lower_recurrent(model)
    if relowered:
        optimize(model)
    split_gemm(model)
    spec = replace(spec, lowering=lowering_of(model.graph))
    return Graph(ir.to_proto(model), spec, path.read_bytes(), find_weights(model, spec), relowered)
