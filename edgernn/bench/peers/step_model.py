"""edgernn: the exported step model through the public runtime."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal, cast

import numpy as np
import onnx

from edgernn.bench.case import VOCABULARY, Case, Logits, Material, Precision, Tokens
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.models import RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_runtime import load

Form = Literal["float32", "int8", "int8-portable", "int4"]

_CALIBRATION_STEPS: Final = 300
_FORMS: Final[Mapping[Precision, Sequence[Form]]] = {
    "float32": ("float32",),
    "int8": ("int8", "int8-portable"),
    "int4": ("int4",),
}
"""The formats of a precision; the portable one has the faster kernel for many rows."""


class EdgernnPeer(Peer):
    """An exported and quantized model, stepped by an executor."""

    name: ClassVar[str] = "edgernn"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "int8", "int4")

    def open(self, material: Material, precision: Precision) -> Step:
        paths = [model_file(material, form) for form in _FORMS[precision]]
        if len(paths) == 1:
            return open_step(paths[0], material.case)
        return fastest([partial(open_step, path, material.case) for path in paths], material.case.batch)


def open_step(path: Path, case: Case) -> Step:
    """Return the step of a model's file, or of a library."""
    executor = load(path, threads=case.threads, spinning=case.threads > 1).executor(case.batch)
    token, logits = executor.inputs["token"], cast("Logits", executor.outputs["logits"])
    run = executor.run

    def step(tokens: Tokens) -> Logits:
        token[...] = tokens
        run()
        return logits

    return step


def model_file(material: Material, form: Form) -> Path:
    """Return the model's file in a format, made if it is not there yet."""
    path = material.folder / f"model.{form}.onnx"
    if path.exists():
        return path
    if form == "float32":
        return export(RecurrentLMStep(material.model, start=0), path).path
    recording = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, _CALIBRATION_STEPS))
    source = model_file(material, "float32")
    return quantize(source, path, precision=form, recording=recording, calibration=recording, method="nearest").path


def fixed_file(material: Material) -> Path:
    """Return the float32 file with the case's batch in its shapes, for runtimes that need them fixed."""
    path = material.folder / f"model.{material.case.batch}.onnx"
    if path.exists():
        return path
    model = onnx.load(model_file(material, "float32"))
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = material.case.batch
    onnx.save(model, path)
    return path
