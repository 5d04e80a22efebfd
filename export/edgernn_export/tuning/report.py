"""The report of a tuning."""

from dataclasses import dataclass
from pathlib import Path

from edgernn_export.tuning.candidates import Candidate, Setting
from edgernn_runtime.profiling import Latency


@dataclass(frozen=True, slots=True)
class Choice:
    """What is fastest at one batch.

    Attributes:
        batch: Rows of a step.
        setting: The setting.
        latency: The latency of its step, in microseconds.
        float_latency: That of the fastest float32 setting, measured side by side with it.
    """

    batch: int
    setting: Setting
    latency: Latency
    float_latency: Latency


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What a tuning found.

    Attributes:
        path: The file, or the bundle's folder, that was written.
        budget: The largest loss that was allowed, as a share.
        choices: What is fastest at each batch; the first is that of batch 1, which was written.
        candidates: Everything that was tried, at batch 1.
    """

    path: Path
    budget: float
    choices: tuple[Choice, ...]
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Choice:
        """What was written."""
        return self.choices[0]
