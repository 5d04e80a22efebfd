"""Verify: how far two engines are apart along a long stream.

Teacher-forced, both are fed the same inputs, so that differences come from arithmetic alone. Free-running,
each is fed its own tokens, with shared noise, so that a difference can change the stream.
"""

import math

from edgernn_export.drift.free_running import free_running
from edgernn_export.drift.report import VerifyReport
from edgernn_export.drift.teacher_forced import FLOAT_TOLERANCE, teacher_forced
from edgernn_export.recording import Recording
from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import InputError
from edgernn_runtime.sampling import GREEDY, Sampler
from edgernn_runtime.spec import Spec


def verify(
    source: Engine, candidate: Engine, recording: Recording, *, tolerance: float | None, seed: int = 0
) -> VerifyReport:
    """Compare two engines of one interface along one stream.

    Args:
        source: What should be computed.
        candidate: What is compared with it.
        recording: What both are fed, as one stream whatever starts in between; free running takes as many steps,
            from the source's start, and the inputs beside the main one from here.
        tolerance: The largest absolute difference allowed in any output, teacher-forced.
        seed: The seed of the shared noise; the yardstick of sampled streams takes the next one.

    Raises:
        InputError: If the models have different inputs, outputs or states, or the recording does not fit them.
    """
    _check_interfaces(source.spec.unsampled, candidate.spec.unsampled)
    recording.check(source.spec)
    limit = FLOAT_TOLERANCE if tolerance is None else tolerance
    forced = teacher_forced(source, candidate, recording, tolerance=limit)
    greedy = sampled = None
    if source.spec.feedback is not None and math.isfinite(forced.max_abs):
        greedy = free_running(source, candidate, recording, sampler=GREEDY, seed=seed, tolerance=limit)
        sampled = free_running(source, candidate, recording, sampler=Sampler(), seed=seed, tolerance=limit)
    return VerifyReport(len(recording), forced, greedy, sampled, tolerance)


def _check_interfaces(source: Spec, candidate: Spec) -> None:
    for part in ("inputs", "outputs", "states", "distribution", "feedback", "codec"):
        if getattr(source, part) != getattr(candidate, part):
            raise InputError(f"the models differ in their {part}, so they cannot be compared; see edgernn inspect")
