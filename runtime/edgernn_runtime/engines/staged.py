"""The engine of bundles: stages that step at different rates, each keeping its state, behind one Spec.

A stream cannot tell it from a single graph: the states of all stages, what passes between them and the count of
steps are its states, so snapshots, forks and resets hold.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from edgernn_runtime.bundle_spec import BundleSpec, Link, bundle_to_json, check_bundle
from edgernn_runtime.engine import Array, Engine, Executor, Placement, RowStates
from edgernn_runtime.engines.singly import SinglyExecutor
from edgernn_runtime.errors import InputError, SpecError, StateError
from edgernn_runtime.spec import BATCH, Axis, Spec, StateSpec, TensorSpec
from edgernn_runtime.state import check_states

STEP_STATE: Final = "bundle/steps"


class StagedEngine:
    """The stages of a bundle that step along, as one model of batch 1."""

    def __init__(self, bundle: BundleSpec, engines: Mapping[str, Engine]) -> None:
        """Join stages.

        Args:
            bundle: What passes between them, and when they step.
            engines: The engine of each stage, those with streams of their own included.

        Raises:
            SpecError: If the bundle does not fit the models.
        """
        check_bundle(bundle, {name: engine.spec for name, engine in engines.items()})
        self._bundle = bundle
        self._engines = {name: engines[name] for name in bundle.along}
        self._spec = joined_spec(bundle, {name: engine.spec for name, engine in self._engines.items()})
        identity = [bundle_to_json(bundle), *(engine.model_id for engine in self._engines.values())]
        self._model_id = hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @property
    def spec(self) -> Spec:
        """The Spec of all stages together."""
        return self._spec

    @property
    def model_id(self) -> str:
        """The SHA-256 of the bundle and the ids of its stages."""
        return self._model_id

    @property
    def providers(self) -> tuple[str, ...]:
        """Full names of the execution providers of the voice."""
        return self._engines[self._bundle.voice].providers

    def executor(self, batch: int) -> Executor:
        """Return a new executor at the initial state.

        Raises:
            InputError: If `batch` is not 1.
        """
        if batch != 1:
            raise InputError(f"stages step one stream at a time, so batch must be 1, got {batch}")
        return StagedExecutor(self._bundle, {name: each.executor(1) for name, each in self._engines.items()}, self)

    def lockstep(self, rows: int) -> Executor:
        """Return a new executor of `rows` streams that are always at the same step, as `Lockstep` says."""
        if any(engine.spec.batch == 1 for engine in self._engines.values()):
            return SinglyExecutor(self._spec, lambda: self.executor(1), rows)
        executors = {name: each.executor(rows) for name, each in self._engines.items()}
        return StagedExecutor(self._bundle, executors, self, rows=rows)

    def placement(self) -> tuple[Placement, ...]:
        """Return where each node of every stage runs."""
        return tuple(node for engine in self._engines.values() for node in engine.placement())

    def stage_spec(self, stage: str) -> Spec:
        """Return the Spec of one stage."""
        return self._engines[stage].spec


class StagedExecutor(RowStates):
    """The executors of all stages, what passes between them, and the count of steps, which all rows share."""

    def __init__(
        self, bundle: BundleSpec, executors: Mapping[str, Executor], engine: StagedEngine, *, rows: int = 1
    ) -> None:
        """Join the executors of `rows` rows, each at its initial state."""
        self._rows = rows
        self._spec = engine.spec if rows == 1 else _of_rows(engine.spec)
        self._bundle = bundle
        self._executors = executors
        self._stages = {name: engine.stage_spec(name) for name in executors}
        self._voice = executors[bundle.voice]
        own = {name for name, stage in bundle.stages.items() if stage.every is None}
        links = [link for link in bundle.links if link.source not in own]
        self._passed = [link for link in links if not _is_state(link, self._stages)]
        self._begun = [link for link in links if _is_state(link, self._stages)]
        self._held = [self._executors[link.target].inputs[link.input] for link in self._passed]
        self._gathered = [
            (self._executors[link.target].inputs[link.input], self._voice.inputs[_fed_back(engine, bundle)])
            for link in self._passed
            if bundle.gathers(link)
        ]
        self._given = [link for link in self._passed if not bundle.gathers(link)]
        self._inputs: dict[str, Array] = {}
        self._shared: list[tuple[Array, Array]] = []
        for name in reversed(bundle.along):
            for tensor in _free_inputs(bundle, name, self._stages[name]):
                array = executors[name].inputs[tensor.name]
                first = self._inputs.setdefault(tensor.name, array)
                if first is not array:
                    self._shared.append((first, array))
        self._steps = 0
        self._slower = [(name, bundle.stages[name].every or 0) for name in bundle.along if name != bundle.voice]

    @property
    def batch(self) -> int:
        """The number of rows."""
        return self._rows

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host arrays that `run` reads, by input name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays of the voice that `run` overwrites, by output name."""
        return self._voice.outputs

    def run(self) -> None:
        """Step every stage whose turn it is, and pass on what it gave; if one fails, none has stepped."""
        for source, target in self._shared:
            target[...] = source
        due = [stage for stage in self._slower if self._is_due(stage[1])]
        if due:
            self._run_all(due)
        else:
            self._voice.run()
            self._gather()
        self._steps += 1

    def _is_due(self, every: int) -> bool:
        return self._steps % every == 0 if every else self._steps == 0

    def _run_all(self, due: Sequence[tuple[str, int]]) -> None:
        """Step the slower stages that are due, then the voice; put everything back if one fails."""
        states = [(self._executors[name], self._executors[name].read_state()) for name, _ in due]
        voice, held = self._voice.read_state(), [np.array(array) for array in self._held]
        self._gather()
        try:
            for name, _ in due:
                self._executors[name].run()
                self._pass_on(name)
            self._voice.run()
        except BaseException:
            for executor, arrays in (*states, (self._voice, voice)):
                executor.write_state(arrays)
            for array, before in zip(self._held, held, strict=True):
                array[...] = before
            raise

    def _gather(self) -> None:
        """Put what the voice was fed behind what slower stages have gathered of it."""
        for array, value in self._gathered:
            array[:, :-1] = array[:, 1:]
            array[:, -1] = value

    def read_state(self) -> tuple[Array, ...]:
        """Return copies of the states of all stages, of what passes between them, and the count of steps."""
        stages = [array for executor in self._executors.values() for array in executor.read_state()]
        held = [np.array(array) for array in self._held]
        return (*stages, *held, np.full(self._rows, self._steps, np.int64))

    def write_state(self, arrays: Sequence[Array]) -> None:
        """Replace the states by copies of `arrays`.

        Raises:
            StateError: If an array has another dtype or shape, or rows are not at the same step.
        """
        check_states(self._spec, arrays, self._rows)
        if (arrays[-1] != arrays[-1][0]).any():
            raise StateError(f"all rows must be at the same step, got {arrays[-1].tolist()}")
        rest = list(arrays)
        for name, executor in self._executors.items():
            count = len(self._stages[name].states)
            executor.write_state(rest[:count])
            rest = rest[count:]
        for array, value in zip(self._held, rest, strict=False):
            array[...] = value
        self._steps = int(rest[-1][0])

    def _pass_on(self, name: str) -> None:
        for link in self._given:
            if link.source == name:
                self._executors[link.target].inputs[link.input][...] = self._executors[name].outputs[link.output]
        begun = [link for link in self._begun if link.source == name]
        for target in {link.target for link in begun}:
            executor, states = self._executors[target], [state.input for state in self._stages[target].states]
            given = {link.input: link.output for link in begun if link.target == target}
            outputs, now = self._executors[name].outputs, executor.read_state()
            executor.write_state(
                [outputs[given[state]] if state in given else array for state, array in zip(states, now, strict=True)]
            )


