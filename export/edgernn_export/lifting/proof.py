"""Proof: the original over whole sequences against the step model, frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from edgernn_export.lifting.example import Example
from edgernn_export.lifting.sequence import Result, Source, frames_of
from edgernn_export.parity import max_abs
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import LiftError, ParityError, first_line
from edgernn_runtime.spec import FLUSH

LENGTHS: Final = (1, 2, 17, 200)
BATCHES: Final = (1, 3)

_PREFIXES: Final = 17
_SEED: Final = 21


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a step model and its original are apart along one sequence.

    Attributes:
        steps: The number of steps.
        batch: The number of rows.
        max_abs: The largest absolute difference.
        output: The output in which it occurred.
        first: The first step at which the tolerance was exceeded, and the output; None if it never was.
    """

    steps: int
    batch: int
    max_abs: float
    output: str
    first: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Proof:
    """How a step model is compared with the original that it was lifted from.

    Attributes:
        source: The original.
        example: Its arguments.
        results: How its outputs relate to the step's.
        states: The explicit states among its arguments, by position, with their initial values for one row.
        given: Sequences to compare on beside random ones: one tensor per argument.
        lengths: The steps of random sequences.
        described: The arguments, as the caller of `lift` described them.
    """

    source: Source
    example: Example
    results: tuple[Result, ...]
    states: tuple[tuple[int, Tensor], ...] = ()
    given: tuple[tuple[Tensor, ...], ...] = ()
    lengths: tuple[int, ...] = LENGTHS
    described: tuple[str, ...] = ()

    def check(self, engine: Engine, *, tolerance: float) -> tuple[int, float]:
        """Return the steps compared and the largest difference between an engine and the original.

        Random sequences of the given lengths, at batch 1 and, where the batch is dynamic, 3, and those
        that were given. What the original returns once for a sequence is compared after every step of the
        one with 17. Torch runs on one thread.

        Raises:
            ParityError: If they differ by more than `tolerance`, with the first step at which they do.
            LiftError: If the original fails on every length.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._check(engine, tolerance)
        finally:
            torch.set_num_threads(threads)

    def _check(self, engine: Engine, tolerance: float) -> tuple[int, float]:
        worst, steps = 0.0, 0
        for tensors in self._sequences(engine):
            found = self.compare(engine, tensors, tolerance=tolerance)
            if found is None:
                continue
            if found.first is not None:
                step, output = found.first
                raise ParityError(
                    f"the step model differs from {self.source.name} by {found.max_abs:.2e} in {found.output}; "
                    f"first in {output} at step {step} of {found.steps}, batch {found.batch} "
                    f"({tolerance:.0e} is allowed)"
                )
            steps += found.steps
            worst = max(worst, found.max_abs)
        return steps, worst

    def compare(self, engine: Engine, tensors: Sequence[Tensor], *, tolerance: float) -> Comparison | None:
        """Compare one sequence; None where the original cannot take one so short.

        Args:
            engine: What computes the steps.
            tensors: One per argument; states at their initial values.
            tolerance: The difference that counts as exceeded.
        """
        steps, batch = self._extent(tensors, engine.spec.frames_per_step)
        try:
            expected = self.source.run(tensors)
        except (RuntimeError, ValueError, IndexError) as error:
            if steps < max(self.lengths):
                return None
            raise LiftError(f"{self.source.name} fails on a sequence of {steps} steps: {first_line(error)}") from error
        made = self._stepped(engine, tensors, steps, batch)
        distances = [
            (step, distance, result.name)
            for result in self.results
            for step, distance in self._distances(engine, result, expected, tensors, made[result.name])
        ]
        exceeded = [(step, name) for step, distance, name in distances if not distance <= tolerance]
        _, worst, output = max(distances, key=lambda each: np.inf if np.isnan(each[1]) else each[1])
        return Comparison(steps, batch, worst, output, min(exceeded, default=None))

    def _sequences(self, engine: Engine) -> Iterator[list[Tensor]]:
        frames = engine.spec.frames_per_step
        for batch in BATCHES if engine.spec.batch == "dynamic" else (1,):
            for length in self.lengths:
                yield self._started(self.example.random(batch, length * frames, _SEED + length))
        yield from (self._started(list(each)) for each in self.given)

    def _started(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return tensors with the states among them at their initial values."""
        for position, initial in self.states:
            axis = self.example.arguments[position].batch
            rows = initial if axis is None else initial.unsqueeze(axis)
            tensors[position] = rows.expand_as(tensors[position]).clone()
        return tensors

    def _extent(self, tensors: Sequence[Tensor], frames: int) -> tuple[int, int]:
        """Return the steps and the rows of a sequence."""
        pairs = list(zip(self.example.arguments, tensors, strict=True))
        steps = next(tensor.shape[each.time] // frames for each, tensor in pairs if each.time is not None)
        return steps, next((tensor.shape[each.batch] for each, tensor in pairs if each.batch is not None), 1)

    def _stepped(self, engine: Engine, tensors: Sequence[Tensor], steps: int, batch: int) -> dict[str, list[Array]]:
        """Return the outputs of each step, and of the steps that flush."""
        executor = engine.executor(batch)
        states = {position for position, _ in self.states}
        sequences: dict[str, Array] = {}
        for position, argument in enumerate(self.example.arguments):
            if position not in states:
                array = frames_of(argument, tensors[position], engine.spec.frames_per_step)
                if argument.time is None:
                    executor.inputs[argument.name][...] = array
                else:
                    sequences[argument.name] = array
        flush = executor.inputs.get(FLUSH)
        made: dict[str, list[Array]] = {name: [] for name in executor.outputs}
        for step in range(steps + (0 if flush is None else engine.spec.delay_steps)):
            for name, sequence in sequences.items():
                executor.inputs[name][...] = sequence[step] if step < steps else 0
            if flush is not None:
                flush[...] = step >= steps
            executor.run()
            for name, output in executor.outputs.items():
                made[name].append(output.copy())
        return made

    def _distances(
        self, engine: Engine, result: Result, expected: Sequence[Tensor], tensors: Sequence[Tensor], made: list[Array]
    ) -> Iterator[tuple[int, float]]:
        """Yield steps and the differences there."""
        steps, batch = self._extent(tensors, engine.spec.frames_per_step)
        if result.time is not None:
            pairs = zip(result.steps(expected[result.position], batch), made[engine.spec.delay_steps :], strict=False)
            yield from ((step, max_abs(*pair)) for step, pair in enumerate(pairs))
            return
        for step in range(steps) if steps == _PREFIXES else (steps - 1,):
            now = expected if step == steps - 1 else self._prefix(tensors, (step + 1) * engine.spec.frames_per_step)
            if now is not None:
                yield step, max_abs(result.steps(now[result.position], batch)[0], made[step])

    def _prefix(self, tensors: Sequence[Tensor], frames: int) -> list[Tensor] | None:
        """Return the original's outputs for the first frames alone; None where it cannot take so few."""
        pairs = zip(self.example.arguments, tensors, strict=True)
        short = [tensor if each.time is None else tensor.narrow(each.time, 0, frames) for each, tensor in pairs]
        try:
            return self.source.run(short)
        except (RuntimeError, ValueError, IndexError):
            return None
