"""Running: every peer of a case is opened, checked, and timed in turns with the others."""

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import torch

from edgernn.bench.case import LAYERS, VOCABULARY, Case, Material, Precision, Tokens, make_model
from edgernn.bench.checking import BOUNDS, Reference
from edgernn.bench.peer import Peer, Step
from edgernn.bench.record import Row
from edgernn.bench.silence import quiet
from edgernn_runtime.errors import first_line
from edgernn_runtime.profiling import WARMUP_STEPS, Latency, interleave

LEAST_STEPS: Final = 50
MOST_STEPS: Final = 5000

_TRIAL_STEPS: Final = 9

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One peer in one precision, and what came of it.

    Attributes:
        peer: The peer.
        precision: The precision.
        step: Its step, checked; None if it is missing or failed.
        error: Its largest error; None if no step was taken.
        missing: Why it could not be measured here.
        failed: Why it was not.
    """

    peer: Peer
    precision: Precision
    step: Step | None = None
    error: float | None = None
    missing: str | None = None
    failed: str | None = None


def run(
    cases: Sequence[Case],
    peers: Sequence[Peer],
    precisions: Sequence[Precision],
    *,
    seconds_per_case: float,
    progress: Progress = lambda _: None,
) -> Iterator[Row]:
    """Yield what is measured of each case in each precision.

    Args:
        cases: The cases, those of one model in a row.
        peers: Who takes part.
        precisions: Which of their precisions.
        seconds_per_case: About how long all peers of a case are timed together; each takes 50 steps at least.
        progress: Told what is being done.
    """
    for (cell, hidden), group in groupby(cases, key=lambda case: (case.cell, case.hidden)):
        model = make_model(cell, hidden)
        with tempfile.TemporaryDirectory() as folder:
            for case in group:
                material = Material(case, model, Path(folder))
                yield from _run_case(material, peers, precisions, seconds_per_case, progress)


def _run_case(
    material: Material, peers: Sequence[Peer], precisions: Sequence[Precision], seconds: float, progress: Progress
) -> list[Row]:
    case = material.case
    torch.set_num_threads(case.threads)
    reference = Reference.of(material.model, case)
    entries: list[Entry] = []
    for precision in precisions:
        for peer in peers:
            if precision in peer.precisions:
                progress(f"{case}: opening {peer.name} {precision}")
                entries.append(_open(peer, precision, material, reference))
    steps = {(each.peer.name, each.precision): each.step for each in entries if each.step is not None}
    progress(f"{case}: timing {len(steps)} steps in turns")
    count, latencies = _time(list(steps.values()), reference.tokens, seconds)
    timed = dict(zip(steps, latencies, strict=True))
    rows = [
        _row(case, precision, [each for each in entries if each.precision == precision], timed, count)
        for precision in precisions
    ]
    with quiet():  # some say goodbye
        del entries, steps
        gc.collect()
    return rows


def _open(peer: Peer, precision: Precision, material: Material, reference: Reference) -> Entry:
    """Return a peer's step if it computes what it should, else why not."""
    missing = peer.missing(material.case, precision)
    if missing is not None:
        return Entry(peer, precision, missing=missing)
    try:
        with quiet():
            step = peer.open(material, precision)
        error = reference.error(step)
    except Exception as reason:  # noqa: BLE001, whatever another's runtime raises is a result
        return Entry(peer, precision, failed=f"{type(reason).__name__}: {first_line(reason)}")
    bound = BOUNDS[precision]
    if error > bound:
        failed = f"differs from torch by {error:.1e} of the largest logit, more than {bound:g}"
        return Entry(peer, precision, error=error, failed=failed)
    return Entry(peer, precision, step, error)


def _time(steps: Sequence[Step], tokens: Tokens, seconds: float) -> tuple[int, list[Latency]]:
    """Return how many steps each took, and their latencies, for as many steps as take about `seconds`."""
    if not steps:
        return 0, []
    calls = [_call(step, tokens) for step in steps]
    round_s = sum(_median_s(call) for call in calls)
    count = max(LEAST_STEPS, min(MOST_STEPS, int(seconds / round_s) - WARMUP_STEPS))
    return count, [Latency.of(taken) for taken in interleave(calls, count)]


def _call(step: Step, tokens: Tokens) -> Callable[[int], None]:
    """Return a function that takes a step with another row of tokens at each number."""
    rows = list(tokens)

    def call(number: int) -> None:
        step(rows[number % len(rows)])

    return call


def _median_s(call: Callable[[int], None]) -> float:
    durations = []
    for number in range(_TRIAL_STEPS):
        before = perf_counter()
        call(number)
        durations.append(perf_counter() - before)
    return median(durations)


def _row(
    case: Case,
    precision: Precision,
    entries: Sequence[Entry],
    timed: dict[tuple[str, Precision], Latency],
    steps: int,
) -> Row:
    latencies = {name: latency for (name, each), latency in timed.items() if each == precision}
    return Row(
        cell=case.cell,
        hidden=case.hidden,
        layers=LAYERS,
        vocabulary=VOCABULARY,
        batch=case.batch,
        threads=case.threads,
        precision=precision,
        steps=steps,
        bound=BOUNDS[precision],
        results={name: latency.p50 for name, latency in latencies.items()},
        p99_us={name: latency.p99 for name, latency in latencies.items()},
        checked={each.peer.name: each.error for each in entries if each.error is not None},
        missing={each.peer.name: each.missing for each in entries if each.missing is not None},
        failed={each.peer.name: each.failed for each in entries if each.failed is not None},
    )
