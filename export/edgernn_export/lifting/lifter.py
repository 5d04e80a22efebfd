"""Lift: from a module over sequences to a step module whose state is explicit, proved to compute the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from edgernn_export.lifting.attributes import (
    ATTRIBUTES,
    AttributeSource,
    Functional,
    find_attributes,
    initial_of,
    with_attributes,
)
from edgernn_export.lifting.capture import Program, capture
from edgernn_export.lifting.diagnosis import suspect
from edgernn_export.lifting.example import Example, example_of, given_tensors
from edgernn_export.lifting.interface import (
    Axes,
    Carried,
    Output,
    generative,
    give_outputs,
    output_names,
    spec_of,
    take_inputs,
)
from edgernn_export.lifting.lifted_step import LiftedStep
from edgernn_export.lifting.nodes import shape_of
from edgernn_export.lifting.proof import LENGTHS, Proof
from edgernn_export.lifting.rules import RULES
from edgernn_export.lifting.sequence import Result, Source, frames_of
from edgernn_export.lifting.sources import ModuleSource, StepSource
from edgernn_export.lifting.states import pair_states
from edgernn_export.lifting.step_graph import StateEntry, aten
from edgernn_export.lifting.tidy import tidy
from edgernn_export.lifting.walk import Walk
from edgernn_export.lifting.writer import Sizes
from edgernn_export.torch_engine import TorchEngine
from edgernn_runtime.errors import InputError, LiftError, ParityError
from edgernn_runtime.spec import BatchMode, Spec, StateSpec, TensorSpec

TOLERANCE: Final = 1e-4

_PRIMES: Final = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 521, 4099)
_BATCH_PRIMES: Final = (5, 7, *_PRIMES)
_TRIAL_BATCH: Final = 2
_TRIAL_STEPS: Final = (8, 64, 512, 4096)
_TOO_SHORT: Final = ("ernel size", "too small", "out of range", "out of bounds", "negative", "exceeds", "less than")


@dataclass(frozen=True, slots=True)
class LiftOptions:
    """How a module is to be lifted.

    Attributes:
        frames_per_step: Frames that one step takes.
        allow_delay: Whether outputs may lag behind their inputs, where the module looks ahead.
        batch: `"dynamic"`, or 1 for a module that takes one row only.
        generative: Whether the output is the logits of the token that follows, to be sampled and fed back.
        start: For generative models, the token that begins a stream without a prompt.
        rate_hz: Frames a second, for signals.
        tolerance: The largest absolute difference between the step and the original that is allowed.
        given: Sequences to prove the step on beside random ones: arrays by argument, as the module takes them.

    Raises:
        InputError: If a number is out of range.
    """

    frames_per_step: int = 1
    allow_delay: bool = False
    batch: BatchMode = "dynamic"
    generative: bool = False
    start: int | None = None
    rate_hz: float | None = None
    tolerance: float = TOLERANCE
    given: Sequence[Mapping[str, NDArray[np.generic]]] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.frames_per_step < 1:
            raise InputError(f"frames_per_step must be positive, got {self.frames_per_step}")
        if self.batch not in ("dynamic", 1):
            raise InputError(f"batch must be 'dynamic' or 1, got {self.batch!r}")


DEFAULTS: Final = LiftOptions()


def lift(module: nn.Module, example: object, options: LiftOptions = DEFAULTS) -> LiftedStep:
    """Return one step of a module over whole sequences, with its state explicit and proved equal.

    Args:
        module: The module; it is put into evaluation mode.
        example: What it takes: `"x=float32[B,T,40]"`, several of them, or a dict from the parameters of
            `forward` to such descriptions, nested as the module takes them. `B` is the batch, `T` time.
        options: How to lift it.

    Raises:
        InputError: If the example cannot be read, or the module does not take it.
        LiftError: If the module has no step form; the message says where, why, and what to do.
        ParityError: If the step that was found does not compute what the module computes.
    """
    known = example_of(example, module.eval())
    lengths = [steps * options.frames_per_step for steps in _TRIAL_STEPS]
    attributes = find_attributes(module, known, lengths, (1, 1) if options.batch == 1 else (2, 3))
    if not attributes:
        return lift_source(module, known, ModuleSource(module, known), options, {})
    wide = with_attributes(known, attributes)
    source = AttributeSource(module, known, attributes, len(wide.arguments) - len(known.arguments))
    return lift_source(Functional(module, attributes), wide, source, options, initial_of(attributes))


def lift_source(
    module: nn.Module,
    example: Example,
    source: Source,
    options: LiftOptions,
    initial: Mapping[str, Tensor | None],
    *,
    only_frames: int | None = None,
) -> LiftedStep:
    """Return one step of a module, proved against `source`.

    Args:
        module: What is walked through.
        example: Its arguments.
        source: What the step is compared with.
        options: How to lift it.
        initial: Values at reset of the states among the arguments, by argument, where they are not zero.
        only_frames: The number of frames of a module that takes sequences of one length only.

    Raises:
        LiftError, ParityError: As `lift` does.
    """
    trial = _trial(module, example, options, only_frames)
    example = example.bounded(_bounds(trial, example))
    carried = pair_states(example, trial, initial)
    lifting = _Lifting(module, example, source, options, trial, carried, only_frames)
    batches = (True, False) if example.batched and options.batch == "dynamic" else (False,)
    errors: list[Exception] = []
    for attempt in lifting.attempts():
        for batched in batches:
            try:
                return attempt(batched)
            except ParityError as error:
                errors.append(error)
            except LiftError as error:
                errors.append(error)
                break
    raise _joined(errors)


@dataclass(frozen=True, slots=True)
class _Lifting:
    """What is known before a step is written: the module, its trial capture, and its explicit states."""

    module: nn.Module
    example: Example
    source: Source
    options: LiftOptions
    trial: Program
    carried: tuple[Carried, ...]
    only_frames: int | None

    def attempts(self) -> "Sequence[Callable[[bool], LiftedStep]]":
        """Return the ways to try, in order; each takes whether the batch is to be dynamic."""
        if not self.example.timed:
            return [self.called]
        return [self.called, self.walked] if self.carried and self.only_frames is None else [self.walked]

    def walked(self, batched: bool) -> LiftedStep:  # noqa: FBT001
        """Lift by walking through the module as it computes a whole sequence."""
        sizes = self._sizes(batched=batched)
        program = capture(self.module, _call(self.example, sizes.batch or 1, sizes.steps * sizes.frames))
        written = self._written(program, sizes, ends=False)
        if written.delay and not self.options.allow_delay:
            many = "s" if written.delay > 1 else ""
            raise LiftError(
                f"the module looks ahead: its output would lag by {written.delay} step{many}; "
                "allow that with --allow-delay (allow_delay=True), or pad on the left alone and retrain"
            )
        return self._finished(self._written(program, sizes, ends=True) if written.delay else written)

    def called(self, batched: bool) -> LiftedStep:  # noqa: FBT001
        """Lift a module that takes and returns its whole state, by calling it with the frames of one step."""
        batch = _prime(_BATCH_PRIMES, self.trial.sizes()) if batched else None
        sizes = Sizes(batch, 1, self.options.frames_per_step)
        program = capture(self.module, _call(self.example, batch or 1, sizes.frames))
        return self._finished(self._written(program, sizes, ends=False))

    def _sizes(self, *, batched: bool) -> Sizes:
        """Return the sizes of the capture: primes that divide no size of the trial, so that they can be told."""
        used, frames = self.trial.sizes(), self.options.frames_per_step
        pairs = zip(self.example.arguments, self.trial.arguments, strict=True)
        least = max(shape_of(node)[each.time] for each, node in pairs if each.time is not None)
        if self.only_frames is None:
            steps = _prime(_PRIMES, used, -(-least // frames))
        elif self.only_frames % frames:
            raise LiftError(f"the program takes {self.only_frames} frames, which is no multiple of {frames}")
        else:
            steps = self.only_frames // frames
        batch = _prime(_BATCH_PRIMES, used | {steps}) if batched else None
        return Sizes(batch, steps, frames)

    def _written(self, program: Program, sizes: Sizes, *, ends: bool) -> "_Written":
        tensors = self._examples(sizes)
        walk = Walk(program, sizes, program.samples(tensors[0]), program.samples(tensors[1]))
        entries = take_inputs(walk, program, self.example, self.carried, ends=ends)
        walk.run(RULES)
        states = {each.output for each in self.carried}
        axes = {i: each for i, each in enumerate(self._axes(program, sizes)) if i not in states}
        outputs, delay = give_outputs(walk, program, axes)
        return _Written(walk, program, entries, outputs, delay)

    def _axes(self, program: Program, sizes: Sizes) -> list[Axes]:
        """Return where batch and time lie in each output: their sizes differ between two captures.

        With one row in both, the batch is taken to lie where the first argument has it.
        """
        batches = (sizes.batch or 1, 1 if self.options.batch == 1 else _TRIAL_BATCH)
        usual = self.example.arguments[0].batch
        axes = []
        for node, other in zip(program.outputs, self.trial.outputs, strict=True):
            pairs = list(zip(shape_of(node), shape_of(other), strict=True))
            batch = next((i for i, pair in enumerate(pairs) if pair == batches), None)
            if batches == (1, 1):
                batch = usual if usual is not None and pairs[usual : usual + 1] == [batches] else None
            time = next((i for i, pair in enumerate(pairs) if pair[0] != pair[1] and i != batch), None)
            axes.append(Axes(batch, time))
        return axes

    def _finished(self, written: "_Written") -> LiftedStep:
        """Return the step that was written, proved."""
        spec, step = self._assembled(written)
        results = [each.result for each in written.outputs]
        given = given_tensors(self.example, self.options.given)
        described = tuple(line for line in self.example.lines() if not line.startswith(f"{ATTRIBUTES}."))
        proof = replace(self._proof(results), given=given, described=described)
        lifted = LiftedStep(tidy(step, _zeros(spec)), spec, proof)
        try:
            proof.check(TorchEngine(lifted), tolerance=self.options.tolerance)
        except ParityError as error:
            guilty = self._suspect(written)
            names = output_names(written.program)
            pairs = (f"{self.example.arguments[each.argument].name} from {names[each.output]}" for each in self.carried)
            hints = [f"suspected: {guilty}"] if guilty else []
            hints += [f"states were taken to be {', '.join(pairs)}"] if self.carried else []
            raise ParityError("; ".join([str(error), *hints])) from error
        return lifted

    def _assembled(self, written: "_Written") -> tuple[Spec, fx.GraphModule]:
        walk = written.walk
        for each in self.carried:
            node, batch = written.program.outputs[each.output], self.example.arguments[each.argument].batch
            entry = written.entries[each.argument]
            entry.after = walk.step.batch_first(walk.value(node).node, walk.sample(node).shape, batch)
        rate = self.options.rate_hz
        spec = spec_of(walk, self.example, self.carried, written.outputs, delay=written.delay, rate_hz=rate)
        if self.options.generative:
            spec = generative(spec, self.options.start)
        return spec, walk.step.finish([output.node for output in written.outputs])

    def _proof(self, results: Sequence[Result]) -> Proof:
        """Return how the step is proved: by whole sequences, or step by step if the module is one step already."""
        states = tuple((each.argument, each.initial) for each in self.carried)
        if self.example.timed:
            frames = self.options.frames_per_step
            lengths = LENGTHS if self.only_frames is None else (self.only_frames // frames,)
            return Proof(self.source, self.example, tuple(results), states, lengths=lengths)
        positions = {each.argument for each in self.carried}
        arguments = tuple(
            argument if i in positions else replace(argument, axes=("T", *argument.axes))
            for i, argument in enumerate(self.example.arguments)
        )
        stacked = (replace(each, time=0, batch=None if each.batch is None else each.batch + 1) for each in results)
        pairs = tuple((each.argument, each.output) for each in self.carried)
        source = StepSource(self.source, pairs)
        return Proof(source, replace(self.example, arguments=arguments), tuple(stacked), states)

    def _suspect(self, written: "_Written") -> str | None:
        """Return the first operator that a failed step computes differently from the original."""
        sizes = written.walk.sizes
        if sizes.steps == 1:
            return None
        again = self._written(written.program, sizes, ends=written.walk.flush is not None)
        spec, step = self._assembled(again)
        tensors = self._examples(sizes)[0]
        states = {each.argument for each in self.carried}
        arrays = [
            (each, frames_of(each, tensors[i], sizes.frames))
            for i, each in enumerate(self.example.arguments)
            if i not in states
        ]
        rows = sizes.batch or 1
        inputs = [
            [torch.from_numpy(array if each.time is None else array[number]) for each, array in arrays]
            + [torch.zeros(rows, dtype=torch.int64)] * (again.walk.flush is not None)
            for number in range(sizes.steps)
        ]
        return suspect(again.walk, step, inputs, [torch.from_numpy(each.initial_array(rows)) for each in spec.states])

    def _examples(self, sizes: Sizes) -> list[list[Tensor]]:
        """Return two sets of arguments at the sizes of a capture, states at zero."""
        both = [self.example.random(sizes.batch or 1, sizes.steps * sizes.frames, seed) for seed in (1, 2)]
        for each in self.carried:
            for tensors in both:
                tensors[each.argument] = torch.zeros_like(tensors[each.argument])
        return both


@dataclass(frozen=True, slots=True)
class _Written:
    """A step that was written, before it is put together."""

    walk: Walk
    program: Program
    entries: Mapping[int, StateEntry]
    outputs: Sequence[Output]
    delay: int


def _joined(errors: Sequence[Exception]) -> Exception:
    """Return the error to raise when all attempts failed: what each way to lift met, the last way first."""
    parity = next((error for error in errors if isinstance(error, ParityError)), None)
    refused = next((error for error in reversed(errors) if isinstance(error, LiftError)), None)
    if parity is None or refused is None:
        return refused or errors[0]
    return LiftError(f"{refused}; and called with the frames of one step, {parity}")


def _trial(module: nn.Module, example: Example, options: LiftOptions, only_frames: int | None) -> Program:
    """Return the program at some sizes: what the sizes of the real capture must differ from."""
    errors = []
    batch = 1 if options.batch == 1 else _TRIAL_BATCH
    if only_frames is not None:
        return capture(module, _call(example, batch, only_frames))
    for steps in _TRIAL_STEPS if example.timed else _TRIAL_STEPS[:1]:
        try:
            return capture(module, _call(example, batch, steps * options.frames_per_step))
        except LiftError as error:
            errors.append(error)
            if not any(words in str(error) for words in _TOO_SHORT):
                break
    raise errors[0]


def _call(example: Example, batch: int, frames: int) -> dict[str, object]:
    return example.call(example.random(batch, frames, seed=0))


def _bounds(program: Program, example: Example) -> dict[str, int]:
    """Return how many tokens the embedding has that reads an integer argument."""
    found = {}
    for argument, node in zip(example.arguments, program.arguments, strict=True):
        for user in node.users:
            if user.target is aten.embedding.default and isinstance(weight := user.args[0], fx.Node):
                found[argument.name] = int(weight.meta["val"].shape[0])
    return found


def _prime(primes: Sequence[int], used: set[int], least: int = 0) -> int:
    """Return the first prime that divides none of the sizes in use, and is `least` at least."""
    found = next((each for each in primes if each >= least and all(size % each for size in used)), None)
    if found is None:
        raise LiftError("the module has so many sizes that batch and time cannot be told from them")
    return found


def _zeros(spec: Spec) -> list[Tensor]:
    """Return zeros for each input and state of a step."""
    rows = 1 if spec.batch == 1 else _TRIAL_BATCH
    tensors: list[TensorSpec | StateSpec] = [*spec.inputs, *spec.states]
    return [torch.zeros(each.sized(rows), dtype=getattr(torch, each.dtype)) for each in tensors]
