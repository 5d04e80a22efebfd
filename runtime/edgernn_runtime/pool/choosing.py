"""Chooser: the next tokens of a batch, chosen in the graph or from its logits."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.engine import Array
from edgernn_runtime.errors import InputError
from edgernn_runtime.graph_sampler import CUMULATIVE, NEXT_TOKEN, NOISE, set_sampler
from edgernn_runtime.pool.recent import Recent
from edgernn_runtime.sampling import GRAIN, GREEDY, Sampler, sample_rows
from edgernn_runtime.spec import Spec

NONE = -1
"""In place of a token where the model's output is not finite."""

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]


class Chooser:
    """Chooses the next token of every row that steps, as each one's sampler does alone. Mutable.

    Plain samplers are computed for all rows at once; a sampler that the graph does not have, or without one in the
    graph one with top-k, top-p, a repetition penalty or allowed tokens, is computed for its row alone.

    Attributes:
        samplers: The sampler of every slot.
        warm: Whether any row that steps needs noise.
        rows: The rows whose samplers are computed alone.
    """

    def __init__(self, spec: Spec, capacity: int) -> None:
        """Prepare for `capacity` slots, all of them greedy."""
        self._graph = spec.graph_sampler
        self._output = spec.main_output.name
        self.samplers: list[Sampler] = [GREEDY] * capacity
        self._temperature: Floats = np.zeros(capacity, np.float32)
        self._single: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.warm = False
        self.rows: list[int] = []
        self._temperatures: Floats = np.empty(0, np.float32)
        self._cold: list[int] = []
        self._stale = True
        self._version = -1
        self._logits: Floats = np.empty((0, 0), np.float32)
        self._noise_input = self._logits
        self._last_cumulative = self._temperatures
        self._next_token: Array = self._temperatures

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots."""
        more = capacity - len(self.samplers)
        self.samplers += [GREEDY] * more
        self._temperature = np.append(self._temperature, np.zeros(more, np.float32))
        self._single = np.append(self._single, np.zeros(more, np.bool_))

    def set(self, slot: int, sampler: Sampler) -> None:
        """Let a slot's tokens be chosen by a sampler."""
        self.samplers[slot] = sampler
        in_batch = sampler.plain if self._graph is None else self._graph.has(sampler)
        self._single[slot] = not in_batch
        self._temperature[slot] = sampler.temperature
        self._stale = True

    def arrange(
        self, order: NDArray[np.int64], version: int, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Look up the samplers of the rows that step.

        Args:
            order: The slots that step, by their rows.
            version: What changes with `order`.
            inputs: The executor's.
            outputs: The executor's.
        """
        if not self._stale and version == self._version:
            return
        count = len(order)
        self._temperatures = self._temperature[order]
        self.rows = np.flatnonzero(self._single[order]).tolist()
        self.warm = bool(self._temperatures.any())
        self._cold = np.flatnonzero(self._temperatures == 0).tolist()
        self._logits = outputs[self._output][:count]  # type: ignore[assignment]  # a Spec's logits are float32
        if self._graph is not None:
            self._noise_input = inputs[NOISE][:count, 0]  # type: ignore[assignment]  # likewise
            self._noise_input[...] = GRAIN
            self._last_cumulative = outputs[CUMULATIVE][:count, -1]  # type: ignore[assignment]  # likewise
            self._next_token = outputs[NEXT_TOKEN][:count]
            for row, slot in enumerate(order.tolist()):
                set_sampler(self._graph, inputs, row, self.samplers[slot])
        self._stale, self._version = False, version

    def feed(self, noise: Floats) -> None:
        """Write the noise of the rows that step into the graph's input, if it samples."""
        if self._graph is not None:
            np.add(noise, np.float32(GRAIN), out=self._noise_input)
            if self._cold:
                self._noise_input[self._cold] = GRAIN

    def choose(self, noise: Floats | None) -> tuple[Tokens, bool]:
        """Return the next token of every row, as plain samplers or the graph's choose it.

        Args:
            noise: The uniforms of the rows that step; None where all are greedy.

        Returns:
            int64 `[stepping]`, and whether the model's output is finite in all of them; `NONE` where it is not.
        """
        if self._graph is None:
            tokens = _greedy(self._logits) if noise is None else sample_rows(self._logits, noise, self._temperatures)
            return tokens, bool(tokens.min() >= 0)
        tokens = self._next_token.astype(np.int64)
        finite = bool(self._last_cumulative.min() > 0)
        return (tokens if finite else np.where(self._last_cumulative > 0, tokens, NONE)), finite

    def choose_alone(
        self, tokens: Tokens, order: NDArray[np.int64], noise: Floats | None, *, recent: Recent, skip: Sequence[int]
    ) -> None:
        """Replace the tokens of rows whose samplers are computed alone; `NONE` where the model's output is not finite.

        Args:
            tokens: int64 `[stepping]`, changed in place.
            order: The slots that step, by their rows.
            noise: Their uniforms; None where all are greedy.
            recent: The last tokens of every slot.
            skip: Rows whose token nobody asks for.
        """
        ranked = self._graph is not None and self._graph.filters
        for row in self.rows:
            if row in skip:
                continue
            slot = int(order[row])
            uniform = 0.0 if noise is None else float(noise[row])
            try:
                tokens[row] = self.samplers[slot].sample(
                    self._logits[row], uniform, recent=recent.of(slot), ranked=ranked
                )
            except InputError:
                tokens[row] = NONE


def _greedy(logits: Floats) -> Tokens:
    best = logits.argmax(axis=1)
    finite = np.isfinite(logits[np.arange(len(best)), best])
    return best if finite.all() else np.where(finite, best, NONE)
