"""Decisions for `edgernn generate`: what a classifier holds probable at every step of a sequence."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.artefacts.decisions import decide, draw_decisions
from edgernn.cli.console import new_table, print_json, print_table, print_text
from edgernn.cli.recordings import run_file
from edgernn.cli.values import check_picture_target, read_array
from edgernn_export import Recording
from edgernn_runtime import LabelCodec, Model
from edgernn_runtime.errors import DataError, InputError


def write_decisions(
    path: Path, model: Model, given: Path | None, *, output: Path | None, force: bool, json: bool
) -> None:
    """Decide on a sequence, step by step, and print the most probable label of each step.

    Args:
        path: Where the model lies.
        model: The model.
        given: Frames float32 `[steps, channels]` in an `.npy`; None for the first sequence that the run holds out.
        output: A `.png` to draw; None for none.
        force: Whether an existing file may be replaced.
        json: Whether to print JSON.

    Raises:
        InputError: If the model decides nothing, or there is no sequence.
        DataError: If the file cannot be read.
        OutputError: If the picture cannot be written.
    """
    codec = model.spec.codec
    if not isinstance(codec, LabelCodec):
        raise InputError("the model decides nothing: it has no labels")
    if output is not None:
        check_picture_target(output, overwrite=force)
    decisions = decide(model, _frames(path, model, given))
    chosen = decisions.argmax(-1)
    if json:
        for step, row in enumerate(decisions, 1):
            best = int(chosen[step - 1])
            print_json({"step": step, "label": codec.labels[best], "probability": float(row[best])})
        named = None if output is None else str(output)
        print_json({"tokens": len(decisions), "label": codec.labels[int(chosen[-1])], "path": named})
    else:
        table = new_table("step", "decision", "probability")
        for step, (row, best) in enumerate(zip(decisions, chosen, strict=True), 1):
            table.add_row(str(step), codec.labels[int(best)], f"{row[best]:.3f}")
        print_table(table)
    if output is not None:
        draw_decisions(output, codec, decisions)
        if not json:
            print_text(str(output))


def _frames(path: Path, model: Model, given: Path | None) -> NDArray[np.float32]:
    """Return the sequence to decide on, float32 `[steps, channels]`."""
    channels = model.spec.main_input.sized(1)[1:]
    if given is not None:
        array = read_array(given)
        if array.ndim != 2 or not len(array) or array.shape[1:] != channels or array.dtype.kind not in "biuf":
            wanted = ", ".join(["steps", *map(str, channels)])
            raise DataError(f"{given} must hold numbers [{wanted}], got {array.dtype}{list(array.shape)}")
        return array.astype(np.float32)
    file = run_file(path, None)
    if not file.is_file():
        raise InputError("give the frames to decide on, an .npy, with --given")
    recording = Recording.load(file)
    recording.check(model.spec)
    ends = np.flatnonzero(recording.starts)[1:]
    frames = recording.inputs[model.spec.main_input.name][: ends[0] if len(ends) else None]
    return frames.astype(np.float32)
