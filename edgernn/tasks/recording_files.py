"""Recording files: where a run keeps what its models are fed; reading them needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgernn.tasks.task import MODEL, Part

_STEMS: Final[Mapping[Part, str]] = {"train": "calibration", "valid": "valid"}


def recording_file(folder: Path, name: str, *, part: Part = "valid") -> Path:
    """Return the file of a run folder that holds the recording of its model, or of a stage of it.

    >>> recording_file(Path("run"), "decode", part="train").name
    'calibration.decode.npz'

    Args:
        folder: The run folder.
        name: `MODEL`, or the name of the stage.
        part: `valid` for what is held out, which it is measured on; `train` for what quantization calibrates on.
    """
    stem = _STEMS[part]
    return folder / (f"{stem}.npz" if name == MODEL else f"{stem}.{name}.npz")
