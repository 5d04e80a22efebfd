"""`edgernn inspect`: what a model file says of itself, and what is in it."""

import json as json_text
from collections import Counter

from edgernn.cli.console import new_table, print_json, print_table, print_text
from edgernn.cli.options import Json, ModelPath


def inspect(model: ModelPath, json: Json = False) -> None:
    """Print what a model file says of itself.

    Its Spec, operators, sizes and states; the weights must be those that its id names.
    """
    from edgernn_export.metadata import read_model
    from edgernn_runtime.engines.ort import OrtEngine
    from edgernn_runtime.spec_json import spec_to_json

    proto, spec, model_id = read_model(model)
    OrtEngine(model)  # checks the Spec against the graph
    size = model.stat().st_size
    operators = dict(Counter(node.op_type for node in proto.graph.node).most_common())
    if json:
        spec_object = json_text.loads(spec_to_json(spec))
        print_json({"spec": spec_object, "bytes": size, "operators": operators, "model_id": model_id})
        return
    parity = "not measured" if spec.parity is None else f"{spec.parity.max_abs:.1e} over {spec.parity.steps} steps"
    rows = {
        "model id": model_id,
        "size": f"{size:,} bytes, {spec.weight_bytes:,} of weights read in a step",
        "precision": f"{spec.precision}, {spec.lowering} lowering",
        "batch": str(spec.batch),
        "generates": "nothing" if spec.feedback is None else f"{spec.feedback.input} from {spec.feedback.output}",
        "codec": "none" if spec.codec is None else f"{spec.codec.kind}, {spec.codec.size} tokens",
        "parity": parity,
        "exported by": f"edgernn {spec.producer.edgernn}, torch {spec.producer.torch}, opset {spec.producer.opset}",
        "operators": ", ".join(f"{count} {name}" for name, count in operators.items()),
    }
    for name, value in rows.items():
        print_text(f"{name + ':':<13}{value}")
    table = new_table("tensor", "kind", "dtype", "shape")
    for kind, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        for tensor in tensors:
            table.add_row(tensor.name, f"{kind}, {tensor.role}", tensor.dtype, _shape(tensor.shape))
    for state in spec.states:
        start = "zeros" if state.initial is None else "constant"
        table.add_row(state.input, f"state, from {start}", state.dtype, _shape(state.shape))
    print_table(table)


def _shape(shape: tuple[int | str, ...]) -> str:
    return " x ".join(map(str, shape))
