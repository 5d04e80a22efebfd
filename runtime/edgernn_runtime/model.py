"""Model: a loaded, immutable step model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgernn_runtime.engine import Engine, Executor, Lockstep, Placement
from edgernn_runtime.engines.opening import EngineName, Opening, open_engine
from edgernn_runtime.engines.singly import SinglyExecutor
from edgernn_runtime.errors import InputError
from edgernn_runtime.providers import ProviderRequest
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import Spec
from edgernn_runtime.state import State
from edgernn_runtime.stream import Stream

if TYPE_CHECKING:
    from edgernn_runtime.pool import StreamPool


def load(
    path: str | Path,
    *,
    engine: EngineName | None = None,
    providers: str | Sequence[ProviderRequest] = ("cpu",),
    threads: int = 1,
    spinning: bool = False,
    strict: bool = False,
    model_id: str | None = None,
) -> "Model":
    """Return the step model in a file, or that of the stages in a bundle's folder.

    Args:
        path: A `.onnx` file that edgernn exported, a folder with a `bundle.json`, or a library that
            `edgernn compile` built (`.so`, `.dylib`, `.dll`). A library is code: load only those you trust.
        engine: `onnxruntime`, or `native` for compiled code: that of a `.onnx` file is looked for in the user's cache,
            which `edgernn compile MODEL --build --cache` fills. None for native code from a library and ONNX Runtime
            for the rest.
        providers: An execution provider, or several in order of preference: short names (`cpu`, `cuda`, `tensorrt`,
            `openvino`, `coreml`, `directml`, `qnn`, `webgpu`, ...), full names, or pairs of a name
            and the provider's options. Each one named must be there. Compiled code has none but the cpu.
        threads: Threads inside one operator; one is fastest for most step models. Compiled code has one.
        spinning: Whether idle threads keep a core busy while they wait for the next step.
        strict: Whether it is an error if a node runs on a provider other than the first.
        model_id: The id of the model that is expected, which a file of another must not stand in for; None for any.

    Raises:
        ModelFileError: If the file is missing, damaged, no ONNX model and no library of this edgernn, another model
            than expected, or has no library in the cache.
        SpecError: If it has no Spec, a newer one, or one that disagrees with its graph.
        ProviderError: If a provider is unknown, missing or could not start, or nodes fell back to
            another one and `strict` is set.
        EngineError: If this machine cannot run a library, or others could have written it in the cache.
        InputError: If there is no such engine, or it has not so many threads.
    """
    how = Opening(engine, providers, threads, spinning, strict)
    _check_begin(Path(path))
    return Model(open_engine(Path(path), how, model_id=model_id))


def _check_begin(path: Path) -> None:
    """Refuse a bundle whose stages begin with a state that the caller has to compute first."""
    if not path.is_dir():
        return
    from edgernn_runtime.bundle_spec import read_bundle  # noqa: PLC0415, costs the cold start of a file 4 ms

    bundle = read_bundle(path)
    for link in bundle.links:
        if bundle.stages[link.source].every is None and link.input.startswith("state."):
            raise InputError(
                f"{link.target} begins with the state that {link.source} computes; open {path} with load_bundle"
            )


class Model:
    """A loaded step model: immutable, shared by threads. `load` makes one from a file."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine that has opened a model."""
        self._engine = engine

    @property
    def spec(self) -> Spec:
        """What the model file says of itself."""
        return self._engine.spec

    @property
    def model_id(self) -> str:
        """The SHA-256 of the Spec and the weights, in hexadecimal."""
        return self._engine.model_id

    @property
    def providers(self) -> tuple[str, ...]:
        """Full names of the execution providers in use, in order of preference."""
        return self._engine.providers

    def placement(self) -> tuple[Placement, ...]:
        """Return where each node of the optimised graph runs."""
        return self._engine.placement()

    def executor(self, batch: int = 1) -> Executor:
        """Return a new executor for `batch` rows, at the initial state.

        Raises:
            InputError: If `batch` is not positive, or the graph takes one row only.
        """
        self._check_batch(batch)
        return self._engine.executor(batch)

    def lockstep(self, rows: int) -> Executor:
        """Return a new executor for `rows` streams that are always at the same step, as in a beam search.

        A bundle has one as well. Where a graph takes one row only, the rows step in turn.

        Raises:
            InputError: If `rows` is not positive.
        """
        if rows < 1:
            raise InputError(f"rows must be positive, got {rows}")
        if isinstance(self._engine, Lockstep):
            return self._engine.lockstep(rows)
        if self.spec.batch != 1:
            return self._engine.executor(rows)
        return SinglyExecutor(self.spec, lambda: self._engine.executor(1), rows)

    def initial_state(self, batch: int = 1) -> State:
        """Return the state that a stream starts from, with `batch` rows.

        Raises:
            InputError: If `batch` is not positive, or the graph takes one row only.
        """
        self._check_batch(batch)
        return State(self.model_id, tuple(state.initial_array(batch) for state in self.spec.states))

    def stream(self, *, seed: int = 0, sampler: Sampler = GREEDY, state: State | None = None) -> Stream:
        """Return a new stream.

        Args:
            seed: The seed of the noise that samples tokens, 0 to 2**64 - 1.
            sampler: How tokens are chosen.
            state: A snapshot to continue from; its own seed and sampler are then used.

        Raises:
            InputError: If the seed is out of range.
            StateError: If the state does not fit this model.
        """
        stream = Stream(self.spec, self.model_id, self.executor, seed=seed, sampler=sampler)
        if state is not None:
            stream.restore(state)
        return stream

    def pool(self, *, capacity: int = 8, limit: int | None = None) -> "StreamPool":
        """Return a new pool, whose streams step together.

        Args:
            capacity: How many streams there is room for at first; the room doubles when it is needed.
            limit: How many streams there may be at most; None for as many as fit in memory.

        Raises:
            InputError: If either is not positive.
        """
        from edgernn_runtime.pool import StreamPool  # noqa: PLC0415, costs the cold start of a stream 20 ms

        return StreamPool(self, capacity=capacity, limit=limit)

    def _check_batch(self, batch: int) -> None:
        if batch < 1 or (batch > 1 and self.spec.batch == 1):
            raise InputError(f"batch must be {'1' if self.spec.batch == 1 else 'positive'}, got {batch}")
