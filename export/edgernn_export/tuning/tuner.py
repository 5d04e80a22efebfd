"""Tune: the fastest form of a model on this machine that keeps its quality, by measurement."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edgernn_export.finite import finite
from edgernn_export.quality import Judge, Metric
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.calibration import Progress, calibrate
from edgernn_export.quantization.source import Source
from edgernn_export.recording import Recording
from edgernn_export.timing import step_latencies
from edgernn_export.tuning.candidates import Candidate, Setting, settings_of
from edgernn_export.tuning.forms import FLOAT, Form, Forms
from edgernn_export.tuning.native import NativeForms
from edgernn_export.tuning.record import to_record
from edgernn_export.tuning.report import Choice, TuneReport
from edgernn_runtime.errors import InputError
from edgernn_runtime.files import check_target, write_bytes
from edgernn_runtime.profiling import Latency

BATCHES: Final = (1, 8, 64)

_STEPS: Final[Mapping[int, int]] = {1: 2000, 8: 600, 64: 200}
_NEAR: Final = 1.02
"""Settings whose medians are this close count as equally fast, and the lower p99 decides."""


def tune(
    source: str | Path,
    target: str | Path,
    *,
    max_loss: float,
    recording: Recording,
    calibration: Recording,
    stage_calibrations: Mapping[str, Recording] | None = None,
    fused: str | Path | None = None,
    metric: Metric | None = None,
    batches: Sequence[int] = BATCHES,
    native: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> TuneReport:
    """Write the fastest form of a model on this machine whose loss stays within a budget, and a report beside it.

    float32, int8 and int4, a mix of them where int4 costs too much, and both lowerings where there is a fused
    one, are run with one thread and with more. What is written is never slower than float32 was beside it.

    Args:
        source: A float32 step model, or a bundle's folder.
        target: The file or folder to write.
        max_loss: The largest loss, as a share; its 99.9% confidence bound must stay below.
        recording: What quality is measured on.
        calibration: What the float32 model is calibrated on; no part of the recording.
        stage_calibrations: The same for stages of a bundle that have streams of their own, by stage.
        fused: The same model in the fused lowering, if there is one.
        metric: A loss of one's own; see `Judge`.
        batches: For which batches to say what is fastest, 1 first; a model of one row at a time has no others.
        native: Whether every form is compiled to C and timed as well. Where that is fastest, its libraries are left in
            the cache, where `load(path, engine="native")` finds them.
        overwrite: Whether an existing file may be replaced.
        progress: Called with what is being done, and how far it is.

    Raises:
        InputError: If a setting is out of range, or a recording does not fit.
        CompileError: If native code is asked for, and no compiler makes any, or a form cannot be compiled.
        ModelFileError, SpecError, QuantizationError, OutputError: As `quantize` raises them.
    """
    if not 0 <= max_loss < 1:
        raise InputError(f"max_loss must lie in [0, 1), got {max_loss}")
    if tuple(batches[:1]) != (1,) or min(batches) < 1:
        raise InputError(f"batches must be positive, and begin with 1, got {list(batches)}")
    model = Source.open(Path(source))
    model.check_target(Path(target), overwrite=overwrite)
    check_target(report_file(Path(target)), overwrite=overwrite)
    met = calibrate(model, calibration, stages=stage_calibrations, progress=progress)
    judge = Judge(model.engine(), recording, metric)
    forms = Forms(model, Builder(model, met), judge, max_loss, progress)
    forms.add_floats(None if fused is None else Path(fused))
    forms.add_quantized()
    with TemporaryDirectory() as folder:
        compiler = NativeForms(Path(folder)) if native else None
        report = _measured(Path(target), max_loss, forms.made, compiler, batches=batches, progress=progress)
        chosen = report.chosen.setting
        model.write(report.path, chosen.form.contents, overwrite=overwrite)
        if chosen.native is not None:
            chosen.native.store(chosen.form.contents)
    content = json.dumps(finite(to_record(report)), indent=1) + "\n"
    write_bytes(report_file(report.path), content.encode(), overwrite=overwrite)
    return report


def _measured(
    target: Path,
    max_loss: float,
    forms: Sequence[Form],
    compiler: NativeForms | None,
    *,
    batches: Sequence[int],
    progress: Progress,
) -> TuneReport:
    """Return the report on forms, those that are kept timed side by side."""
    settings = [setting for form in forms if form.kept for setting in settings_of(form, compiler)]
    dynamic = forms[0].source.engine().spec.batch == "dynamic"
    timed = {}
    for done, batch in enumerate(batches if dynamic else batches[:1]):
        progress("timing", done, len(batches))
        timed[batch] = step_latencies([each.opened() for each in settings], batch=batch, steps=_STEPS.get(batch, 200))
    choices = tuple(_choice(batch, settings, latencies) for batch, latencies in timed.items())
    rejected = [Candidate(Setting(form, 1, spinning=False), None) for form in forms if not form.kept]
    candidates = [Candidate(*each) for each in zip(settings, timed[1], strict=True)]
    return TuneReport(target, max_loss, choices, (*candidates, *rejected))


def report_file(target: Path) -> Path:
    """Return where the report on a tuned model lies: beside it.

    >>> report_file(Path("run/model.tuned.onnx")).name
    'model.tuned.onnx.json'
    """
    return target.with_name(f"{target.name}.json")


def _choice(batch: int, settings: Sequence[Setting], latencies: Sequence[Latency]) -> Choice:
    """Return the fastest setting, float32 if it does not beat the fastest float32 in a second run, side by side."""
    floats = [i for i, setting in enumerate(settings) if setting.form.precision == FLOAT]
    plain = min(floats, key=lambda i: latencies[i].p50)
    best = _fastest(range(len(settings)), latencies)
    if settings[best].form.precision == FLOAT:
        return Choice(batch, settings[best], latencies[best], latencies[best])
    duel = [settings[best].opened(), settings[plain].opened()]
    taken = step_latencies(duel, batch=batch, steps=_STEPS.get(batch, 200))
    if taken[0].p50 < taken[1].p50:
        return Choice(batch, settings[best], taken[0], taken[1])
    return Choice(batch, settings[plain], taken[1], taken[1])


def _fastest(indices: Sequence[int], latencies: Sequence[Latency]) -> int:
    least = min(latencies[i].p50 for i in indices)
    return min((i for i in indices if latencies[i].p50 <= _NEAR * least), key=lambda i: latencies[i].p99)
