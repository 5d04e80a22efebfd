"""`edgernn export`: a run, a torch module, a program or a sequence graph becomes one self-describing ONNX file."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Force, Json, given
from edgernn.cli.values import read_named_arrays, read_values
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export import ExportReport, StepModule
    from edgernn_export.lifting.lifter import LiftOptions
    from edgernn_export.sampler import Sampling


class LoweringChoice(StrEnum):
    """Which operators a layer becomes."""

    CELL = "cell"
    FUSED = "fused"


class SampleChoice(StrEnum):
    """What the sampler at the end of a graph has."""

    TEMPERATURE = "temperature"
    FILTERS = "filters"


def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="A run folder, a torch module by name, a .pt2 program, or an ONNX file over sequences.",
            metavar="RUN|MODULE:FACTORY|FILE.pt2|FILE.onnx",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file (default RUN/model.onnx, else ./FACTORY.onnx).")
    ] = None,
    lowering: Annotated[
        LoweringChoice,
        typer.Option(help="Layers of a run as plain operators, or fused into the ONNX operators LSTM, GRU and RNN."),
    ] = LoweringChoice.CELL,
    sample: Annotated[
        SampleChoice | None,
        typer.Option(help="End a model of tokens with a sampler: a temperature, or filters, top-k and top-p, too."),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(help='An argument with batch and time named, as in "x=float32[B,T,40]"; may be repeated.'),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A .safetensors or .pt file for MODULE:FACTORY.")] = None,
    frames_per_step: Annotated[int, typer.Option(min=1, help="Frames that one step takes.")] = 1,
    allow_delay: Annotated[bool, typer.Option(help="Let outputs lag where the module looks ahead.")] = False,
    batch: Annotated[str, typer.Option(help="dynamic, or 1 for a module that takes one row only.")] = "dynamic",
    fix: Annotated[
        list[str] | None, typer.Option(help="The value of an ONNX input, as in sr=16000; may be repeated.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Frames a second, for signals.")] = None,
    generative: Annotated[
        bool, typer.Option(help="The output is the logits of the next token, to be sampled and fed back.")
    ] = False,
    start: Annotated[int | None, typer.Option(min=0, help="The token that begins a stream without a prompt.")] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="An .npz of arrays by argument: a sequence to prove the step on as well.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Export a step model, checked against its source.

    A run is exported as it was trained. From a torch module over whole sequences, a program or a sequence
    graph, the state is lifted first.
    """
    from edgernn_export import export as export_step
    from edgernn_export.metadata import check_model_target

    folder = Path(source)
    if folder.is_dir():
        foreign = [
            name for name in given(context) if name not in ("source", "output", "lowering", "sample", "force", "json")
        ]
        if foreign:
            raise InputError(f"--{foreign[0].replace('_', '-')} is for what is lifted, and {source} is a folder")
        _export_run(folder, output, lowering, sample, force=force, json=json)
        return
    if lowering is LoweringChoice.FUSED:
        raise InputError(f"--lowering fused is for runs, and {source} is none; what is lifted becomes plain operators")
    if batch not in ("dynamic", "1"):
        raise InputError(f"--batch must be dynamic or 1, got {batch}")
    target = output or Path(f"{_stem(source)}.onnx")
    check_model_target(target, overwrite=force)
    from edgernn_export.lifting.lifter import LiftOptions

    options = LiftOptions(
        frames_per_step=frames_per_step,
        allow_delay=allow_delay,
        batch=1 if batch == "1" else "dynamic",
        generative=generative,
        start=start,
        rate_hz=rate,
        given=() if inputs is None else (read_named_arrays(inputs),),
    )
    step = lifted(source, example or [], options, weights=weights, fixed=fix or [])
    _print_report(export_step(step, target, sample=_sampling(sample), overwrite=force), json=json)


def _sampling(sample: SampleChoice | None) -> "Sampling | None":
    return None if sample is None else sample.value


