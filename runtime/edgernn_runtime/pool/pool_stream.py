"""PoolStream: one of the streams of a pool."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError, StreamError
from edgernn_runtime.pool.streams import Streams
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.state import State


class PoolStream:
    """One stream of a `StreamPool`, whose `open` makes one. Mutable.

    It takes its steps with the others, when the pool steps. Every call raises a `StreamError` once it is closed, and
    while another thread is in a call of the pool.
    """

    __slots__ = ("__weakref__", "_number", "_streams")

    def __init__(self, streams: Streams, number: int) -> None:
        """Stand for a slot of the pool."""
        self._streams = streams
        self._number: int | None = number
        streams.members[number] = self

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the stream has left the pool."""
        return self._number is None

    @property
    def step_index(self) -> int:
        """Steps taken since the last reset."""
        with self._streams.alone:
            return int(self._streams.slots.step[self._slot()])

    @property
    def seed(self) -> int:
        """The seed of the noise."""
        return self._streams.seed(self._slot())

    @property
    def pending(self) -> int | Array | None:
        """The token or frame that was given or chosen, and not yet fed to the model; None if there is none."""
        with self._streams.alone:
            return self._streams.slots.get_pending(self._slot())

    @property
    def ready(self) -> bool:
        """Whether the pool's next step takes the stream along: something can be fed, and it is not paused."""
        return bool(self._streams.slots.ready[self._slot()])

    @property
    def ended(self) -> bool:
        """Whether its sequence was ended by `flush`, so that no step can follow."""
        return bool(self._streams.slots.ended[self._slot()])

    @property
    def prompt_left(self) -> int:
        """How many values of its prompt are behind the one that is pending."""
        return len(self._streams.slots.prompts.get(self._slot(), ()))

    @property
    def sampler(self) -> Sampler:
        """How tokens are chosen; another one holds from the next token on."""
        return self._streams.sampler(self._slot())

    @sampler.setter
    def sampler(self, sampler: Sampler) -> None:
        with self._streams.alone:
            self._streams.set_sampler(self._slot(), sampler)

    @property
    def paused(self) -> bool:
        """Whether the pool passes the stream over."""
        return bool(self._streams.slots.paused[self._slot()])

    def pause(self) -> None:
        """Let the pool pass the stream over when it steps, until `resume`."""
        with self._streams.alone:
            self._streams.pause(self._slot(), paused=True)

    def resume(self) -> None:
        """Let the pool take the stream along again."""
        with self._streams.alone:
            self._streams.pause(self._slot(), paused=False)

    def prefill(self, prompt: str | Sequence[int] | Array) -> None:
        """Put a prompt behind what is pending; the pool feeds one value of it in each step, beside the other streams.

        Args:
            prompt: Text, if the model has a codec of text; tokens; or frames `[frames, ...]`. An empty prompt does
                nothing.

        Raises:
            InputError: If a token or character is not in the vocabulary, or a frame is not as the model takes it, or
                the model generates nothing; the stream is then unchanged.
        """
        with self._streams.alone:
            slot = self._slot()
            self._streams.prefill(slot, self._streams.feeding.prompt(prompt))

    def set_input(self, name: str, value: Array) -> None:
        """Set an input beside the main one, such as a condition; it stays until it is set again.

        Args:
            name: The input's name.
            value: An array of its dtype and its shape without the batch.

        Raises:
            InputError: If the model has no such input, or it is the main one, or the value does not fit.
        """
        with self._streams.alone:
            self._streams.set_input(self._slot(), name, value)

    def decode(self, token: int) -> str:
        """Return the text that `token` completes; a snapshot keeps what is held back of a character.

        Raises:
            InputError: If the model has no codec of text, or the token is not in its vocabulary.
        """
        codec = self._streams.spec.text_codec
        if codec is None:
            raise InputError("the model has no codec of text, so its tokens are not text")
        with self._streams.alone:
            slot, held = self._slot(), self._streams.slots.held
            text, held[slot] = codec.decode(self._streams.feeding.token(token), held[slot])
        return text

    def flush(self) -> Array:
        """End the sequence, and return the outputs that still lag behind, `[steps, ...]`; see `Stream.flush`.

        Raises:
            EngineError: If the engine fails.
        """
        with self._streams.alone:
            return self._streams.flush(self._slot())

    def snapshot(self) -> State:
        """Return everything that is needed to continue from here, in this pool or as a `Stream`.

        A snapshot holds no prompt: what is left of one is fed first, in steps of this stream alone.

        Raises:
            EngineError: If the engine fails in such a step.
        """
        with self._streams.alone:
            return self._streams.read(self._slot())

    def restore(self, state: State) -> None:
        """Continue from a snapshot, of this pool or of a `Stream`, with its seed and its sampler.

        Raises:
            StateError: If the state is another model's or does not fit; the stream is then unchanged.
        """
        with self._streams.alone:
            self._streams.write(self._slot(), state)

    def fork(self) -> "PoolStream":
        """Return a new stream of the pool that continues exactly like this one, and apart from it.

        Raises:
            PoolFullError: If the pool takes no more streams.
        """
        with self._streams.alone:
            return PoolStream(self._streams, self._streams.fork(self._slot()))

    def reset(self, *, seed: int | None = None) -> None:
        """Go back to the initial state, with the same seed or another; the sampler stays, set inputs do not.

        Raises:
            InputError: If the seed is out of range; the stream is then unchanged.
        """
        with self._streams.alone:
            slot = self._slot()
            self._streams.reset(slot, self._streams.seed(slot) if seed is None else seed)

    def close(self) -> None:
        """Leave the pool; what is closed stays closed."""
        if self._number is None:
            return
        with self._streams.alone:
            self.leave()

    def leave(self) -> None:
        """Leave, for a pool that closes a stream in a call of its own."""
        self._streams.close(self._slot())
        self._number = None

    def number(self, streams: Streams) -> int:
        """Return the slot, for a pool that this is a stream of.

        Raises:
            StreamError: If the stream is closed, or another pool's.
        """
        if streams is not self._streams:
            raise StreamError("the stream is another pool's")
        return self._slot()

    def _slot(self) -> int:
        if self._number is None:
            raise StreamError("the stream is closed; open another one")
        return self._number
