"""Answer: the model of the trial that was chosen, exported and quantized into the folder of the search."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edgernn.search.latency import StepClock, write_float
from edgernn.search.notes import Note
from edgernn.search.plan import Plan
from edgernn.search.trial import run_folder
from edgernn.tasks import recording_file
from edgernn.tasks.calibration import CALIBRATION_STEPS
from edgernn.tasks.task import MODEL
from edgernn.training import Run
from edgernn_export import QuantizeReport, Recording, quantize
from edgernn_export.quantization.calibration import LEAST_STEPS
from edgernn_export.quantization.source import Contents, Source
from edgernn_runtime.errors import RunError

JUDGED_STEPS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What was exported.

    Attributes:
        model: The float32 model: a file, or the folder of a bundle.
        int8: The same with int8 weights.
        bytes: The size of the float32 files.
        bytes_int8: The size of the int8 files.
        loss: What int8 weights cost, as a share of the likelihood or the signal.
        step_us: What a step of the int8 model takes, in microseconds, scaled as that of trials.
    """

    model: Path
    int8: Path
    bytes: int
    bytes_int8: int
    loss: float
    step_us: float


def write_answer(note: Note, folder: Path, plan: Plan, clock: StepClock) -> Answer:
    """Export the trained model of a trial, quantize it, write both and time it; an earlier answer is replaced.

    Raises:
        RunError: If the trial's run is not on this machine, or damaged.
        ExportError, QuantizationError: If it becomes no model.
        OutputError: If the folder cannot be written.
    """
    place = run_folder(folder, note.number)
    place = place if place.is_dir() else Path(note.folder)
    if not place.is_dir():
        raise RunError(
            f"the answer is trial {note.number}, and {note.folder} on {note.host} holds its run; export it there, with "
            "edgernn export, or with --resume on that machine"
        )
    run = Run.open(place)
    with TemporaryDirectory(prefix="edgernn-search-") as temporary:
        made = write_float(run.step_modules(), Path(temporary))
        small = made.with_name(f"{made.stem}.int8{made.suffix}")
        report = _quantized(run, made, small)
        source = Source.open(made)
        targets = folder / made.name, folder / small.name
        for target in targets:
            source.check_target(target, overwrite=True)
        source.write(targets[0], _contents(source, made), overwrite=True)
        source.write(targets[1], _contents(source, small), overwrite=True)
    step_us = clock.measure_file(targets[1]).ratio * plan.reference_us
    return Answer(*targets, report.bytes_before, report.bytes_after, report.quality.relative, step_us)


def _quantized(run: Run, source: Path, target: Path) -> QuantizeReport:
    """Quantize a model, calibrated on what its run keeps of its training data."""
    calibration = Recording.load(recording_file(run.folder, MODEL, part="train")).head(CALIBRATION_STEPS)
    enough = len(calibration) >= LEAST_STEPS
    return quantize(
        source,
        target,
        precision="int8",
        recording=Recording.load(recording_file(run.folder, MODEL)).head(JUDGED_STEPS),
        calibration=calibration if enough else None,
        stage_calibrations=_own_streams(run, source) if enough else None,
        method="gptq" if enough else "nearest",
    )


def _own_streams(run: Run, source: Path) -> dict[str, Recording]:
    """Return what a run keeps for the stages of a bundle that have streams of their own."""
    names = Source.open(source).unjudged
    files = {name: recording_file(run.folder, name, part="train") for name in names}
    return {name: Recording.load(file) for name, file in files.items() if file.is_file()}


def _contents(source: Source, path: Path) -> Contents:
    """Return the contents of a model's files, by stage."""
    if source.bundle is None:
        return {"": path.read_bytes()}
    return {name: (path / stage.file).read_bytes() for name, stage in source.bundle.stages.items()}
