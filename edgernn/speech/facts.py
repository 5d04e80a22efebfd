"""Facts of speech: what a run keeps of its data, read again."""

from typing import cast

from edgernn.tasks.task import Facts
from edgernn_runtime.codecs import MelCodec, SymbolCodec
from edgernn_runtime.errors import RunError
from edgernn_runtime.spec_json import codec_from_json


def mel_codec(facts: Facts) -> MelCodec:
    """Return the layout of a run's frames; RunError if it has none."""
    codec = codec_from_json(cast("dict[str, object]", facts["codec"]))
    if not isinstance(codec, MelCodec):
        raise RunError(f"the run's codec is {codec.kind}, and none of frames of speech")
    return codec


def symbol_codec(facts: Facts) -> SymbolCodec:
    """Return the phonemes of a run; RunError if it has none."""
    codec = codec_from_json(cast("dict[str, object]", facts["symbols"]))
    if not isinstance(codec, SymbolCodec):
        raise RunError(f"the run's symbols are a codec of {codec.kind}, and none of phonemes")
    return codec


def numbers(facts: Facts, name: str) -> tuple[float, ...]:
    """Return a list of numbers, one for each of a frame; RunError if it is none."""
    found = facts[name]
    read = tuple(float(each) for each in found if isinstance(each, int | float)) if isinstance(found, list) else ()
    if len(read) != mel_codec(facts).size:
        raise RunError(f"the run's {name} must be a number for each of a frame, got {found!r}")
    return read
