"""tract: a spawned state, its outputs fed back as the tensors that they are."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from edgernn.bench.case import LAYERS, Case, Logits, Material, Precision, Tokens
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.step_model import fixed_file
from edgernn.bench.peers.stock_export import stock_export


class TractPeer(Peer):
    """The faster of the stock export and the graph that edgernn exports."""

    name: ClassVar[str] = "tract"
    packages: ClassVar[tuple[str, ...]] = ("tract",)

    def missing(self, case: Case, precision: Precision) -> str | None:
        return super().missing(case, precision) or ("it computes on one thread" if case.threads > 1 else None)

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, it has one
        plain, stock = fixed_file(material), stock_export(material)
        batch, hidden = material.case.batch, material.case.hidden
        return fastest(
            [
                lambda: _step(plain, tokens=(batch,), state=(batch, hidden)),
                lambda: _step(stock, tokens=(1, batch), state=(LAYERS, batch, hidden)),
            ],
            batch,
        )


def _step(path: Path, *, tokens: tuple[int, ...], state: tuple[int, ...]) -> Step:
    """Return the step of an ONNX file that takes tokens and states of these shapes."""
    import tract

    runnable = tract.onnx().load(str(path)).into_model().into_runnable()
    run = runnable.spawn_state().run
    zeros = np.zeros(state, np.float32)
    states = [tract.Tensor.from_numpy(zeros) for _ in range(runnable.input_count() - 1)]

    def step(given: Tokens) -> Logits:
        logits, *states[:] = run([given.reshape(tokens), *states])
        found: Logits = logits.to_numpy().reshape(len(given), -1)
        return found

    return step
