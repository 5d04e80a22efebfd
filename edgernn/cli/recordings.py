"""Finding what a model is measured or calibrated on: the recording of its run, or the data that the user names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgernn.cli.console import print_message, print_warning
from edgernn.cli.values import read_array
from edgernn_runtime.bundle_spec import BUNDLE_FILE
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import DataError, InputError
from edgernn_runtime.profiling import random_values
from edgernn_runtime.spec import Spec, TensorSpec

if TYPE_CHECKING:
    from edgernn.tasks import Part
    from edgernn_export import Recording


def find_recording(
    spec: Spec, model: Path, *, run: Path | None = None, data: Path | None, limit: int, promised: bool = False
) -> "Recording":
    """Return what a model is fed to be measured, at most `limit` steps.

    That is the data named; else what the run keeps that the model lies in; else, for a model that takes no text,
    random inputs from a fixed seed, which is said.

    Args:
        spec: The model's Spec.
        model: The model file, or the folder of its bundle.
        run: The run folder, if it is known.
        data: A recording in an `.npz`, frames `[steps, ...]` in an `.npy`, `[frames, ...]` where a step takes
            several, or text; None to look for a run.
        limit: How many steps to return at most.
        promised: Whether a loss is promised, so that random inputs will not do.

    Raises:
        DataError: If the data cannot be read, or is not what the model takes, or there is none.
        InputError: If only random inputs are left, and they will not do.
    """
    from edgernn_export import Recording

    file = run_file(model, run)
    recording = _find(spec, model, data, file, limit=limit)
    if recording is not None:
        return recording
    if spec.text_codec is not None:
        raise DataError(f"{file.parent.absolute()} is no run folder; give the text to measure on with --data FILE")
    if promised:
        raise InputError(
            f"there is no {file.name} to measure the loss on, and random inputs say nothing of what real ones would "
            "lose; give the data to measure on with --data FILE"
        )
    print_message(f"no --data was given, and there is no {file.name}: inputs are random, {limit} steps")
    inputs = [each for each in (spec.main_input, *spec.side_inputs) if each.role != "control"]
    return _with_noise(spec, Recording(_random(spec, inputs, limit), np.arange(limit) == 0))


def find_calibration(
    spec: Spec, model: Path, *, run: Path | None = None, calibration: Path | None, limit: int
) -> "Recording | None":
    """Return what a model is calibrated on, at most `limit` steps.

    That is the data named; else the training data that the run keeps that the model lies in; else None.

    Args:
        spec: The model's Spec.
        model: The model file, or the folder of its bundle.
        run: The run folder, if it is known.
        calibration: As `data` of `find_recording`.
        limit: How many steps to return at most.

    Raises:
        DataError: If the data cannot be read.
        InputError: If the data are not what the model takes.
    """
    return _find(spec, model, calibration, run_file(model, run, part="train"), limit=limit)


def run_file(model: Path, run: Path | None, *, part: "Part" = "valid") -> Path:
    """Return where a run keeps what a model, or a stage of it, is measured on, or of `train` is calibrated on."""
    from edgernn.tasks import recording_file

    model = model.absolute()
    in_bundle = (model.parent / BUNDLE_FILE).is_file()
    stage = model.name.partition(".")[0] if in_bundle else "model"
    return recording_file(run or (model.parent.parent if in_bundle else model.parent), stage, part=part)


def _find(spec: Spec, model: Path, named: Path | None, kept: Path, *, limit: int) -> "Recording | None":
    """Return the recording in the file that the user named, else in the one that the run keeps; None without either."""
    from edgernn_export import Recording

    if named is None and not kept.is_file():
        return None
    recording = (
        _with_links(Recording.load(kept).head(limit), model, kept) if named is None else _read(spec, named, limit=limit)
    )
    recording.check(spec)
    return recording


def _with_links(recording: "Recording", model: Path, kept: Path) -> "Recording":
    """Return what a run keeps for a bundle with what its encoders, whose recordings lie beside it, make of theirs."""
    from edgernn_export import Recording
    from edgernn_export.linked_recording import linked_recording
    from edgernn_runtime.bundle_spec import read_bundle
    from edgernn_runtime.engines.opening import open_stages

    if not model.is_dir():
        return recording
    files = {name: kept.with_name(f"{kept.stem}.{name}.npz") for name in read_bundle(model).stages}
    own = {name: Recording.load(file) for name, file in files.items() if file.is_file()}
    return linked_recording(recording, *open_stages(model), own)


def _read(spec: Spec, data: Path, *, limit: int) -> "Recording":
    """Return the recording in a file that the user named."""
    from edgernn_export import Recording

    if data.suffix == ".npz":
        return Recording.load(data).head(limit)
    if spec.text_codec is not None:
        return _read_text(spec, data, limit=limit)
    tensor = spec.main_input
    frames = read_array(data)
    if tensor.frames > 1 and frames.ndim:
        whole = len(frames) // tensor.frames
        frames = frames[: whole * tensor.frames].reshape(whole, tensor.frames, *frames.shape[1:])
    if frames.ndim == 0 or frames.shape[1:] != tensor.sized(1)[1:] or frames.dtype != tensor.dtype:
        shape = ", ".join(["steps", *map(str, tensor.sized(1)[1:])])
        raise DataError(f"{data} must hold {tensor.dtype}[{shape}], got {frames.dtype}{list(frames.shape)}")
    return _with_noise(spec, Recording.of(tensor.name, frames[:limit]))


def _with_noise(spec: Spec, recording: "Recording") -> "Recording":
    """Return a recording with uniforms for a model that draws in its graph, those of a fixed seed."""
    return replace(recording, inputs={**recording.inputs, **_random(spec, spec.noise_inputs, len(recording))})


def _random(spec: Spec, inputs: Sequence[TensorSpec], steps: int) -> dict[str, Array]:
    """Return random values of inputs, `[steps, ...]`, each step drawn as one row."""
    rng = np.random.default_rng(0)
    return {each.name: np.concatenate([random_values(spec, each, 1, rng) for _ in range(steps)]) for each in inputs}


def _read_text(spec: Spec, data: Path, *, limit: int) -> "Recording":
    from edgernn.tasks.text.corpus import read_text
    from edgernn_export import Recording

    assert spec.text_codec is not None  # noqa: S101, asked before
    tokens, unknown = spec.text_codec.encode_lossy(read_text(data)[: limit + 1])
    if unknown:
        print_warning(f"{unknown} characters of the text are unknown to the model; they count as U+FFFD")
    if tokens.size < 2:
        raise DataError(f"the text has {tokens.size} tokens; two at least are needed")
    return Recording.of_tokens(spec.main_input.name, tokens).head(limit)
