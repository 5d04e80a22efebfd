"""Trial: one choice of settings, timed as it will be exported, and trained in a run folder of its own."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from optuna import Trial, TrialPruned

from edgernn.search.halting import Halting
from edgernn.search.latency import Speed, StepClock, untrained
from edgernn.search.notes import begun_before, peers_of, read_notes
from edgernn.search.plan import Plan
from edgernn.search.space import in_words
from edgernn.tasks.settings import Settings
from edgernn.tasks.task import Data
from edgernn.training import Progress, Run, Trainer
from edgernn.training.run import RUN_FILE
from edgernn_runtime.errors import (
    DataError,
    EngineError,
    ExportError,
    InputError,
    OutputError,
    QuantizationError,
    TrainingError,
)

ROOM: Final = 1.1
"""A model that takes so many times the longest that a step may take is not trained."""


class TrialFailedError(Exception):
    """A trial came to no result; the search goes on."""


class TrialInterruptedError(Exception):
    """The search is to end while a trial runs."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on.

    Attributes:
        stop: Asked after each step of training; true ends the search.
        say: Called with a sentence on what happens.
        progress: Called after each step of training.
    """

    stop: Callable[[], bool]
    say: Callable[[str], None]
    progress: Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Trials:
    """Carries out the trials of a worker.

    Attributes:
        plan: What the search is told.
        folder: The folder of the worker; runs lie in `trials` in it.
        clock: Times steps on this machine.
        watch: Who looks on.
    """

    plan: Plan
    folder: Path
    clock: StepClock
    watch: Watch

    def __call__(self, trial: Trial) -> tuple[float, float]:
        """Return the validation loss of a trial, in nats, and what a step takes, in microseconds.

        Raises:
            TrialPruned: If it is too slow to be trained, or fell behind.
            TrialFailedError: If its settings make no model, or none that trains and is exported.
            TrialInterruptedError: If the search is to end.
            OutputError: If the folder cannot be written.
        """
        with _told(trial):
            default = bool(trial.user_attrs.get("default", False))
            values = self.plan.space.suggest(trial, self.plan.settings, default=default)
            trial.set_user_attr("values", values)
            settings = self.plan.with_values(values)
            data = self.plan.task.read(settings)
            speed = self.clock.measure(untrained(self.plan.task, settings, data.facts))
            step_us = self._note(trial, speed)
            which = f"trial {trial.number}{' (the default)' * default}"
            self.watch.say(f"{which}: {in_words(values)}; {step_us:.1f} us a step")
            limit = self.plan.max_step_us
            if limit is not None and step_us > limit * ROOM and not default:
                _end(trial, "too slow", f"a step takes {step_us:.1f} us, and {limit:g} us are allowed")
            if self.watch.stop():
                raise TrialInterruptedError
            return self._train(trial, settings, data, keep=default or not self.plan.early), step_us

    def _note(self, trial: Trial, speed: Speed) -> float:
        """Note what was measured; return the time of a step, in microseconds, scaled by the default's."""
        step_us = speed.ratio * self.plan.reference_us
        trial.set_user_attr("step_us", step_us)
        trial.set_user_attr("p50_us", speed.p50_us)
        trial.set_user_attr("bytes", speed.bytes)
        if self.plan.max_step_us is not None:
            trial.set_constraint("step_us", step_us - self.plan.max_step_us)
        return step_us

    def _train(self, trial: Trial, settings: Settings, data: Data, *, keep: bool) -> float:
        """Train a trial's run and return its validation loss; `keep` trains it to its end whatever its loss."""
        run = Run(self._folder(trial), self.plan.task, settings, data.facts, data.sha256)
        begun = (run.folder / RUN_FILE).exists()  # perhaps without a checkpoint, where its worker ended at once
        trainer = Trainer(run, data, resume=begun)
        if begun:
            run.save()
            run.write_recordings(data)
        else:
            run.create(data)
        trial.set_user_attr("folder", str(run.folder.absolute()))
        trial.set_user_attr("host", platform.node())
        step_us = float(trial.user_attrs["step_us"])
        halting = Halting(
            trial.user_attrs.get("losses", {}),
            lambda: peers_of(read_notes(trial.study), trial.number, step_us),
            lambda losses: trial.set_user_attr("losses", dict(losses)),
        )

        def report(progress: Progress) -> None:
            halting.see(progress)
            self.watch.progress(progress)

        def stop() -> bool:
            return self.watch.stop() or (bool(halting.reason) and not keep)

        result = trainer.train(stop=stop, report=report)
        if result.interrupted and halting.reason and not keep:
            _end(trial, "stopped", halting.reason)
        if result.interrupted:
            raise TrialInterruptedError
        return result.position.best_loss

    def _folder(self, trial: Trial) -> Path:
        """Return the folder of a trial's run; one that goes on with another's takes over its folder, if it is here."""
        own = run_folder(self.folder, trial.number)
        this = trial.study.get_trials(deepcopy=False)[trial.number]
        for number in reversed(begun_before(this)):
            left = run_folder(self.folder, number)
            if left.is_dir() and not own.exists():
                try:
                    left.rename(own)
                except OSError as error:
                    raise OutputError(f"{left} could not be moved: {error.strerror or error}") from error
                self.watch.say(f"trial {trial.number} goes on with trial {number}")
        return own


def run_folder(folder: Path, number: int) -> Path:
    """Return the run folder of a trial.

    >>> run_folder(Path("search"), 7).as_posix()
    'search/trials/0007'
    """
    return folder / "trials" / f"{number:04d}"


@contextmanager
def _told(trial: Trial) -> Iterator[None]:
    """Note why a trial came to no result."""
    try:
        yield
    except (DataError, EngineError, ExportError, InputError, QuantizationError, TrainingError) as error:
        reason = str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        reason = "out of memory"
    else:
        return
    trial.set_user_attr("ending", "failed")
    trial.set_user_attr("reason", reason)
    raise TrialFailedError(reason)


def _end(trial: Trial, ending: str, reason: str) -> None:
    trial.set_user_attr("ending", ending)
    trial.set_user_attr("reason", reason)
    raise TrialPruned(reason)
