"""Operators: where the time of a step goes, read from ONNX Runtime's own trace."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgernn_runtime.errors import EngineError
from edgernn_runtime.profiling.tracing import RUN_EVENT, StageTrace, Trace
from edgernn_runtime.providers import short_name

KEPT_SHARE: Final = 0.95
"""The share of an operator's calls, the fastest, that its time is the mean of: others are interruptions."""

_SUFFIX: Final = "_kernel_time"
_COPIES: Final = ("MemcpyToHost", "MemcpyFromHost")
_INSERTED: Final = "Inserted"


@dataclass(frozen=True, slots=True)
class NodeTime:
    """The time of one node.

    Attributes:
        stage: The stage of a bundle that it belongs to, else empty.
        node: The node's name in the graph that ran.
        operator: Its operator type.
        provider: The short name of its execution provider.
        calls: How often it runs in a step.
        us: Its time in a step.
    """

    stage: str
    node: str
    operator: str
    provider: str
    calls: float
    us: float

    @property
    def copy(self) -> bool:
        """Whether ONNX Runtime put it in to move or convert a tensor between other nodes."""
        return self.operator in _COPIES or (self.operator == "Cast" and self.node.startswith(_INSERTED))


@dataclass(frozen=True, slots=True)
class TracedStep:
    """The time of a step while it was traced.

    Attributes:
        us: Of the runs of all graphs.
        nodes: Of each node.
    """

    us: float
    nodes: tuple[NodeTime, ...]


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """The time of all nodes of one operator type in one place.

    Attributes:
        what: The place, such as `layer 0 product`; the node's own name where no place is known.
        operator: The operator type.
        calls: How often they run in a step, together.
        us: Their time in a step that was traced.
        share: Their part of the time of all operators.
        untraced_us: Their time in a step that is not traced, an estimate: as if tracing cost each call the same.
    """

    what: str
    operator: str
    calls: float
    us: float
    share: float
    untraced_us: float


def read_trace(trace: Trace) -> TracedStep:
    """Return where the time of a step goes; nodes come in the order in which they first ran.

    Raises:
        EngineError: If a trace cannot be read, or holds no step.
    """
    parts = [_read_stage(trace, stage) for stage in trace.stages]
    return TracedStep(sum(part.us for part in parts), tuple(node for part in parts for node in part.nodes))


def fold(
    nodes: Sequence[NodeTime], place: Callable[[NodeTime], str] | None = None, *, step_us: float | None = None
) -> tuple[OperatorTime, ...]:
    """Return the time of nodes by place and operator type, places in the order in which they come.

    Args:
        nodes: The time of each node.
        place: Says where a node belongs; without it, each stands under its own name.
        step_us: The time of a step that is not traced, which all operators together cannot exceed; None if it is not
            known.
    """
    groups: dict[tuple[str, str], list[NodeTime]] = defaultdict(list)
    for node in nodes:
        groups[_place(node, place), node.operator].append(node)
    order = {what: i for i, (what, _) in reversed(list(enumerate(groups)))}
    total, cost = sum(node.us for node in nodes), _tracing_us(nodes, step_us)
    rows = [
        OperatorTime(what, operator, calls, us, us / total if total else 0.0, us - cost * calls)
        for (what, operator), group in groups.items()
        for us, calls in [(sum(node.us for node in group), sum(node.calls for node in group))]
    ]
    return tuple(sorted(rows, key=lambda row: (order[row.what], -row.us)))


def _tracing_us(nodes: Sequence[NodeTime], step_us: float | None) -> float:
    """Return what tracing costs each call at least: what all take too long, at most what the shortest takes."""
    calls = sum(node.calls for node in nodes)
    if step_us is None or not calls:
        return 0.0
    excess = (sum(node.us for node in nodes) - step_us) / calls
    return max(0.0, min(excess, *(node.us / node.calls for node in nodes)))


def copies(nodes: Iterable[NodeTime]) -> tuple[NodeTime, ...]:
    """Return the nodes that ONNX Runtime put in to move or convert tensors."""
    return tuple(node for node in nodes if node.copy)


def _place(node: NodeTime, place: Callable[[NodeTime], str] | None) -> str:
    if node.copy:
        what = "copy between providers" if node.operator in _COPIES else "inserted cast"
    else:
        what = node.node if place is None else place(node)
    return f"{node.stage}: {what}" if node.stage else what


def _read_stage(trace: Trace, stage: StageTrace) -> TracedStep:
    """Return the part of one graph, which counts less if it runs less often, and nothing if once, at the beginning."""
    runs = _runs(stage)
    counted = runs[-(-len(runs) * trace.warmup // (trace.warmup + trace.steps)) :]
    taken: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for _, nodes in counted:
        for event in nodes:
            detail = event["args"]
            name = event["name"].removesuffix(_SUFFIX)
            taken[name, detail["op_name"], short_name(detail["provider"])].append(event["dur"])
    times = [
        NodeTime(stage.stage, name, operator, provider, calls, calls * _typical(durations))
        for (name, operator, provider), durations in taken.items()
        for calls in [len(durations) / trace.steps]
    ]
    whole = [us for us, _ in counted]
    return TracedStep(_typical(whole) * len(whole) / trace.steps if whole else 0.0, tuple(times))


def _runs(stage: StageTrace) -> list[tuple[float, list[dict[str, Any]]]]:
    """Return the duration of each run of a graph, and the events of the nodes in it, which precede its own."""
    try:
        events = json.loads(stage.file.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineError(f"the trace that ONNX Runtime wrote could not be read: {error}") from error
    runs: list[tuple[float, list[dict[str, Any]]]] = []
    nodes: list[dict[str, Any]] = []
    for event in events:
        if event["name"] == RUN_EVENT:
            runs.append((event["dur"], nodes))
            nodes = []
        elif event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            nodes.append(event)
    return runs


def _typical(durations: Sequence[float]) -> float:
    """Return the mean of the fastest, one at least."""
    kept = max(1, int(KEPT_SHARE * len(durations)))
    return float(np.mean(np.sort(np.asarray(durations, np.float64))[:kept]))
