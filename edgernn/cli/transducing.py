"""Words through a bundle for `edgernn generate`: each becomes symbols, such as phonemes, one line a word."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from edgernn.cli.console import print_json, print_message, print_text, print_warning
from edgernn_runtime import Bundle, Model, Transducer, load_bundle
from edgernn_runtime.codecs import SymbolCodec
from edgernn_runtime.errors import InputError

MAX_SYMBOLS: Final = 64


def transduces(path: Path, model: Model) -> bool:
    """Return whether the bundle in a folder reads text and writes other text."""
    if not path.is_dir() or not isinstance(model.spec.codec, SymbolCodec):
        return False
    bundle = load_bundle(path)
    own = [name for name, stage in bundle.spec.stages.items() if stage.every is None]
    return len(own) == 1 and isinstance(bundle.stages[own[0]].spec.codec, SymbolCodec)


def write_transductions(bundle: Bundle, prompt: str, *, width: int, max_symbols: int, json: bool) -> None:
    """Print what each word of a prompt becomes; with `json`, one object a word with all that the search found.

    Raises:
        InputError: If there is no word, or the model cannot read one; nothing is printed then.
    """
    words = prompt.split()
    if not words:
        raise InputError('give the words to read, as in --prompt "hello world"')
    transducer = Transducer(bundle, width=width, max_tokens=max_symbols)
    started = time.perf_counter()
    found = [transducer.alternatives(word) for word in words]
    milliseconds = 1e3 * (time.perf_counter() - started)
    for word, alternatives in zip(words, found, strict=True):
        best = alternatives[0]
        if json:
            others = [asdict(each) for each in alternatives[1:]]
            print_json({"word": word, **asdict(best), "alternatives": others})
        else:
            print_text(best.text)
        if not best.finished:
            print_warning(f"{word} was cut off after {max_symbols} symbols (--max-tokens)")
    if json:
        print_json({"words": len(words), "ms_per_word": milliseconds / len(words)})
    else:
        print_message(f"{len(words)} words, {milliseconds / len(words):.1f} ms a word")
