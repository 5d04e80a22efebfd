"""Finding the tokens or frames that a model is measured on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.cli.console import print_message, print_warning
from edgernn.cli.values import read_array
from edgernn.tasks.text.corpus import read_text, run_validation_text
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import DataError
from edgernn_runtime.profiling import random_values
from edgernn_runtime.spec import Spec


def find_sequence(spec: Spec, *, folder: Path, data: Path | None, limit: int) -> list[Array]:
    """Return what one stream is fed, one array without the batch per step.

    Tokens of a model with a codec come from `find_tokens`; anything else from an `.npy` of frames
    `[steps, ...]`, or `[frames, ...]` where a step takes several, else from a fixed seed, which is said.

    Args:
        spec: The model's Spec.
        folder: The run folder, or the folder that the model lies in.
        data: A file, or None.
        limit: How many steps to return at most.

    Raises:
        DataError: If the file cannot be read, or is not what the model takes.
    """
    if spec.codec is not None:
        return list(find_tokens(spec, folder=folder, data=data, limit=limit))
    tensor = spec.main_input
    if data is None:
        print_message(f"no --data was given: {tensor.name} is random, {limit} steps")
        rng = np.random.default_rng(0)
        return [random_values(spec, tensor, 1, rng)[0] for _ in range(limit)]
    frames = read_array(data)
    if tensor.frames > 1 and frames.ndim:
        whole = len(frames) // tensor.frames
        frames = frames[: whole * tensor.frames].reshape(whole, tensor.frames, *frames.shape[1:])
    if frames.ndim == 0 or frames.shape[1:] != tensor.sized(1)[1:] or frames.dtype != tensor.dtype:
        shape = ", ".join(["steps", *map(str, tensor.sized(1)[1:])])
        raise DataError(f"{data} must hold {tensor.dtype}[{shape}], got {frames.dtype}{list(frames.shape)}")
    return list(frames[:limit])


def find_tokens(spec: Spec, *, folder: Path, data: Path | None, limit: int | None = None) -> NDArray[np.int64]:
    """Return tokens of the text in `data`, or of the validation text of a run.

    Args:
        spec: The model's Spec.
        folder: The run folder, or the folder that the model lies in.
        data: A text file, or None.
        limit: How many tokens to return at most.

    Raises:
        DataError: If the model has no codec, or there is no text.
    """
    if spec.codec is None:
        raise DataError("the model has no codec, so text means nothing to it")
    if data is not None:
        text = read_text(data)
    else:
        found = run_validation_text(folder)
        if found is None:
            raise DataError(f"{folder.absolute()} is no run folder; give the text to measure on with --data FILE")
        text = found
    tokens, unknown = spec.codec.encode_lossy(text if limit is None else text[:limit])
    if unknown:
        print_warning(f"{unknown} characters of the text are unknown to the model; they count as U+FFFD")
    if tokens.size < 2:
        raise DataError(f"the text has {tokens.size} tokens; two at least are needed")
    return tokens if limit is None else tokens[:limit]
