"""Beam search: the most probable sequences of tokens that follow a state, several in view at each step."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import InputError, StateError
from edgernn_runtime.feeding import Feeding
from edgernn_runtime.graph_sampler import set_sampler
from edgernn_runtime.model import Model
from edgernn_runtime.sampling import GREEDY, indices_of_largest
from edgernn_runtime.state import State

MAX_WIDTH: Final = 4096

_OFFSET: Final = 5

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One sequence that a beam search found.

    Attributes:
        tokens: Its tokens, without the one that ended it.
        log_probability: Of its tokens and of what ended it, in nats.
        score: The log-probability over the length penalty; what hypotheses are ranked by.
        finished: Whether a stop token ended it; false if there was no room for more tokens.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    finished: bool


class BeamSearch:
    """Beam search over a generative model of tokens. Mutable: its rows are used again; for one thread at a time.

    At each step every sequence in view is continued by every token, and the `width` most probable of all of them
    stay in view; those that end with a stop token are put aside. It ends when none in view can come to score better
    than the worst of the `width` best that were put aside. Equally probable ones rank by the rank of what they
    continue, then by token. With a width of 1 it is greedy search.
    """

    def __init__(self, model: Model, *, width: int, length_penalty: float = 0.0) -> None:
        """Make the rows.

        Args:
            model: A generative model of tokens, such as `load` returns, or a bundle's `model`.
            width: Sequences in view.
            length_penalty: The exponent `a` of Wu et al. (2016), equation 14: log-probabilities are divided by
                `((5 + length) / 6) ** a`, so that a larger one favours longer sequences; 0 does not.

        Raises:
            InputError: If the model generates no tokens, or a number is out of range.
        """
        if not model.spec.vocabulary:
            raise InputError("the model generates no tokens, so there is nothing to search")
        if not 1 <= width <= MAX_WIDTH:
            raise InputError(f"the width of a beam must lie in 1..{MAX_WIDTH}, got {width}")
        if not 0 <= length_penalty < np.inf:
            raise InputError(f"length_penalty must be 0 or positive, got {length_penalty}")
        self._model = model
        self._width = width
        self._penalty = length_penalty
        self._feeding = Feeding(model.spec)
        self._executor = model.lockstep(width)
        self._input = self._executor.inputs[model.spec.main_input.name]
        self._logits = cast("NDArray[np.float32]", self._executor.outputs[model.spec.main_output.name])
        self._others = [self._executor.inputs[each.name] for each in model.spec.side_inputs]
        if model.spec.graph_sampler is not None:
            for row in range(width):
                set_sampler(model.spec.graph_sampler, self._executor.inputs, row, GREEDY)

    def run(self, state: State, *, max_tokens: int, stop: Collection[int] | None = None) -> tuple[Hypothesis, ...]:
        """Return what may follow a state, the best one first: at most `width`, those that ended before all others.

        Args:
            state: Where to begin, such as a stream's snapshot. Of its sampler only the allowed tokens count.
            max_tokens: How many tokens a sequence may have.
            stop: Tokens that end a sequence; None for the one that the model's codec says ends it, if it has one.

        Raises:
            InputError: If a number is out of range, a stop is no token, nothing is pending to go on from, or the
                model's output is not finite.
            StateError: If the state does not fit the model.
            EngineError: If the engine fails.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens must be positive, got {max_tokens}")
        stops = np.array(sorted(self._feeding.stop(stop)), np.int64)
        fed = self._begin(state)
        banned = self._banned(state)
        beam, ended = [Hypothesis((), 0.0, 0.0, finished=False)], list[Hypothesis]()
        for step in range(max_tokens):
            self._input[: len(fed)] = fed
            self._executor.run()
            gains = _log_softmax(self._logits[: len(beam)]) + banned
            totals = gains + np.array([[each.log_probability] for each in beam])
            rows, tokens = _best(totals, self._width)
            chosen = [
                self._extended(beam[row], token, float(totals[row, token]), stops)
                for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)
            ]
            ended = _ranked([*ended, *(each for each in chosen if each.finished)])[: self._width]
            going = [i for i, each in enumerate(chosen) if not each.finished]
            beam, parents, fed = [chosen[i] for i in going], rows[going], tokens[going]
            if not beam or self._is_settled(beam[0], ended, max_tokens):
                return tuple(ended)
            if step + 1 < max_tokens:
                self._reorder(parents)
        return tuple(_ranked([*ended, *beam])[: self._width])

    def _begin(self, state: State) -> NDArray[np.int64]:
        """Put every row into a state, and return the token that the first one is fed."""
        spec = self._model.spec
        state.check(spec, self._model.model_id)
        if state.batch != 1:
            raise StateError(f"a beam search begins with a state of batch 1, got batch {state.batch}")
        self._feeding.check_state(state)
        pending = self._feeding.start(state.step) if state.pending is None else state.pending
        self._executor.write_state([np.repeat(array, self._width, axis=0) for array in state.arrays])
        for i, array in enumerate(self._others):
            array[...] = state.inputs[i] if state.inputs else 0
        return np.array([pending], np.int64)

    def _banned(self, state: State) -> Numbers:
        """Return what keeps tokens out that the sampler does not allow, `[vocabulary]`: 0, or minus infinity."""
        allowed = state.sampler.allowed
        banned = np.zeros(self._model.spec.vocabulary)
        if allowed is not None:
            banned[:] = -np.inf
            banned[list(allowed)] = 0.0
        return banned

    def _extended(self, parent: Hypothesis, token: int, total: float, stops: NDArray[np.int64]) -> Hypothesis:
        finished = token in stops
        tokens = parent.tokens if finished else (*parent.tokens, token)
        return Hypothesis(tokens, total, total / self._divisor(len(parent.tokens) + 1), finished=finished)

    def _divisor(self, length: int) -> float:
        return float(((_OFFSET + length) / (_OFFSET + 1)) ** self._penalty)

    def _is_settled(self, best: Hypothesis, ended: list[Hypothesis], max_tokens: int) -> bool:
        """Return whether no sequence in view can still rank among those that are returned."""
        return len(ended) == self._width and best.log_probability / self._divisor(max_tokens) <= ended[-1].score

    def _reorder(self, parents: NDArray[np.int64]) -> None:
        """Give each row the state of the one that its sequence continues; the rows left over keep any."""
        if np.array_equal(parents, np.arange(len(parents))):
            return
        rows = np.zeros(self._width, np.int64)
        rows[: len(parents)] = parents
        self._executor.write_state([array[rows] for array in self._executor.read_state()])


