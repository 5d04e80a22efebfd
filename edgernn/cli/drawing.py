"""Pictures for `edgernn generate`: drawn where the user looks, row by row, and kept as a PNG."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.artefacts.pictures import Picture, as_text, between, encode_picture, grid
from edgernn.cli.console import print_json, print_message, print_text
from edgernn.cli.values import check_picture_target, settable
from edgernn.tasks.pictures import read_picture
from edgernn_runtime import Model, Sampler, load_bundle
from edgernn_runtime.drawing import draw_pixels, image_codec
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError
from edgernn_runtime.files import write_bytes
from edgernn_runtime.png import grey_png

_REDRAWN_S: Final = 0.2
_COLUMNS: Final = 10


@dataclass(frozen=True, slots=True)
class Drawing:
    """What pictures are asked for.

    Attributes:
        count: How many; None for as many as there are values or encodings, or one.
        inputs: Values of inputs by name, one after the other for each picture, from the first again.
        given: A picture to draw around.
        keep: The share of its rows that stays, where it is not transparent.
        encode: Pictures that an encoder reads; with several, pictures on the way through them are drawn.
        output: The PNG; None to print text.
        scale: Pixels of the PNG for each pixel; None for a picture large enough to be seen.
        seed: The seed of the first picture; each one has the next.
    """

    count: int | None
    inputs: Mapping[str, Sequence[Array]]
    given: Path | None
    keep: float
    encode: Sequence[Path]
    output: Path | None
    scale: int | None
    seed: int


def draw_pictures(path: Path, model: Model, drawing: Drawing, sampler: Sampler, *, force: bool, json: bool) -> None:
    """Draw pictures; with `json`, print one object for each and a summary.

    Raises:
        InputError: If the model cannot do what is asked for.
        OutputError: If the PNG cannot be written.
    """
    if drawing.output is not None:
        check_picture_target(drawing.output, overwrite=force)
    spec = model.spec
    codec = image_codec(model.spec)
    settings = _settings(path, model, drawing)
    given, known = _given(drawing, model)
    started, redrawn, first_ms, steps = time.perf_counter(), 0.0, None, 0
    pictures: list[Picture] = []
    for i, inputs in enumerate(settings):
        stream = model.stream(seed=drawing.seed + i, sampler=sampler)
        stream.draw_latents()
        for name, value in inputs.items():
            stream.set_input(name, value)
        pictures.append(np.zeros((codec.height, codec.width), np.uint8))
        flat, drawn = pictures[-1].reshape(-1), 0
        for greys in draw_pixels(stream, spec, given=given, known=known):
            flat[drawn : drawn + greys.size] = greys
            drawn, steps = drawn + greys.size, steps + 1
            first_ms = 1e3 * (time.perf_counter() - started) if first_ms is None else first_ms
            if drawn % codec.width == 0:
                redrawn = _show(pictures, drawing, len(settings), row=drawn // codec.width - 1, last=redrawn, json=json)
        if json:
            print_json({"picture": i, "inputs": {name: value.tolist() for name, value in inputs.items()}})
        elif drawing.output is None:
            print_text("")
    seconds = time.perf_counter() - started
    if drawing.output is not None:
        _write(pictures, drawing, len(settings))
    _summarise(drawing, len(pictures), steps, first_ms, seconds, json=json)


def _settings(path: Path, model: Model, drawing: Drawing) -> list[Mapping[str, Array]]:
    """Return the inputs of each picture."""
    values = settable(model.spec, drawing.inputs)
    encoded = _encoded(path, model, drawing)
    count = drawing.count or max([1, len(encoded), *map(len, values.values())])
    made: list[Mapping[str, Array]] = []
    for i in range(count):
        inputs = {name: each[i % len(each)] for name, each in values.items()}
        if encoded:
            inputs |= between(encoded, i / (count - 1) if count > 1 else 0.0)
        made.append(inputs)
    return made


def _encoded(path: Path, model: Model, drawing: Drawing) -> list[Mapping[str, Array]]:
    if not drawing.encode:
        return []
    if not path.is_dir():
        raise InputError(f"{path} has no encoder to read a picture with; it is no bundle")
    codec, bundle = image_codec(model.spec), load_bundle(path)
    sizes = {"width": codec.width, "height": codec.height}
    return [encode_picture(bundle, read_picture(each, **sizes)[0]) for each in drawing.encode]


def _given(drawing: Drawing, model: Model) -> tuple[Picture | None, NDArray[np.bool_] | None]:
    """Return the picture to draw around and which of its pixels stay."""
    if drawing.given is None:
        return None, None
    codec = image_codec(model.spec)
    greys, known = read_picture(drawing.given, width=codec.width, height=codec.height)
    known[round(drawing.keep * codec.height) :] = False
    if known.all():
        raise InputError(
            f"every pixel of {drawing.given} is given; make some transparent, or keep fewer with --keep 0.5"
        )
    return greys, known


def _show(pictures: Sequence[Picture], drawing: Drawing, total: int, *, row: int, last: float, json: bool) -> float:
    """Show the row that was finished, as text or in the file; return when the file was last written."""
    if drawing.output is None:
        if not json:
            print_text(as_text(pictures[-1][row : row + 1]))
        return last
    now = time.perf_counter()
    if now - last < _REDRAWN_S:
        return last
    _write(pictures, drawing, total)
    return now


def _write(pictures: Sequence[Picture], drawing: Drawing, total: int) -> None:
    assert drawing.output is not None  # noqa: S101, asked before
    blank = np.zeros_like(pictures[0])
    columns = min(total, _COLUMNS)
    scale = drawing.scale or max(1, 64 // max(pictures[0].shape))
    whole = grid([*pictures, *[blank] * (total - len(pictures))], columns=columns, scale=scale)
    write_bytes(drawing.output, grey_png(whole), overwrite=True)


def _summarise(
    drawing: Drawing, pictures: int, steps: int, first_ms: float | None, seconds: float, *, json: bool
) -> None:
    if json:
        print_json(
            {
                "pictures": pictures,
                "path": None if drawing.output is None else str(drawing.output),
                "tokens": steps,
                "seed": drawing.seed,
                "first_token_ms": first_ms,
                "tokens_per_s": steps / seconds,
            }
        )
        return
    if drawing.output is not None:
        print_text(str(drawing.output))
    print_message(f"{pictures} pictures in {seconds:.2f} s, {steps / seconds:,.0f} steps/s")
