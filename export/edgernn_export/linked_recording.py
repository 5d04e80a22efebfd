"""What the stages of a bundle pass on from streams of their own, recorded: an encoder's output beside what follows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgernn_export.recording import Recording
from edgernn_runtime.bundle_spec import BundleSpec
from edgernn_runtime.engine import Array, Engine
from edgernn_runtime.errors import InputError


def linked_recording(
    recording: Recording, bundle: BundleSpec, engines: Mapping[str, Engine], own: Mapping[str, Recording]
) -> Recording:
    """Return a recording of the stages that step along with the inputs that it lacks, those that links give.

    Such an input holds along a sequence what the stage before it computed last of its own sequence of the same
    number.

    Args:
        recording: What the stages that step along are fed.
        bundle: When the stages step, and what passes between them.
        engines: The engine of each stage.
        own: What stages with streams of their own are fed, as many sequences each.

    Raises:
        InputError: If a stage has fewer sequences than are needed, or a recording does not fit its model.
    """
    along = {name: engines[name].spec for name in bundle.along}
    links = [
        link
        for link in bundle.links
        if link.source in own
        and link.target in along
        and link.input not in recording.inputs
        and link.input in {tensor.name for tensor in along[link.target].inputs}
    ]
    number = np.maximum(np.cumsum(recording.starts) - 1, 0)
    inputs = dict(recording.inputs)
    for source in dict.fromkeys(link.source for link in links):
        given = [link for link in links if link.source == source]
        outputs = list(dict.fromkeys(link.output for link in given))
        ends = _ends(engines[source], own[source], outputs, count=int(number[-1]) + 1)
        inputs |= {link.input: ends[link.output][number] for link in given}
    return replace(recording, inputs=inputs)


def _ends(engine: Engine, recording: Recording, outputs: list[str], *, count: int) -> dict[str, Array]:
    """Return outputs at the last step of each of the first `count` sequences, `[count, ...]` by name."""
    recording.check(engine.spec)
    starts = np.flatnonzero(recording.starts)
    if len(starts) < count:
        raise InputError(f"{count} sequences of an encoder are needed, and its recording has {len(starts)}")
    executor = engine.executor(1)
    stops = [*starts[1:], len(recording)]
    found: dict[str, list[Array]] = {name: [] for name in outputs}
    for start, stop in list(zip(starts, stops, strict=True))[:count]:
        executor.reset_row(0)
        for step in range(start, stop):
            recording.feed(executor, step)
            executor.run()
        for name, values in found.items():
            values.append(np.array(executor.outputs[name][0]))
    return {name: np.stack(values) for name, values in found.items()}
