"""The interface of a lifted step: how the original's arguments come in, and how its outputs go out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from edgernn_export.lifting.attributes import ATTRIBUTES
from edgernn_export.lifting.capture import Program
from edgernn_export.lifting.example import Argument, Example, path_name
from edgernn_export.lifting.sequence import Result
from edgernn_export.lifting.step_graph import StateEntry, aten
from edgernn_export.lifting.values import Kind, Place, Value
from edgernn_export.lifting.walk import Walk
from edgernn_runtime.errors import LiftError, SpecError
from edgernn_runtime.spec import BATCH, FLUSH, Dtype, Feedback, Role, Spec, StateSpec, TensorSpec


@dataclass(frozen=True, slots=True)
class Carried:
    """A state that the module itself takes and returns.

    Attributes:
        argument: Its position among the arguments.
        output: Its position among the outputs.
        initial: Its value at reset for one row, without the batch.
    """

    argument: int
    output: int
    initial: Tensor


def take_inputs(
    walk: Walk, program: Program, example: Example, carried: Sequence[Carried], *, ends: bool
) -> dict[int, StateEntry]:
    """Add the step's inputs and explicit states, and define the arguments of the original from them.

    Args:
        walk: The walk, before its beginning.
        program: The original.
        example: Its arguments.
        carried: Those of them that are states.
        ends: Whether an input tells the step that the sequence has ended.

    Returns:
        The states by the positions of the arguments.
    """
    states = {each.argument: each for each in carried}
    entries: dict[int, StateEntry] = {}
    for position, argument in enumerate(example.arguments):
        if position not in states:
            _take(walk, program.arguments[position], argument)
    if ends:
        walk.flush = walk.step.input(FLUSH)
    for position, each in states.items():
        argument, node = example.arguments[position], program.arguments[position]
        name = argument.name.removeprefix(f"{ATTRIBUTES}.")
        entry = entries[position] = walk.step.state(name, each.initial)
        sample = walk.sample(node)
        made = walk.step.from_batch_first(entry.before, sample.shape, argument.batch)
        walk.define(node, Value(made, sample, Kind.STATIC))
    return entries


def _take(walk: Walk, node: fx.Node, argument: Argument) -> None:
    """Add one input `[batch, (frames,) ...]` and lay it out as the original has it."""
    sample, time, frames = walk.sample(node), argument.time, walk.sizes.frames
    made = walk.step.input(argument.name)
    shape = list(sample.shape)
    order = list(range(len(shape)))  # of the axes behind the batch
    if time is not None:
        shape[time] = frames
        order = [time, *(axis for axis in order if axis != time)]
    if frames == 1 and time is not None:
        order.remove(time)
    single = None if argument.batch is None else order.index(argument.batch)
    made = walk.step.from_batch_first(made, [shape[axis] for axis in order], single)
    if frames == 1 and time is not None:
        made = walk.step.call(aten.unsqueeze.default, made, time)
    elif order != sorted(order):
        made = walk.step.call(aten.permute.default, made, [order.index(axis) for axis in range(len(shape))])
    if time is None or walk.sizes.steps == 1:
        walk.define(node, Value(made, sample, Kind.STATIC))
    else:
        walk.define(node, Value(made, sample, Kind.STREAM, Place(time), frames, 0))


def output_names(program: Program) -> list[str]:
    """Return a name for each output, from how they nest: `output`, `output.0`, a dict's keys."""
    tree = pytree.tree_unflatten(list(range(len(program.outputs))), program.tree)
    paths = [path for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    names = [path_name(path) for path in paths]
    return [_output_name(name) for name in names]


def _output_name(path: str) -> str:
    first, _, rest = path.partition(".")
    if first == "output" and rest and not rest.split(".")[0].isdecimal():
        return rest
    return f"output.{path}" if first.isdecimal() else path or "output"


@dataclass(frozen=True, slots=True)
class Output:
    """One output of the step: its node, `[batch, (count,) ...]`, and what it is of the original's."""

    node: fx.Node
    spec: TensorSpec
    result: Result


@dataclass(frozen=True, slots=True)
class Axes:
    """Where batch and time lie in an output of the original, told by how its size changes with theirs.

    Attributes:
        batch: The axis of the batch; None if there is none, or it shares its axis with another.
        time: Likewise of time.
    """

    batch: int | None
    time: int | None


def give_outputs(walk: Walk, program: Program, axes: Mapping[int, Axes]) -> tuple[list[Output], int]:
    """Return the step's outputs, and by how many steps they lag.

    Args:
        walk: The walk, at its end.
        program: The original.
        axes: The axes of each output that is no state, by its position.
    """
    values = {i: walk.value(program.outputs[i]) for i in axes}
    delay = max([-(each.shift // each.count) for each in values.values() if each.kind is Kind.STREAM] + [0])
    names = output_names(program)
    made = []
    for position, value in values.items():
        name = f"{names[position]}.out" if names[position] in walk.step.inputs else names[position]
        node = program.outputs[position]
        late = walk.delayed(value, value.shift + delay * value.count, node) if value.kind is Kind.STREAM else value
        made.append(_give(walk, late, name, position, axes[position]))
    return made, delay


def _give(walk: Walk, value: Value, name: str, position: int, axes: Axes) -> Output:
    """Return one output, `[batch, (count,) ...]`."""
    shape = walk.per_step(value)
    node, time, batch, fold = value.node, axes.time, axes.batch, (1, 1)
    if value.kind is Kind.STREAM:
        time = value.where.axis
        fold = (value.where.outer, value.where.inner)
    elif value.kind is Kind.RUNNING:
        time = None
    if fold != (1, 1):
        if fold != (walk.sizes.batch, 1):
            raise LiftError(f"{name} holds time and another axis in one; return it with time as an axis of its own")
        at = value.where.axis
        shape[at : at + 1] = [fold[0], value.count]
        node = walk.step.call(aten.reshape.default, node, [walk.step.rows(size) for size in shape])
        result = Result(name, position, at, at, fold, value.count)
        batch, time = at, at + 1
    else:
        known = walk.step.batch_axis(shape) if walk.sizes.batch else batch
        result = Result(name, position, known, time, fold, 1 if time is None else shape[time])
    order = list(range(len(shape)))
    if time is not None:
        order = [time, *(axis for axis in order if axis != time)]
        node = node if order == sorted(order) else walk.step.call(aten.permute.default, node, order)
    moved = [shape[axis] for axis in order]
    single = None if batch is None else order.index(batch)
    node = walk.step.batch_first(node, moved, single)
    inner = _behind_batch(moved, walk.step.batch_axis(moved) if walk.sizes.batch else single, walk.sizes.batch)
    if time is not None and result.count == 1:
        node, inner = walk.step.call(aten.squeeze.dim, node, 1), inner[1:]
    first = BATCH if walk.sizes.batch else 1
    dtype = cast("Dtype", str(value.sample.dtype).removeprefix("torch."))
    return Output(node, TensorSpec(name, dtype, (first, *inner), "frame", frames=result.count), result)


def _behind_batch(shape: Sequence[int], axis: int | None, batch: int | None) -> list[int]:
    """Return a shape without the batch, what shares its axis kept."""
    if axis is None:
        return list(shape)
    inner = shape[axis] // (batch or 1)
    return [*shape[:axis], *([inner] if inner > 1 else []), *shape[axis + 1 :]]


def spec_of(
    walk: Walk,
    example: Example,
    carried: Sequence[Carried],
    outputs: Sequence[Output],
    *,
    delay: int,
    rate_hz: float | None,
) -> Spec:
    """Return the Spec of a step."""
    first = BATCH if walk.sizes.batch else 1
    states = {each.argument for each in carried}
    frames = walk.sizes.frames
    inputs = []
    for position, argument in enumerate(example.arguments):
        if position in states:
            continue
        rest = [axis for axis in argument.axes if axis not in ("B", "T")]
        timed = argument.time is not None
        shape = (first, *([frames] if timed and frames > 1 else []), *rest)
        inputs.append(
            TensorSpec(
                argument.name,
                argument.dtype,
                shape,
                _role(argument, example),
                size=argument.below,
                frames=frames if timed else 1,
            )
        )
    if walk.flush is not None:
        inputs.append(TensorSpec(FLUSH, "int64", (first,), "control", size=2))
    return Spec(
        inputs=tuple(inputs),
        outputs=tuple(output.spec for output in outputs),
        states=tuple(_state_spec(entry, first) for entry in walk.step.states),
        batch="dynamic" if walk.sizes.batch else 1,
        rate_hz=rate_hz,
        frames_per_step=frames,
        delay_steps=delay,
    )


def generative(spec: Spec, start: int | None) -> Spec:
    """Return the Spec of a model whose output is the logits of the next token, to be sampled and fed back.

    Raises:
        LiftError: If its first input and output are no token and its logits.
    """
    token, logits = spec.inputs[0], spec.outputs[0]
    try:
        return replace(
            spec,
            inputs=(replace(token, role="token", size=token.size or int(logits.shape[-1])), *spec.inputs[1:]),
            outputs=(replace(logits, role="logits"), *spec.outputs[1:]),
            distribution="categorical",
            feedback=Feedback(logits.name, token.name, start),
        )
    except SpecError as error:
        raise LiftError(f"the model does not generate tokens: {error}") from error


def _role(argument: Argument, example: Example) -> Role:
    if example.timed and argument.time is None:
        return "condition"
    return "frame"


def _state_spec(entry: StateEntry, first: "str | int") -> StateSpec:
    row = entry.initial
    initial = None if not bool(row.any()) else tuple(row.flatten().tolist())
    dtype = cast("Dtype", str(row.dtype).removeprefix("torch."))
    name = f"state.{entry.name}"
    return StateSpec(name, f"next_{name}", dtype, (first, *row.shape), initial)