def state_name(stage: str, name: str) -> str:
    """Return the name that the state of a stage has in its bundle.

    >>> state_name("decode", "state.h")
    'decode/state.h'
    """
    return f"{stage}/{name}"


def joined_spec(bundle: BundleSpec, specs: Mapping[str, Spec]) -> Spec:
    """Return the Spec of the stages that step along: the voice's, with the inputs and states of all."""
    voice = specs[bundle.voice]
    free: dict[str, TensorSpec] = {}
    for name in (bundle.voice, *specs):
        for tensor in _free_inputs(bundle, name, specs[name]):
            one = replace(tensor, shape=_one(tensor.shape))
            first = free.setdefault(tensor.name, one)
            if (first.dtype, first.shape) != (one.dtype, one.shape):
                raise SpecError(f"two stages have an input {tensor.name}, of different dtypes or shapes")
    states = [
        replace(
            state, input=state_name(name, state.input), output=state_name(name, state.output), shape=_one(state.shape)
        )
        for name, spec in specs.items()
        for state in spec.states
    ]
    for link in bundle.links:
        if link.source in specs and not _is_state(link, specs):
            tensor = specs[link.target].input(link.input)
            name = state_name(link.target, tensor.name)
            states.append(StateSpec(name, f"next.{name}", tensor.dtype, _one(tensor.shape)))
    states.append(StateSpec(STEP_STATE, f"next.{STEP_STATE}", "int64", (1,)))
    read = [
        spec.weight_bytes / (bundle.stages[name].every or 1)
        for name, spec in specs.items()
        if bundle.stages[name].every
    ]
    return replace(
        voice,
        inputs=tuple(free.values()),
        outputs=tuple(replace(tensor, shape=_one(tensor.shape)) for tensor in voice.outputs),
        states=tuple(states),
        batch=1,
        source_sha256=hashlib.sha256("".join(spec.source_sha256 for spec in specs.values()).encode()).hexdigest(),
        weight_bytes=round(sum(read)),
        parity=None,
    )


def _free_inputs(bundle: BundleSpec, stage: str, spec: Spec) -> list[TensorSpec]:
    """Return the inputs of a stage that the caller sets: those that no other running stage gives."""
    taken = {
        link.input for link in bundle.links if link.target == stage and bundle.stages[link.source].every is not None
    }
    return [tensor for tensor in spec.inputs if tensor.name not in taken]


def _is_state(link: Link, specs: Mapping[str, Spec]) -> bool:
    return link.input in {state.input for state in specs[link.target].states}


def _fed_back(engine: StagedEngine, bundle: BundleSpec) -> str:
    return engine.stage_spec(bundle.voice).main_input.name


def _one(shape: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return (1, *shape[1:])


def _of_rows(spec: Spec) -> Spec:
    """Return the Spec of several rows of a model of batch 1."""
    return replace(
        spec,
        inputs=tuple(replace(each, shape=(BATCH, *each.shape[1:])) for each in spec.inputs),
        outputs=tuple(replace(each, shape=(BATCH, *each.shape[1:])) for each in spec.outputs),
        states=tuple(replace(each, shape=(BATCH, *each.shape[1:])) for each in spec.states),
        batch="dynamic",
    )
