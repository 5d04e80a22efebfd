"""Latency: what a step of a model takes on this machine once it is exported and its weights are int8.

It is the median over steps of one live stream, one row and one thread, as `edgernn profile` times them, in turns with
the step of the default model. What is reported is their ratio times what the default's step took when the search
began, so a machine that is busy for a while slows down both, and no trial is worse for it. A model in several graphs
is stepped as the bundle that it becomes: the stages that step along count, those with streams of their own do not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch

from edgernn.tasks.settings import Settings
from edgernn.tasks.task import AnyTask, Facts
from edgernn_export import StagedModules, StepModule, export, export_bundle
from edgernn_export.quantization.builder import Builder
from edgernn_export.quantization.formats import plan_of
from edgernn_export.quantization.source import Source
from edgernn_runtime import load
from edgernn_runtime.errors import EdgeRNNError, ExportError
from edgernn_runtime.profiling import interleave, model_bytes, stepper

_STEPS: Final = 500
_ROUNDS: Final = 5

Modules = StepModule | StagedModules


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of a model.

    Attributes:
        p50_us: The median of its steps, in microseconds.
        reference_us: The median of the default model's steps, in turns with them.
        bytes: The size of its int8 files.
    """

    p50_us: float
    reference_us: float
    bytes: int

    @property
    def ratio(self) -> float:
        """How many times slower it is than the default model."""
        return self.p50_us / self.reference_us


class StepClock:
    """Times steps beside those of the default model."""

    def __init__(self, task: AnyTask, settings: Settings, facts: Facts) -> None:
        """Make the default model.

        Raises:
            ExportError: If it cannot be exported, or does not step by itself once it is.
        """
        self._step: Callable[[int], None]
        try:
            self._step, _ = _opened(untrained(task, settings, facts))
            self._step(0)
        except EdgeRNNError as error:
            raise ExportError(f"the step of {task.name} cannot be timed: {error}") from error

    def reference_us(self) -> float:
        """Return the lowest of several medians of the default model's steps, in microseconds."""
        return min(float(np.median(interleave([self._step], _STEPS)[0])) for _ in range(_ROUNDS))

    def measure(self, modules: Modules) -> Speed:
        """Return what a step of a model takes.

        Raises:
            ExportError, QuantizationError: If it cannot be exported, or has nothing to quantize.
        """
        return self._timed(*_opened(modules))

    def measure_file(self, path: Path) -> Speed:
        """Return what a step of a model in a file, or of a bundle in a folder, takes."""
        return self._timed(stepper(load(path)), model_bytes(path))

    def _timed(self, step: Callable[[int], None], size: int) -> Speed:
        taken, reference = interleave([step, self._step], _STEPS)
        return Speed(float(np.median(taken)), float(np.median(reference)), size)


def untrained(task: AnyTask, settings: Settings, facts: Facts) -> Modules:
    """Return what a new model is on a device; a step of it takes what one of the trained model takes."""
    torch.manual_seed(settings.seed)
    return task.export(task.model(settings, facts).eval(), settings, facts)


def write_float(modules: Modules, folder: Path) -> Path:
    """Write a model in float32 to a folder, and return its file or, of several graphs, the bundle's folder."""
    if isinstance(modules, StagedModules):
        export_bundle(modules, folder / "bundle")
        return folder / "bundle"
    return export(modules, folder / "model.onnx").path


def _opened(modules: Modules) -> tuple[Callable[[int], None], int]:
    """Return what steps a model with int8 weights, rounded to the nearest value, and the size of its files."""
    with TemporaryDirectory(prefix="edgernn-search-") as folder:
        source = Source.open(write_float(modules, Path(folder)))
        target = Path(folder) / f"int8{source.path.suffix}"
        source.write(target, Builder(source, method="nearest").build(plan_of("int8", source), "int8"), overwrite=False)
        return stepper(load(target)), model_bytes(target)
