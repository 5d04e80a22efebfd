"""Bundle: a model in several graphs, such as an encoder and a decoder, loaded.

A folder with a `bundle.json` and one model file for each stage; `docs/format.md` describes it. The stages that step
along are one model, which `load` gives as well; those with streams of their own, such as encoders, are here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from edgernn_runtime.bundle_spec import BundleSpec
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.opening import EngineName, Opening, open_stages
from edgernn_runtime.engines.staged import StagedEngine, state_name
from edgernn_runtime.errors import InputError
from edgernn_runtime.model import Model
from edgernn_runtime.providers import ProviderRequest
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.state import State
from edgernn_runtime.stream import Stream


class Bundle:
    """The stages of a model, immutable and shared by threads. `load_bundle` makes one from a folder."""

    __slots__ = ("_model", "_spec", "_stages")

    def __init__(self, spec: BundleSpec, engines: Mapping[str, Engine]) -> None:
        """Join stages, given the engine of each.

        Raises:
            SpecError: If the bundle does not fit the models.
        """
        self._spec = spec
        self._model = Model(StagedEngine(spec, engines))
        self._stages = MappingProxyType({name: Model(engine) for name, engine in engines.items()})

    @property
    def spec(self) -> BundleSpec:
        """When the stages step, and what passes between them."""
        return self._spec

    @property
    def stages(self) -> Mapping[str, Model]:
        """The models by the names of their stages."""
        return self._stages

    @property
    def model(self) -> Model:
        """The stages that step along, as one model."""
        return self._model

    def stream(
        self, after: Mapping[str, Stream] = MappingProxyType({}), *, seed: int = 0, sampler: Sampler = GREEDY
    ) -> Stream:
        """Return a new stream of the stages that step along, begun with what those before them computed last.

        Args:
            after: Streams of the stages that have their own, by name, each at the step that counts.
            seed: The seed of the noise.
            sampler: How tokens and frames are chosen.

        Raises:
            InputError: If a stream that it begins with is missing.
        """
        return self._model.stream(state=self.initial_state(after, seed=seed, sampler=sampler))

    def initial_state(
        self, after: Mapping[str, Stream] = MappingProxyType({}), *, seed: int = 0, sampler: Sampler = GREEDY
    ) -> State:
        """Return the state in which `stream` begins; arguments and errors as there."""
        along = self._spec.along
        links = [link for link in self._spec.links if link.source not in along and link.target in along]
        missing = [link for link in links if link.source not in after]
        if missing:
            raise InputError(f"{missing[0].target} begins with what {missing[0].source} computed; give its stream")
        spec = self._model.spec
        values = {link: after[link.source].output(link.output)[None] for link in links}
        named = {state_name(link.target, link.input): value for link, value in values.items()}
        fed = {link.input: value for link, value in values.items()}
        states = tuple(named[state.input] if state.input in named else state.initial_array(1) for state in spec.states)
        inputs = tuple(
            fed[each.name] if each.name in fed else np.zeros(each.sized(1), each.dtype) for each in spec.side_inputs
        )
        return State(self._model.model_id, states, seed=seed, sampler=sampler, inputs=inputs)


def load_bundle(
    folder: str | Path,
    *,
    engine: EngineName | None = None,
    providers: str | Sequence[ProviderRequest] = ("cpu",),
    threads: int = 1,
) -> Bundle:
    """Return the bundle in a folder; `engine`, `providers` and `threads` are as in `load`, for every stage.

    Raises:
        ModelFileError: If there is no bundle, or a model file is missing or damaged.
        SpecError: If the bundle is of another version, or its links do not fit its models.
        ProviderError, EngineError, InputError: As `load` does.
    """
    return Bundle(*open_stages(Path(folder), Opening(engine, providers, threads)))
