"""Export: from a StepModule to one self-describing ONNX file, checked before it is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx
import onnx_ir as ir
import torch

from edgernn_export.graph import OPSET, to_graph
from edgernn_export.identity import weights_sha256
from edgernn_export.lifting.lifted_step import LiftedStep
from edgernn_export.metadata import check_model_target, lowering_of, weight_bytes, write_example, write_spec
from edgernn_export.parity import largest_difference, random_inputs
from edgernn_export.passes import optimize
from edgernn_export.sampler import Sampling, add_sampler, check_sampler, check_samples
from edgernn_export.step import StepModule, as_module
from edgernn_export.torch_engine import TorchEngine
from edgernn_runtime import __version__
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import ExportError, ParityError, first_line
from edgernn_runtime.files import write_bytes
from edgernn_runtime.spec import Parity, Producer, Spec

TOLERANCE: Final = 1e-4
PARITY_STEPS: Final = 256

_PARITY_SEED: Final = 20


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: The file.
        bytes: Its size.
        spec: The Spec in it, parity figures included.
        passes: The graph passes that changed something.
    """

    path: Path
    bytes: int
    spec: Spec
    passes: tuple[str, ...]


def export(
    step: StepModule,
    path: str | Path,
    *,
    sample: Sampling | None = None,
    overwrite: bool = False,
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write a step module as one `.onnx` file, if it computes what the module computes.

    Both run 256 steps from their initial state on the same random inputs, at batch 1 and, where the
    batch is dynamic, 3.

    Args:
        step: The module.
        path: The file to write.
        sample: What the sampler at the end of the graph has, for a model of tokens; None leaves sampling to the host.
        overwrite: Whether an existing file may be replaced.
        tolerance: The largest absolute difference that is allowed in any output; where outputs exceed 1, the largest
            share of the largest one.

    Raises:
        ExportError: If the module does not return what its Spec says, torch cannot export it, or the graph
            is no valid ONNX.
        ParityError: If module and graph differ by more than the tolerance; nothing is written.
        OutputError: If the file cannot be written; OutputExistsError if it exists.
    """
    target = Path(path)
    check_model_target(target, overwrite=overwrite)
    content, spec, passes = exported(step, sample=sample, tolerance=tolerance)
    write_bytes(target, content, overwrite=overwrite)
    return ExportReport(target, len(content), spec, passes)


def exported(
    step: StepModule, *, sample: Sampling | None = None, tolerance: float = TOLERANCE
) -> tuple[bytes, Spec, tuple[str, ...]]:
    """Return the content of a model file, its Spec, and the passes that changed something; else as `export`."""
    if sample is not None:
        check_samples(step.spec)
    TorchEngine(step).executor(1).run()
    graph = to_graph(step)
    passes = optimize(graph)
    model = ir.to_proto(graph)
    spec = replace(
        step.spec,
        producer=Producer(edgernn=__version__, torch=torch.__version__, opset=OPSET),
        source_sha256=weights_sha256(as_module(step)),
        lowering=lowering_of(graph.graph),
        weight_bytes=weight_bytes(model),
    )
    write_spec(model, spec)
    _check(model)
    parity = _parity(step, model, tolerance)
    if isinstance(step, LiftedStep):
        parity = _proved(step, model, tolerance, parity)
        write_example(model, step.proof.described)
    spec = replace(spec, parity=parity)
    if sample is not None:
        spec = add_sampler(model, spec, sample)
    write_spec(model, spec)
    if sample is not None:
        _check(model)
        check_sampler(OrtEngine(model.SerializeToString()), sample)
    return model.SerializeToString(), spec, passes


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {first_line(error)}") from error


def _parity(step: StepModule, model: onnx.ModelProto, tolerance: float) -> Parity:
    source, candidate = TorchEngine(step), OrtEngine(model.SerializeToString())
    worst = 0.0
    for batch in (1, 3) if step.spec.batch == "dynamic" else (1,):
        inputs = random_inputs(step.spec, steps=PARITY_STEPS, batch=batch, seed=_PARITY_SEED)
        found = largest_difference(source, candidate, inputs)
        limit = tolerance * max(1.0, found.magnitude)
        if not found.max_abs <= limit:
            raise ParityError(
                f"the step model differs from its source by {found.max_abs:.2e} in {found.output} at step "
                f"{found.step} of batch {batch}, more than {limit:.0e}; nothing was written"
            )
        worst = max(worst, found.max_abs)
    return Parity(steps=PARITY_STEPS, max_abs=worst)


def _proved(step: LiftedStep, model: onnx.ModelProto, tolerance: float, parity: Parity) -> Parity:
    """Return the parity of a lifted step, the comparison with its original over whole sequences included."""
    steps, worst = step.proof.check(OrtEngine(model.SerializeToString()), tolerance=tolerance)
    return Parity(steps=parity.steps + steps, max_abs=max(parity.max_abs, worst))
