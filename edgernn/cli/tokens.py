"""Finding the tokens that a model is measured on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.cli.console import print_warning
from edgernn.tasks.text.corpus import read_text, run_validation_text
from edgernn_runtime.errors import DataError
from edgernn_runtime.spec import Spec


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
        raise DataError(
            "the model has no codec, so text means nothing to it; from Python, edgernn_export takes any inputs"
        )
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
