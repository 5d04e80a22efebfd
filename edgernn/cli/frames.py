"""Frames for `edgernn generate`: the numbers of a model whose file gives them no meaning."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgernn.cli.console import print_json, print_message, print_text
from edgernn.cli.values import settable
from edgernn_runtime import Model, Stream
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError
from edgernn_runtime.files import check_target, write_file


def write_frames(
    model: Model,
    stream: Stream,
    inputs: Mapping[str, Sequence[Array]],
    *,
    max_frames: int,
    output: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Print frames as they are made, one a line, or write them as an `.npy` `[frames, ...]`.

    Raises:
        InputError: If the model lacks an input that is set, or generates nothing.
        OutputError: If the file cannot be written.
    """
    if output is not None:
        check_target(output, overwrite=force)
    stream.draw_latents()
    for name, values in settable(model.spec, inputs).items():
        if len(values) > 1:
            raise InputError(f"{name} takes one value here, got {len(values)}")
        stream.set_input(name, values[0])
    frames = []
    for frame in stream.generate_frames(max_frames):
        frames.append(frame)
        if json:
            print_json({"frame": frame.tolist()})
        elif output is None:
            print_text(" ".join(f"{value:.6g}" for value in frame.ravel()))
    if output is not None:
        write_file(output, lambda file: np.save(file, np.array(frames), allow_pickle=False), overwrite=force)
    if json:
        print_json({"tokens": len(frames), "seed": stream.seed, "path": None if output is None else str(output)})
    else:
        print_message(f"{len(frames)} frames" + ("" if output is None else f" in {output}"))
