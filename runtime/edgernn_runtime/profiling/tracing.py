"""Tracing: what ONNX Runtime itself records of each operator, kept in the format that browsers open."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn_runtime.bundle_spec import read_bundle
from edgernn_runtime.engines.staged import StagedEngine
from edgernn_runtime.model import Model
from edgernn_runtime.profiling.interleaving import WARMUP_STEPS
from edgernn_runtime.profiling.stepping import stepper
from edgernn_runtime.providers import ProviderRequest, resolve
from edgernn_runtime.spec import Spec

RUN_EVENT: Final = "model_run"
"""What ONNX Runtime calls the event of one whole run of a graph."""


@dataclass(frozen=True, slots=True)
class StageTrace:
    """The trace of one graph.

    Attributes:
        stage: The name of the stage; empty for a model of one graph.
        spec: What the graph's file says of itself.
        file: ONNX Runtime's own trace, JSON.
        graph: The optimised graph that ran, an ONNX file; the model's own where ONNX Runtime wrote none.
    """

    stage: str
    spec: Spec
    file: Path
    graph: Path


@dataclass(frozen=True, slots=True)
class Trace:
    """The traces of a model's graphs.

    Attributes:
        path: The model file, or the folder of a bundle.
        warmup: The first steps, which are not to be counted.
        steps: The steps after them.
        stages: The trace of each graph.
    """

    path: Path
    warmup: int
    steps: int
    stages: tuple[StageTrace, ...]


def trace_steps(
    path: Path,
    folder: Path,
    *,
    steps: int,
    providers: Sequence[ProviderRequest] = ("cpu",),
    threads: int = 1,
) -> Trace:
    """Step a model while ONNX Runtime records each operator, which makes steps slower.

    Args:
        path: A model file, or the folder of a bundle.
        folder: Where the traces and the graphs are written, an empty folder.
        steps: Steps after the warmup.
        providers: Names of execution providers, in order of preference.
        threads: Threads inside one operator.

    Raises:
        ModelFileError, SpecError, ProviderError: As `load` raises them.
    """
    from edgernn_runtime.engines.ort import OrtEngine  # noqa: PLC0415, profiling compiled code has no need of it

    bundle = read_bundle(path) if path.is_dir() else None
    files = {"": path} if bundle is None else {name: path / bundle.stages[name].file for name in bundle.stages}
    found = resolve(providers)
    prefixes = {name: folder / f"trace{i}" for i, name in enumerate(files)}
    engines = {name: OrtEngine(file, found, threads=threads, trace=prefixes[name]) for name, file in files.items()}
    model = Model(engines[""] if bundle is None else StagedEngine(bundle, engines))
    step = stepper(model)
    for number in range(WARMUP_STEPS + steps):
        step(number)
    stages = []
    for name, engine in engines.items():
        graph = prefixes[name].with_suffix(".onnx")
        file = engine.end_trace()
        stages.append(StageTrace(name, engine.spec, file, graph if graph.exists() else files[name]))
    return Trace(path, WARMUP_STEPS, steps, tuple(stages))


def chrome_trace(traces: Iterable[Trace]) -> bytes:
    """Return traces as one JSON file that Chrome and Perfetto open.

    That of a single graph is ONNX Runtime's own, unchanged; else each graph becomes a process of its own name.
    """
    graphs = [(trace.path, stage) for trace in traces for stage in trace.stages]
    if len(graphs) == 1:
        return graphs[0][1].file.read_bytes()
    events: list[object] = []
    for number, (path, stage) in enumerate(graphs, start=1):
        name = f"{path} {stage.stage}".rstrip()
        events.append({"ph": "M", "name": "process_name", "pid": number, "tid": 0, "ts": 0, "args": {"name": name}})
        events += [{**event, "pid": number} for event in json.loads(stage.file.read_bytes())]
    return json.dumps(events).encode()
