"""Transducer: text to text through a bundle, such as words to phonemes: one stage reads all of it, then others write.

The sequence transduction of Sutskever et al. (2014): an encoder, the state that the decoder begins with, a decoder.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.beam import BeamSearch
from edgernn_runtime.bundle import Bundle
from edgernn_runtime.codecs import SymbolCodec
from edgernn_runtime.errors import InputError
from edgernn_runtime.sampling import Sampler

MEMORY: Final = "memory"
"""The output of an encoder that keeps what it read last, `[batch, places, features]`; it reads no more than that."""


@dataclass(frozen=True, slots=True)
class Transduction:
    """What a text became.

    Attributes:
        text: The text, with the separators of the decoder's codec.
        symbols: The symbols of it.
        log_probability: Of the symbols and the end, in nats.
        finished: Whether the model ended it; false if `max_tokens` cut it off.
    """

    text: str
    symbols: tuple[str, ...]
    log_probability: float
    finished: bool


class Transducer:
    """A bundle that reads a text and writes another one. Mutable: its streams are used again; for one thread.

    >>> transducer = Transducer(load_bundle("runs/g2p/bundle"))  # doctest: +SKIP
    >>> transducer.transduce("hello").text  # doctest: +SKIP
    'HH AH0 L OW1'
    """

    def __init__(self, bundle: Bundle, *, width: int = 1, max_tokens: int = 64, length_penalty: float = 0.0) -> None:
        """Make the streams.

        Args:
            bundle: One stage with a stream of its own that reads symbols, and others that generate symbols.
            width: Sequences that the beam search keeps in view; 1 is greedy search.
            max_tokens: How many symbols a text may become.
            length_penalty: As in `BeamSearch`.

        Raises:
            InputError: If the bundle is another one, or a number is out of range.
        """
        own = [name for name, stage in bundle.spec.stages.items() if stage.every is None]
        source = bundle.stages[own[0]].spec if len(own) == 1 else None
        target = bundle.model.spec
        if source is None or not isinstance(source.codec, SymbolCodec) or not isinstance(target.codec, SymbolCodec):
            raise InputError(
                "the bundle does not turn text into text: that takes one stage with a stream of its own that reads "
                "symbols, and others that write symbols"
            )
        self._bundle = bundle
        self._name = own[0]
        self._source, self._target = source.codec, target.codec
        memory = next((each for each in source.outputs if each.name == MEMORY), None)
        self._longest = None if memory is None else int(memory.shape[1])
        self._encoder = bundle.stages[self._name].stream()
        self._search = BeamSearch(bundle.model, width=width, length_penalty=length_penalty)
        self._max_tokens = max_tokens
        self._sampler = Sampler(0.0, allowed=tuple(i for i in range(self._target.size) if i != self._target.begin))

    def transduce(self, text: str) -> Transduction:
        """Return what the model makes of a text; the most probable one that the search found.

        Letters that the model knows in lower case alone are read so.

        Raises:
            InputError: If the text is empty, has a symbol that the model was trained without, or is longer than the
                model reads.
            EngineError: If the engine fails.
        """
        return self.alternatives(text)[0]

    def alternatives(self, text: str) -> tuple[Transduction, ...]:
        """Return what a text may become, the most probable first, `width` at most; errors as `transduce`."""
        tokens = self._tokens(text)
        self._encoder.reset()
        self._encoder.run(tokens)
        state = self._bundle.initial_state({self._name: self._encoder}, sampler=self._sampler)
        return tuple(
            Transduction(
                self._target.text(found.tokens),
                tuple(self._target.symbols[token] for token in found.tokens),
                found.log_probability,
                found.finished,
            )
            for found in self._search.run(state, max_tokens=self._max_tokens)
        )

    def check(self, text: str) -> None:
        """Check that the model can read a text, without letting it; errors as in `transduce`."""
        self._tokens(text)

    def _tokens(self, text: str) -> NDArray[np.int64]:
        tokens = self._source.encode(self._folded(text.strip()))
        if not len(tokens):
            raise InputError("there is nothing to read: the text is empty")
        if self._longest is not None and len(tokens) > self._longest:
            raise InputError(f"{text!r} has {len(tokens)} symbols; the model reads {self._longest} at most")
        return tokens

    def _folded(self, text: str) -> str:
        """Return a text with each letter in lower case that the model knows only so."""
        known = self._source.symbols
        return "".join(each if each in known or each.lower() not in known else each.lower() for each in text)
