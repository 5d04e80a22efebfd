"""Material: what a quantization calibrates on, and what it is measured on, found for a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgernn.cli.console import print_message
from edgernn.cli.recordings import find_calibration, find_recording, run_file
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import Spec

if TYPE_CHECKING:
    from edgernn_export import Recording


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings for a quantization; no step is in two of them.

    Attributes:
        recording: What quality and drift are measured on.
        calibration: What the float32 model is calibrated on.
        stages: What stages of a bundle with streams of their own are calibrated on, by stage.
    """

    recording: "Recording"
    calibration: "Recording"
    stages: "Mapping[str, Recording]"


def find_material(spec: Spec, model: Path, *, data: Path | None, calibration: Path | None, limit: int) -> Material:
    """Return what a model is calibrated and measured on, at most `limit` steps to measure.

    It is calibrated on what is named, or on the training data that its run keeps. Without either, the first half of
    what it would be measured on calibrates it, which is said. Errors as in `find_recording`, and an InputError if it
    is too short to be halved.
    """
    from edgernn.tasks import CALIBRATION_STEPS
    from edgernn_export.quantization.calibration import LEAST_STEPS

    recording = find_recording(spec, model, data=data, limit=limit)
    found = find_calibration(spec, model, calibration=calibration, limit=CALIBRATION_STEPS)
    if found is None:
        if len(recording) < 2 * LEAST_STEPS:
            raise InputError(
                f"there are {len(recording)} steps to calibrate and to measure on, and {2 * LEAST_STEPS} at least are "
                "needed; give longer --data, more --max-tokens, or --calibration FILE"
            )
        found, recording = recording.split(len(recording) // 2)
        print_message(
            f"no --calibration was given, and the model's run keeps none: the first {len(found)} steps calibrate, "
            f"and the other {len(recording)} are measured on"
        )
    return Material(recording, found.head(CALIBRATION_STEPS), _own_streams(model))


def _own_streams(model: Path) -> "Mapping[str, Recording]":
    """Return what the run of a bundle keeps for the stages that have streams of their own."""
    from edgernn.training.run import recording_file
    from edgernn_export import Recording
    from edgernn_runtime.bundle_spec import read_bundle

    if not model.is_dir():
        return {}
    folder = run_file(model, None).parent
    own = [name for name, stage in read_bundle(model).stages.items() if stage.every is None]
    files = {name: recording_file(folder, name, part="train") for name in own}
    return {name: Recording.load(file) for name, file in files.items() if file.is_file()}
