"""Feeding: what a model takes, checked: tokens, frames and prompts."""

from collections.abc import Collection, Sequence
from operator import index
from typing import Final, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError, StateError
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import State

ENDED: Final = "the stream has ended with flush; reset it before the next step"


class Feeding:
    """Checks what is fed to a model against its Spec. Immutable."""

    __slots__ = ("_dtype", "_end", "_name", "_shape", "_sides", "_start", "_text", "generative", "vocabulary")

    def __init__(self, spec: Spec) -> None:
        """Keep what the checks need of a Spec."""
        self.vocabulary = spec.vocabulary
        self.generative = spec.feedback is not None
        self._start = None if spec.feedback is None else spec.feedback.start
        self._end = spec.end
        self._name = spec.main_input.name
        self._dtype = np.dtype(spec.main_input.dtype)
        self._shape = spec.main_input.sized(1)[1:]
        self._text = spec.text_codec
        self._sides = {tensor.name: tensor for tensor in spec.side_inputs}

    def value(self, value: SupportsIndex | Array) -> int | Array:
        """Return what one step takes: a token of a token model, for others a frame.

        Raises:
            InputError: If the model cannot take it.
        """
        return self.token(value) if self.vocabulary else self.frame(value)

    def values(self, values: Sequence[int] | Array) -> Sequence[int | Array]:
        """Return what several steps take, one value a step; InputError if the model cannot take one of them."""
        if self.vocabulary:
            return [self.token(value) for value in values]
        return [self.frame(value) for value in values]

    def prompt(self, prompt: str | Sequence[int] | Array) -> Sequence[int | NDArray[np.float32]]:
        """Return a prompt as tokens of a token model, for others as frames; errors as `tokens` and `frames`."""
        return self.tokens(prompt) if self.vocabulary else self.frames(prompt)

    def token(self, value: SupportsIndex | Array) -> int:
        """Return a token as an integer; InputError if it is none, or not in the vocabulary."""
        try:
            token = index(value)
        except TypeError as error:
            raise InputError(f"a token must be an integer, got {value!r}") from error
        if not 0 <= token < self.vocabulary:
            raise InputError(f"a token must lie in 0..{self.vocabulary - 1}, got {token}")
        return token

    def frame(self, value: object) -> Array:
        """Return a frame as an array; InputError if its dtype or shape is not the main input's without the batch."""
        frame = np.asarray(value)
        if frame.shape != self._shape or frame.dtype != self._dtype:
            raise _misfit(self._name, self._dtype, self._shape, frame)
        return frame

    def side(self, name: str, value: object) -> Array:
        """Return what is set in an input beside the main one; InputError if there is none, or it does not fit."""
        if name not in self._sides:
            has = ", ".join(self._sides) or "none"
            raise InputError(f"the model has no input {name} beside its main one; it has {has}")
        tensor, array = self._sides[name], np.asarray(value)
        shape = tensor.sized(1)[1:]
        if array.dtype != tensor.dtype or array.shape != shape:
            raise _misfit(name, tensor.dtype, shape, array)
        return array

    def tokens(self, prompt: str | Sequence[int] | Array) -> Sequence[int]:
        """Return a prompt as tokens.

        Raises:
            InputError: If the model takes no tokens, has no codec of text, or one is not in the vocabulary.
        """
        if not self.vocabulary:
            raise InputError("the model takes no tokens; feed it frames with step or run")
        if isinstance(prompt, str):
            if self._text is None:
                raise InputError("the model has no codec of text; give the prompt as tokens")
            return [int(token) for token in self._text.encode(prompt)]
        return [self.token(token) for token in prompt]

    def stop(self, tokens: Collection[int] | None) -> frozenset[int]:
        """Return the tokens that end a generation, for None the one that the codec knows.

        Raises:
            InputError: If they are no tokens of the vocabulary.
        """
        if tokens is None:
            return frozenset() if self._end is None else frozenset([self._end])
        try:
            return frozenset([self.token(token) for token in tokens])
        except TypeError as error:
            raise InputError(f"stop must hold tokens, got {tokens!r}") from error

    def frames(self, prompt: str | Sequence[int] | Array) -> Sequence[NDArray[np.float32]]:
        """Return a prompt as frames; InputError if nothing could follow it, or one is not as the model takes it."""
        if not self.generative:
            raise InputError("the model generates nothing, so nothing can follow a prompt; feed it with step or run")
        if isinstance(prompt, str):
            raise InputError("the model takes frames, and no text")
        return [np.array(self.frame(frame), np.float32) for frame in np.asarray(prompt)]

    def start(self, step: int) -> int | NDArray[np.float32]:
        """Return what begins a stream without a prompt: the start token, or the frame that is filled with it.

        Raises:
            InputError: If the stream has begun, or the model has none.
        """
        if step or self._start is None:
            raise InputError("nothing is pending to generate from; prefill a prompt first")
        return self._start if self.vocabulary else np.full(self._shape, self._start, np.float32)

    def check_sampler(self, sampler: Sampler) -> None:
        """Check that the tokens that a sampler allows are in the vocabulary; InputError if one is not."""
        if sampler.allowed is not None and self.vocabulary and sampler.allowed[-1] >= self.vocabulary:
            raise InputError(f"allowed has token {sampler.allowed[-1]}; the vocabulary ends at {self.vocabulary - 1}")

    def check_state(self, state: State) -> None:
        """Check that what a snapshot goes on with is what the model takes; StateError if it is not."""
        pending = state.pending
        if isinstance(pending, int) and not self.vocabulary:
            raise StateError(f"the model takes no tokens, so none can be pending, got {pending}")
        if isinstance(pending, int) and not 0 <= pending < self.vocabulary:
            raise StateError(f"the pending token must lie in 0..{self.vocabulary - 1}, got {pending}")
        if isinstance(pending, np.ndarray) and (self.vocabulary or pending.shape != self._shape):
            raise StateError(f"the pending frame must be float32{list(self._shape)}, got {list(pending.shape)}")
        try:
            self.check_sampler(state.sampler)
        except InputError as error:
            raise StateError(f"the state's sampler does not fit the model: {error}") from error
        if not all(0 <= token < max(self.vocabulary, 1) for token in state.recent):
            raise StateError(f"the last tokens must lie in 0..{self.vocabulary - 1}, got {max(state.recent)}")


def _misfit(name: str, dtype: object, shape: Sequence[int], found: Array) -> InputError:
    return InputError(f"{name} must be {dtype}{list(shape)}, got {found.dtype}{list(found.shape)}")