def _export_run(
    folder: Path,
    output: Path | None,
    lowering: LoweringChoice,
    sample: SampleChoice | None,
    *,
    force: bool,
    json: bool,
) -> None:
    """Export what a run trained: a file, or a bundle where the task has several stages."""
    from torch.nn import ModuleList

    from edgernn.cells import lower
    from edgernn.training import Run
    from edgernn_export import StagedModules, export_bundle
    from edgernn_export import export as export_step
    from edgernn_export.step import as_module

    modules = Run.open(folder).step_modules()
    steps = modules.steps.values() if isinstance(modules, StagedModules) else [modules]
    lower(ModuleList(as_module(step) for step in steps), lowering.value)
    if not isinstance(modules, StagedModules):
        target = output or folder / "model.onnx"
        _print_report(export_step(modules, target, sample=_sampling(sample), overwrite=force), json=json)
        return
    if sample is not None:
        raise InputError(f"--sample is for a model in one graph, and that of {folder} has several stages")
    target = output or folder / "bundle"
    reports = list(export_bundle(modules, target, overwrite=force).values())
    if json:
        stages = [_to_json(report) for report in reports]
        print_json({"path": str(target), "bytes": sum(report.bytes for report in reports), "stages": stages})
        return
    for report in reports:
        _print_report(report, json=False)
    print_text(f"{target}: a bundle of {len(reports)} stages")


def lifted(
    source: str, example: "list[str]", options: "LiftOptions", *, weights: Path | None, fixed: "list[str]"
) -> "StepModule":
    """Return the step of a module, a program or a sequence graph.

    Raises:
        InputError: If the source is none of these, or an option is not for it.
    """
    suffix = Path(source).suffix
    if suffix not in (".onnx", ".pt2") and ":" not in source:
        raise InputError(f"{source} is no run folder, no .pt2 or .onnx file, and no MODULE:FACTORY")
    if not example:
        raise InputError(f'describe what {source} takes, as in --example "x=float32[B,T,40]"')
    if suffix != ".onnx" and fixed:
        raise InputError("--fix is for inputs of ONNX files")
    if suffix in (".onnx", ".pt2"):
        if weights is not None:
            raise InputError(f"--weights is for MODULE:FACTORY; {source} has its own")
        from edgernn_export.lifting.files import lift_onnx, lift_program

        if suffix == ".pt2":
            return lift_program(source, example, options)
        return lift_onnx(source, example, options, fixed=read_values(fixed))
    from edgernn.factory import make_module
    from edgernn_export import lift

    return lift(make_module(source, weights), example, options)


def _stem(source: str) -> str:
    return Path(source).stem if Path(source).suffix in (".onnx", ".pt2") else source.rpartition(":")[2]


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _print_report(report: "ExportReport", *, json: bool) -> None:
    spec = report.spec
    if json:
        print_json(_to_json(report))
        return
    assert spec.parity is not None  # noqa: S101, an export always measures it
    size = f"{report.bytes:,} bytes, {_many(len(spec.states), 'state tensor')}"
    print_text(
        f"{report.path}: {size}, equal to its source within {spec.parity.max_abs:.1e} over {spec.parity.steps} steps"
    )
    if spec.delay_steps:
        print_text(f"outputs lag behind their inputs by {_many(spec.delay_steps, 'step')}")
    if spec.batch == 1:
        print_text("the model takes one row only (batch 1)")


def _to_json(report: "ExportReport") -> dict[str, object]:
    spec = report.spec
    sampler = spec.graph_sampler
    assert spec.parity is not None  # noqa: S101, an export always measures it
    return {
        "path": str(report.path),
        "bytes": report.bytes,
        "states": [state.input for state in spec.states],
        "opset": spec.producer.opset,
        "lowering": spec.lowering,
        "parity": {"steps": spec.parity.steps, "max_abs": spec.parity.max_abs},
        "sample": None if sampler is None else "filters" if sampler.filters else "temperature",
        "passes": list(report.passes),
        "batch": spec.batch,
        "delay_steps": spec.delay_steps,
    }
