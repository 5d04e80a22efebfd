"""The report of a verification."""

import math
from dataclasses import dataclass
from typing import Final

from edgernn_export.drift.free_running import FreeRunning
from edgernn_export.drift.teacher_forced import TeacherForced

REDRAWN: Final = 1e-3
"""The share of steps at which a model that draws in its graph may draw otherwise than its source."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` measured.

    Attributes:
        steps: The number of steps of each run.
        teacher_forced: Both fed the same inputs.
        greedy: Each fed its own most probable tokens; None for a model without feedback, or if an
            output is not finite.
        sampled: Each fed its own tokens, sampled with shared noise; None likewise.
        tolerance: The largest difference allowed teacher-forced; None if none was asked for.
    """

    steps: int
    teacher_forced: TeacherForced
    greedy: FreeRunning | None
    sampled: FreeRunning | None
    tolerance: float | None

    @property
    def passed(self) -> bool:
        """Whether the teacher-forced outputs stayed within the tolerance, NaN never does.

        Those of a model that draws in its graph may leave it at one step in a thousand, where it drew otherwise.
        """
        forced = self.teacher_forced
        if self.tolerance is None or forced.max_abs <= self.tolerance:
            return True
        return forced.redrawn is not None and math.isfinite(forced.max_abs) and forced.redrawn <= REDRAWN * self.steps

    @property
    def same_distribution(self) -> bool | None:
        """Whether what is sampled is of one distribution, as `FreeRunning.same_distribution` says; None if unknown."""
        return None if self.sampled is None else self.sampled.same_distribution