def beam_search(
    model: Model,
    state: State,
    *,
    width: int = 4,
    max_tokens: int,
    stop: Collection[int] | None = None,
    length_penalty: float = 0.0,
) -> tuple[Hypothesis, ...]:
    """Return the most probable sequences that follow a state, by a `BeamSearch`; arguments and errors as there."""
    return BeamSearch(model, width=width, length_penalty=length_penalty).run(state, max_tokens=max_tokens, stop=stop)


def _log_softmax(logits: NDArray[np.float32]) -> Numbers:
    """Return log-probabilities of logits `[rows, vocabulary]`; InputError if they are of no distribution."""
    wide = logits.astype(np.float64)
    peak = wide.max(axis=1, keepdims=True)
    if not np.isfinite(peak).all():
        raise InputError("the model's output is not finite, so nothing can be chosen")
    found: Numbers = wide - peak - np.log(np.exp(wide - peak).sum(axis=1, keepdims=True))
    return found


def _best(totals: Numbers, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the largest totals, the largest first; impossible ones are left out."""
    flat = totals.ravel()
    order = indices_of_largest(flat, min(count, flat.size))
    order = order[flat[order] > -np.inf]
    rows, tokens = np.divmod(order, totals.shape[1])
    return rows, tokens


def _ranked(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Return hypotheses, the finished ones first, each kind by score; equal ones stay in their order."""
    return sorted(hypotheses, key=lambda each: (not each.finished, -each.score))
