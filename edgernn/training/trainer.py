"""Trainer: truncated backpropagation through time, the mutable one."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from edgernn.tasks.share import Share
from edgernn.tasks.task import Data, Evaluation
from edgernn.training.checkpoint import Chances, Position, read_checkpoint, restore_checkpoint, save_checkpoint
from edgernn.training.group import ALONE, Group
from edgernn.training.objective import Objective
from edgernn.training.regularization import decay_groups, penalty, weight_matrices
from edgernn.training.run import Run
from edgernn.training.schedule import learning_rate
from edgernn.training.tensors import read_tensors, write_tensors
from edgernn.training.window import Window
from edgernn_runtime.errors import InputError, TrainingError
from edgernn_runtime.files import write_bytes

CHECKPOINT_SECONDS: Final = 10.0

_METRICS: Final = {"step", "train_loss", "valid_loss", "grad_norm_min", "grad_norm_median", "grad_norm_max"}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress bar shows after each step.

    Attributes:
        step: Optimiser steps taken.
        spent: The share of the budget that is spent, 0 to 1.
        loss: The loss of the step, in nats.
        steps_per_s: Training speed since this part of the run began.
        valid_loss: The best validation loss so far, in nats; infinity before the first.
    """

    step: int
    spent: float
    loss: float
    steps_per_s: float
    valid_loss: float


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        position: How far it came.
        interrupted: Whether `stop` ended it before its budget.
    """

    position: Position
    interrupted: bool


@dataclass(frozen=True, slots=True)
class _Told:
    """What all processes know of a step: the mean loss, the clock, whether a checkpoint is due, and whether to stop."""

    loss: float
    elapsed_s: float
    due: bool
    stop: bool


class Trainer:
    """Trains the model of one run. Mutable; everything it needs to go on is in the run's checkpoint.

    AdamW (Loshchilov and Hutter 2019) with clipping of the gradient's norm (Pascanu et al. 2013). What a step
    carries to the next, such as the state of long texts, is the task's; gradients are cut between steps
    (Williams and Peng 1990).

    The processes of a group each train on their rows of every batch, and take the mean of their gradients (Li et al.
    2020). All of them hold the same weights and position; the first validates, and has the run folder.
    """

    def __init__(self, run: Run, data: Data, *, resume: bool, group: Group = ALONE) -> None:
        """Prepare a run, from its checkpoint or from the seed.

        Args:
            run: The run; only the first process needs its folder.
            data: What its task has read; it is told which rows are this process's.
            resume: Whether to go on from the checkpoint.
            group: The processes that train together.

        Raises:
            RunError: If the checkpoint or the best weights so far are damaged.
            InputError: If the budget is smaller than what is spent already, or batches cannot be divided among
                the processes.
            TrainingError: If another process is lost.
        """
        config = run.settings
        self.run = run
        self.config = config
        self.data = data
        self.group = group
        self._check_rows()
        torch.manual_seed(config.seed)
        self.model = run.task.model(config, run.facts)
        self.weights = weight_matrices(self.model)
        groups = decay_groups(self.model, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=run.task.betas)
        self.position, self.window = Position(), Window()
        self._saved = 0.0  # when the last checkpoint was written, in monotonic seconds
        self.state: tuple[Tensor, ...] = run.task.begin(self.model, config)
        self.share = data.share = group.share()
        chances = Chances(torch.get_rng_state())
        if resume:
            chances = self._restore() or chances
        self._take(chances)
        self.state = tuple(self._own_rows(tensor) for tensor in self.state)
        objective = Objective(run.task, self.model, data)
        self.objective = group.parallel(objective, idle_weights=run.task.idle_weights)

    def _restore(self) -> Chances | None:
        """Go on from the checkpoint, if there is one, and return the random states in it."""
        run, config = self.run, self.config
        found = read_checkpoint(run.checkpoint_file) if self.group.first and run.checkpoint_file.exists() else None
        found = self.group.from_first(found)
        if found is None:
            return None
        self.position, self.state, chances, self.window = restore_checkpoint(
            found,
            model=self.model,
            optimizer=self.optimizer,
            like=self.state,
            idle_weights=run.task.idle_weights,
        )
        if config.max_steps is not None and self.position.step > config.max_steps:
            raise InputError(f"the run has taken {self.position.step} steps already, more than {config.max_steps}")
        if self.position.best_step and self.group.first:
            read_tensors(run.model_file)
        if self.position.finished:  # one that stopped early may try again
            self.position = replace(self.position, since_best=0)
        self.position = replace(self.position, finished=self._is_finished())
        return chances

    def _take(self, chances: Chances) -> None:
        """Go on drawing where a checkpoint stopped; what several processes draw for themselves differs in each."""
        rank, size = self.group.rank, self.group.size
        if self.share.chance is None:
            torch.set_rng_state(chances.shared)
            return
        self.share.chance.set_state(chances.shared)
        if len(chances.own) == size:
            torch.set_rng_state(chances.own[rank])
        else:
            torch.manual_seed(int(np.random.default_rng([self.config.seed, self.position.step, rank]).integers(2**63)))

    def _check_rows(self) -> None:
        """Check that every batch can be divided among the processes."""
        if self.group.size == 1:
            return
        if self.data.rows is None:
            raise InputError(
                f"the task {self.run.task.name} does not divide its batches among processes (its data name no rows); "
                "train it in one process, without torchrun"
            )
        Share(ranks=self.group.size).rows(self.data.rows)

    def _own_rows(self, carried: Tensor) -> Tensor:
        """Return this process's rows of a tensor that is carried from step to step."""
        if self.group.size > 1 and len(carried) != self.data.rows:
            raise InputError(
                f"what the task {self.run.task.name} carries must have {self.data.rows} rows to be divided among "
                f"processes, got {list(carried.shape)}; train it in one process, without torchrun"
            )
        return self.share.of(carried, 0) if self.group.size > 1 else carried

    def train(self, *, stop: Callable[[], bool], report: Callable[[Progress], None]) -> TrainingResult:
        """Train until the budget is spent, no progress is made, or `stop` says so.

        Args:
            stop: Asked after each step; true in one process ends this part of the run at a checkpoint in all.
            report: Called after each step.

        Raises:
            TrainingError: If a loss or gradient is NaN or infinite, or another process is lost; the last checkpoint
                is kept.
            OutputError: If the run folder cannot be written; the last checkpoint is kept.
        """
        started, before, first = time.monotonic(), self.position.elapsed_s, self.position.step
        self._saved = started
        self.model.train()
        if self.group.first:
            self._forget_later_metrics()
        if first == 0:
            self._save()
        while not self.position.finished:
            spent = self._spent()
            loss, norm = self._step(learning_rate(self.config.learning_rate, spent, self.config.warmup))
            now = time.monotonic()
            told = self._agree(loss, before + now - started, due=now - self._saved > CHECKPOINT_SECONDS, stop=stop())
            if not (math.isfinite(told.loss) and math.isfinite(norm)):
                raise self._diverged(f"loss {told.loss}, gradient norm {norm}")
            self.window.add(told.loss, norm)
            self.position = replace(self.position, step=self.position.step + 1, elapsed_s=told.elapsed_s)
            validates = self._spent() >= 1 or self.position.step % self.config.valid_every == 0
            better = validates and self._validate()
            self.position = replace(self.position, finished=self._is_finished())
            interrupted = told.stop and not self.position.finished
            if self.position.finished or interrupted or better or told.due:
                self._save()
                self._saved = now
            speed = (self.position.step - first) / (now - started)
            report(Progress(self.position.step, self._spent(), told.loss, speed, self.position.best_loss))
            if interrupted:
                return TrainingResult(self.position, interrupted=True)
        return TrainingResult(self.position, interrupted=False)

    def _agree(self, loss: float, elapsed_s: float, *, due: bool, stop: bool) -> "_Told":
        """Return the mean loss of a step, the first process's clock, and whether any process is asked to stop."""
        group = self.group
        mine = (elapsed_s, float(due)) if group.first else (0.0, 0.0)
        total, elapsed_s, dues, stops = group.total(loss, *mine, float(stop))
        return _Told(total / group.size, elapsed_s, due=dues > 0, stop=stops > 0)

    def _spent(self) -> float:
        """Return the share of the budget that is spent."""
        steps, seconds = self.config.max_steps, self.config.max_seconds
        return min(
            1.0,
            max(
                self.position.step / steps if steps else 0.0,
                self.position.elapsed_s / seconds if seconds else 0.0,
            ),
        )

    def _is_finished(self) -> bool:
        """Return whether the budget is spent, or training should stop early."""
        patience = self.config.patience
        return self._spent() >= 1 or (patience > 0 and self.position.since_best >= patience)

    def _step(self, rate: float) -> tuple[float, float]:
        """Train one step and return this process's loss, in nats, and the norm of the gradient of all."""
        with self.group.reaching():
            loss, state = self.objective(step=self.position.step, state=self.state, spent=self._spent())
            self.optimizer.zero_grad()
            torch.autograd.backward(loss + penalty(self.weights, l1=self.config.l1, l2=self.config.l2))
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.state = state
        return float(loss.detach()), norm

    def _diverged(self, found: str) -> TrainingError:
        return TrainingError(
            f"training diverged at step {self.position.step}: {found}; {self.run.checkpoint_file} keeps the last good "
            "checkpoint; train anew in another folder, with a lower --learning-rate, or lower --l1 and --l2"
        )

    def _validate(self) -> bool:
        """Measure the model on what is held out; keep its weights if it is the best so far, and return whether."""
        found = self.group.from_first(self._evaluation() if self.group.first else Evaluation(math.nan))
        if not math.isfinite(found.loss):
            raise self._diverged(f"validation loss {found.loss}")
        summary = self.window.summary(self.config.clip_norm)
        better = found.loss < self.position.best_loss
        self.position = replace(
            self.position,
            best_loss=found.loss if better else self.position.best_loss,
            best_metrics=dict(found.metrics) if better else self.position.best_metrics,
            best_step=self.position.step if better else self.position.best_step,
            since_best=0 if better else self.position.since_best + 1,
            train_loss=summary["train_loss"],
        )
        if self.group.first:
            self._keep(found, summary, better=better)
        self.window = Window()
        return better

    def _evaluation(self) -> Evaluation:
        self.model.eval()
        with torch.inference_mode():
            found = self.run.task.evaluate(self.model, self.data)
        self.model.train()
        return found

    def _keep(self, found: Evaluation, summary: dict[str, float], *, better: bool) -> None:
        """Write what a validation has found, and the weights if they are the best so far."""
        if better:
            write_tensors(self.run.model_file, self.model.state_dict())
        record = {
            "step": self.position.step,
            "elapsed_s": round(self.position.elapsed_s, 3),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **summary,
            "valid_loss": found.loss,
            **found.metrics,
        }
        with self.run.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _save(self) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise self._diverged("weights are not finite")
        parts = self.group.gathered((self.state, torch.get_rng_state()))
        if not self.group.first:
            return
        states, own = zip(*parts, strict=True)
        shared = None if self.share.chance is None else self.share.chance.get_state()
        save_checkpoint(
            self.run.checkpoint_file,
            position=self.position,
            model=self.model,
            optimizer=self.optimizer,
            state=tuple(torch.cat(rows) for rows in zip(*states, strict=True)) if len(parts) > 1 else self.state,
            chances=Chances(own[0]) if shared is None else Chances(shared, own),
            window=self.window,
        )

    def _forget_later_metrics(self) -> None:
        """Drop the metrics of validations after the checkpoint; they will be made again."""
        kept = [record for record in read_metrics(self.run) if record["step"] <= self.position.step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_bytes(self.run.metrics_file, text.encode("utf-8"), overwrite=True)


def read_metrics(run: Run) -> list[dict[str, float]]:
    """Return the records of a run's `metrics.jsonl`; a line that is damaged, as by a kill, is passed over."""
    if not run.metrics_file.exists():
        return []
    records = []
    for line in run.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.keys() >= _METRICS:
            records.append(record)
    return records
