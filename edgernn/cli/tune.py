"""`edgernn tune`: the fastest form of a model on this machine that keeps its quality."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.budget import Budget, read_budget
from edgernn.cli.console import new_table, print_json, print_message, print_table, print_text, progress_bar
from edgernn.cli.material import find_material
from edgernn.cli.options import (
    Calibration,
    Data,
    Force,
    Json,
    MaxTokens,
    MetricName,
    ModelPath,
    RequiredLoss,
    default_target,
    find_metric,
)
from edgernn_runtime.errors import EdgeRNNError, InputError

if TYPE_CHECKING:
    from edgernn_export import TuneReport
    from edgernn_export.quantization.source import Source


def tune(
    model: ModelPath,
    max_loss: RequiredLoss,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file or folder (default: MODEL's name with tuned in it).")
    ] = None,
    data: Data = None,
    calibration: Calibration = None,
    metric: MetricName = None,
    max_tokens: MaxTokens = 20_000,
    native: Annotated[
        bool,
        typer.Option("--native", help="Also time each form compiled to C; the library of the fastest is cached."),
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Choose the fastest form on this machine.

    Precisions, lowerings, threads and spinning are timed side by side. What is written is the fastest of those that
    keep --max-loss, and never slower than float32; the report lies beside it.
    """
    from edgernn_export.quality import metric_of
    from edgernn_export.quantization.source import Source
    from edgernn_export.tuning.record import to_record
    from edgernn_export.tuning.tuner import report_file
    from edgernn_export.tuning.tuner import tune as tune_model
    from edgernn_runtime.files import check_target

    budget = _read_budget(max_loss)
    model = model if model.name else model.absolute()
    target = output or default_target(model, "tuned")
    source = Source.open(model)
    source.check_target(target, overwrite=force)
    check_target(report_file(target), overwrite=force)
    own_metric = find_metric(metric)
    spec = source.engine().spec
    material = find_material(
        spec, model, data=data, calibration=calibration, limit=max_tokens, needed=True, promised=True
    )
    assert material.calibration is not None  # noqa: S101, it is needed
    kind = "custom" if own_metric is not None else metric_of(spec, material.recording)
    loss = budget.loss_for(kind)
    with _fused_form(source) as fused, progress_bar() as progress:
        report = tune_model(
            model,
            target,
            max_loss=loss,
            recording=material.recording,
            calibration=material.calibration,
            stage_calibrations=material.stages,
            fused=fused,
            metric=own_metric,
            native=native,
            overwrite=force,
            progress=progress,
        )
    if json:
        print_json(to_record(report))
    else:
        _print(report)


def _read_budget(text: str) -> Budget:
    """Return the budget of a tuning; an InputError if it does not read so, or allows any loss."""
    budget = read_budget(text)
    if budget.loss >= 1:
        raise InputError(f"--max-loss must be below 100%, got {text}")
    return budget


@contextmanager
def _fused_form(source: "Source") -> Iterator[Path | None]:
    """Yield the model in the fused lowering, exported again from its run; None where there is no run, which is said."""
    folder = source.path.absolute().parent
    if source.relowered or source.bundle is not None or not (folder / "run.json").is_file():
        if not source.relowered:
            print_message("only plain operators are tried: the fused lowering is exported from runs of one model")
        yield None
        return
    from edgernn.cells import lower
    from edgernn.training import Run
    from edgernn_export import StagedModules, export
    from edgernn_export.step import as_module

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "fused.onnx"
        try:
            step = Run.open(folder).step_modules()
            assert not isinstance(step, StagedModules)  # noqa: S101, a bundle has no single model
            lower(as_module(step), "fused")
            made = export(step, path)
            if made.spec.source_sha256 != source.graphs[""].spec.source_sha256:
                raise InputError(f"{source.path.name} has other weights than the run that it lies in")
        except EdgeRNNError as error:
            print_message(f"only plain operators are tried: {error}")
            yield None
            return
        yield path


def _print(report: "TuneReport") -> None:
    table = new_table(
        "lowering", "precision", "engine", "threads", "spinning", "p50 us", "p99 us", "bytes", "loss", "kept"
    )
    for each in report.candidates:
        setting, latency = each.setting, each.latency
        form = setting.form
        table.add_row(
            form.lowering,
            form.precision,
            setting.engine,
            str(setting.threads),
            "yes" if setting.spinning else "no",
            "-" if latency is None else f"{latency.p50:.1f}",
            "-" if latency is None else f"{latency.p99:.1f}",
            f"{form.size:,}",
            "-" if form.quality is None else f"{form.quality.relative:+.3%}",
            "yes" if form.kept else f"no, above {report.budget:.2%}",
        )
    print_table(table)
    for choice in report.choices:
        setting = choice.setting
        threads = f"{setting.threads} thread{'s' * (setting.threads > 1)}{', spinning' * setting.spinning}"
        faster = choice.float_latency.p50 / choice.latency.p50
        print_text(
            f"batch {choice.batch}: {setting.form.precision}, {setting.form.lowering} lowering, "
            f"{'compiled' if setting.native else threads}: "
            f"{choice.latency.p50:.1f} us a step, {faster:.2f} times as fast as float32"
        )
    setting = report.chosen.setting
    threads = f"threads={setting.threads}{', spinning=True' * setting.spinning}"
    options = 'engine="native"' if setting.native else threads
    print_text(f'{report.path}: load it with load("{report.path}", {options})')
