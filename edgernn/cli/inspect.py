"""`edgernn inspect`: what a model file says of itself, and what is in it."""

import json as json_text
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgernn.cli.console import new_table, print_json, print_table, print_text
from edgernn.cli.options import Json, RunnablePath
from edgernn_runtime.bundle_spec import bundle_to_json

if TYPE_CHECKING:
    from edgernn_runtime import Spec


def inspect(model: RunnablePath, json: Json = False) -> None:
    """Print what a model says of itself.

    Its Spec, operators, sizes and states; the weights must be those that its id names. Of a bundle, its stages and
    what passes between them, and each stage.
    """
    from edgernn_runtime import load_bundle

    if not model.is_dir():
        found = _read(model)
        if json:
            print_json(found.to_json())
        else:
            found.show()
        return
    bundle = load_bundle(model).spec
    stages = {name: _read(model / stage.file) for name, stage in bundle.stages.items()}
    if json:
        content = json_text.loads(bundle_to_json(bundle))
        print_json({**content, "models": {name: found.to_json() for name, found in stages.items()}})
        return
    table = new_table("stage", "steps", "bytes")
    for name, stage in bundle.stages.items():
        table.add_row(name, _rate(stage.every), f"{stages[name].bytes:,}")
    print_table(table)
    for link in bundle.links:
        print_text(f"{link.source}.{link.output} -> {link.target}.{link.input}")
    for name, found in stages.items():
        print_text(f"\n{name}")
        found.show()


@dataclass(frozen=True, slots=True)
class _Inspected:
    """What is in one model file, or in a library that was compiled from one."""

    spec: "Spec"
    model_id: str
    bytes: int
    operators: dict[str, int]
    compiled: dict[str, object] | None = None

    def to_json(self) -> dict[str, object]:
        from edgernn_runtime.spec_json import spec_to_json

        spec = json_text.loads(spec_to_json(self.spec))
        found = {"spec": spec, "bytes": self.bytes, "operators": self.operators, "model_id": self.model_id}
        return found if self.compiled is None else {**found, "compiled": self.compiled}

    def show(self) -> None:
        spec = self.spec
        parity = "not measured" if spec.parity is None else f"{spec.parity.max_abs:.1e} over {spec.parity.steps} steps"
        feedback = "nothing" if spec.feedback is None else f"{spec.feedback.input} from {spec.feedback.output}"
        made = f"edgernn {spec.producer.edgernn}, torch {spec.producer.torch}, opset {spec.producer.opset}"
        rows = {
            "model id": self.model_id,
            "size": f"{self.bytes:,} bytes, {spec.weight_bytes:,} of weights read in a step",
            "precision": f"{spec.precision}, {spec.lowering} lowering",
            "batch": str(spec.batch),
            "generates": feedback if spec.distribution == "none" else f"{feedback}, {spec.distribution}",
            "codec": "none" if spec.codec is None else f"{spec.codec.kind} of {spec.codec.size}",
            "parity": parity,
            "exported by": made,
        }
        if self.compiled is None:
            rows["operators"] = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        else:
            rows |= {"compiled for": str(self.compiled["target"]), "compiler": str(self.compiled["compiler"])}
            rows["needs"] = " ".join(map(str, cast("tuple[str, ...]", self.compiled["cpu"]))) or "any CPU of its kind"
        for name, value in rows.items():
            print_text(f"{name + ':':<14}{value}")
        table = new_table("tensor", "kind", "dtype", "shape")
        for kind, tensors in (("input", spec.inputs), ("output", spec.outputs)):
            for tensor in tensors:
                table.add_row(tensor.name, f"{kind}, {tensor.role}", tensor.dtype, _shape(tensor.shape))
        for state in spec.states:
            start = "zeros" if state.initial is None else "constant"
            table.add_row(state.input, f"state, from {start}", state.dtype, _shape(state.shape))
        print_table(table)


def _read(path: Path) -> _Inspected:
    from edgernn_export.metadata import read_model
    from edgernn_runtime.engines.opening import is_native
    from edgernn_runtime.engines.ort import OrtEngine

    if is_native(path):
        return _read_library(path)
    proto, spec, model_id = read_model(path)
    OrtEngine(path)  # checks the Spec against the graph
    operators = dict(Counter(node.op_type for node in proto.graph.node).most_common())
    return _Inspected(spec, model_id, path.stat().st_size, operators)


def _read_library(path: Path) -> _Inspected:
    """Return what a library says of itself; none of its code runs."""
    from edgernn_runtime.engines.library_file import read_library

    found = read_library(path).description
    compiled: dict[str, object] = {"target": found.target, "cpu": found.cpu, "compiler": found.compiler}
    return _Inspected(found.spec, found.model_id, path.stat().st_size, {}, compiled)


def _rate(every: int | None) -> str:
    if every is None:
        return "in a stream of its own"
    return {0: "once, at the beginning", 1: "at every step"}.get(every, f"every {every} steps")


def _shape(shape: tuple[int | str, ...]) -> str:
    return " x ".join(map(str, shape))
