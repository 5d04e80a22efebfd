"""Diagnosis: which operator of the original is the first that a step computes differently."""

from typing import Final

import torch
from torch import Tensor, fx

from edgernn_export.lifting.nodes import operator_name
from edgernn_export.lifting.refusal import place
from edgernn_export.lifting.values import Kind, Value
from edgernn_export.lifting.walk import Walk

_TOLERANCE: Final = 1e-3


def suspect(walk: Walk, step: fx.GraphModule, inputs: list[list[Tensor]], states: list[Tensor]) -> str | None:
    """Return the place and name of the first operator whose streams differ from the original's; None if none does.

    Args:
        walk: The walk that wrote the step.
        step: The step, as it was written.
        inputs: What each step takes, for the example of the walk.
        states: The initial states.
    """
    streams = {
        node: known
        for node, known in walk.everything().items()
        if isinstance(known, Value) and known.kind is Kind.STREAM and not known.where.folded
    }
    wrong: set[fx.Node] = set()
    for number, arrays in enumerate(inputs):
        recorder = _Recorder(step)
        result = recorder.run(*arrays, *states)
        states = list(result[len(result) - len(states) :])
        for node, value in streams.items():
            made, wanted = recorder.seen.get(value.node.name), _part(value, number)
            if made is not None and wanted is not None and not _close(made, wanted):
                wrong.add(node)
    first = next((node for node in streams if node in wrong), None)
    return None if first is None else f"{operator_name(first)} in {place(first)}"


def _close(made: Tensor, wanted: Tensor) -> bool:
    return made.shape == wanted.shape and torch.allclose(
        made.double(), wanted.double(), atol=_TOLERANCE, rtol=_TOLERANCE, equal_nan=True
    )


def _part(value: Value, number: int) -> Tensor | None:
    """Return what the original has where step `number` computes its part; None before and behind its ends."""
    start = number * value.count + value.shift
    if start < 0 or start + value.count > value.length:
        return None
    return value.sample.narrow(value.where.axis, start, value.count)


class _Recorder(fx.Interpreter):
    """Runs a step, and keeps what every node computes. Mutable: one run each."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        """Run a node and keep its tensor."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.seen[n.name] = result
        return result
