"""Pace: what stays the same from step to step while the same streams step, and nothing else is done to them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Executor
from edgernn_runtime.pool.choosing import NONE, Chooser
from edgernn_runtime.pool.noise_ahead import NoiseAhead
from edgernn_runtime.pool.recent import Recent

if TYPE_CHECKING:
    from edgernn_runtime.pool.pool_stream import PoolStream

    Result = tuple[PoolStream, int | NDArray[np.float32]]

Indices = NDArray[np.int64]

_AHEAD: Final = 16


class Pace:
    """Steps of the same token streams, one after another, with as little done between them as can be. Mutable.

    After a step of a large model the caches hold its weights, and every line that runs between two steps is slow.

    Attributes:
        order: The slots that step, by their rows.
        tokens: What each one chose last, and is fed next.
        steps: The steps taken so far.
    """

    __slots__ = (
        "_chooser",
        "_executor",
        "_feed",
        "_first",
        "_members",
        "_next",
        "_noise",
        "_noise_ahead",
        "_recent",
        "_run",
        "order",
        "steps",
        "tokens",
    )

    def __init__(
        self,
        order: Indices,
        tokens: Indices,
        members: "list[PoolStream]",
        *,
        run: Callable[[], None],
        executor: Executor,
        main_input: str,
        chooser: Chooser,
        noise: NoiseAhead | None,
        first: Indices,
        recent: Recent,
    ) -> None:
        """Begin after a step.

        Args:
            order: The slots that step, by their rows.
            tokens: What each one is fed next.
            members: Their streams.
            run: Steps the rows.
            executor: Their executor.
            main_input: The name of the input that takes the tokens.
            chooser: Chooses; it has been arranged for `order`, and chooses for no row by itself.
            noise: Their noise; None if all are greedy.
            first: The step that each one takes next.
            recent: Remembers what they are fed.
        """
        self.order, self.tokens, self.steps = order, tokens, 0
        self._members, self._run, self._executor = members, run, executor
        self._feed = executor.inputs[main_input][: len(order)]
        self._chooser, self._noise, self._first, self._recent = chooser, noise, first, recent
        self._noise_ahead: NDArray[np.float32] = np.empty((0, len(order)), np.float32)
        self._next = _AHEAD

    def step(self) -> "tuple[list[Result], list[int]]":
        """Take a step, and return what every stream chose, and the rows whose output is not finite.

        Raises:
            EngineError: If the engine fails; nothing has been taken then.
        """
        noise: NDArray[np.float32] | None = None
        if self._noise is not None:
            if self._next == _AHEAD:
                self._noise_ahead = self._noise.gather(self.order, self._first + self.steps, _AHEAD)
                self._next = 0
            noise = self._noise_ahead[self._next]
            self._chooser.feed(noise)
        self._feed[...] = self.tokens
        self._run()
        self._recent.add(self.order, self.tokens)
        self.steps += 1
        self._next += 1
        self.tokens, finite = self._chooser.choose(noise)
        chosen = cast("list[Result]", list(zip(self._members, self.tokens.tolist(), strict=True)))
        return chosen, [] if finite else np.flatnonzero(self.tokens == NONE).tolist()
