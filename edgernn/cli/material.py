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
    """Recordings for a quantization.

    What a run keeps, and what is halved here, share no step. Of files that the user names, it is the user who knows.

    Attributes:
        recording: What quality and drift are measured on.
        calibration: What the float32 model is calibrated on; None if nothing must be, and there is nothing.
        stages: What stages of a bundle with streams of their own are calibrated on, by stage.
    """

    recording: "Recording"
    calibration: "Recording | None"
    stages: "Mapping[str, Recording]"


def find_material(
    spec: Spec, model: Path, *, data: Path | None, calibration: Path | None, limit: int, needed: bool, promised: bool
) -> Material:
    """Return what a model is calibrated and measured on.

    It is calibrated on what is named, or on the training data that its run keeps. Without either, if it must be
    calibrated, the first half of what it would be measured on does, which is said.

    Args:
        spec: The model's Spec.
        model: The model file, or the folder of its bundle.
        data: What to measure on, as for `find_recording`.
        calibration: What to calibrate on, as for `find_calibration`.
        limit: How many steps to measure on at most.
        needed: Whether the model must be calibrated.
        promised: Whether a loss is promised, so that random inputs will not do.

    Raises:
        DataError, InputError: As `find_recording` and `find_calibration`; InputError too if what must be halved is too
            short.
    """
    from edgernn.tasks import CALIBRATION_STEPS
    from edgernn_export.quantization.calibration import LEAST_STEPS

    recording = find_recording(spec, model, data=data, limit=limit, promised=promised)
    found = find_calibration(spec, model, calibration=calibration, limit=CALIBRATION_STEPS)
    if not needed and (found is None or (calibration is None and len(found) < LEAST_STEPS)):
        return Material(recording, None, {})
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
    from edgernn.tasks import recording_file
    from edgernn_export import Recording
    from edgernn_runtime.bundle_spec import read_bundle

    if not model.is_dir():
        return {}
    folder = run_file(model, None).parent
    own = [name for name, stage in read_bundle(model).stages.items() if stage.every is None]
    files = {name: recording_file(folder, name, part="train") for name in own}
    return {name: Recording.load(file) for name, file in files.items() if file.is_file()}
