"""Checkpoints: everything that a training run needs to go on, in one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.training.tensors import read_metadata, read_tensors, write_tensors
from edgernn.training.window import Window
from edgernn_runtime.errors import RunError, last_line

_KEY: Final = "progress"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come.

    Attributes:
        step: Optimiser steps taken.
        elapsed_s: Seconds of training so far, over all its parts.
        best_loss: The best validation loss, in nats; infinity before the first validation.
        best_metrics: The further figures at that validation.
        best_step: The step of that validation.
        train_loss: The mean training loss before the last validation; NaN before the first.
        since_best: Validations since the best one.
        finished: Whether the budget is spent, or training stopped early.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best_loss: float = float("inf")
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    best_step: int = 0
    train_loss: float = float("nan")
    since_best: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Chances:
    """The states of torch's random generators.

    Attributes:
        shared: Of what is drawn for whole batches, and of all else where one process trains alone.
        own: Of what each of several processes draws for itself, by rank.
    """

    shared: Tensor
    own: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds: tensors by name, and the position as JSON."""

    path: Path
    tensors: dict[str, Tensor]
    position: str


def save_checkpoint(
    path: Path,
    *,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: tuple[Tensor, ...],
    chances: Chances,
    window: Window,
) -> None:
    """Write weights, moments, carried state, random states and position, whole or not at all.

    Raises:
        OutputError: If the file cannot be written.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors |= {f"state.{i}": tensor for i, tensor in enumerate(state)}
    tensors["random"] = chances.shared
    tensors |= {f"random.{rank}": chance for rank, chance in enumerate(chances.own)}
    tensors["window.losses"] = torch.tensor(window.losses, dtype=torch.float64)
    tensors["window.norms"] = torch.tensor(window.norms, dtype=torch.float64)
    write_tensors(path, tensors, {_KEY: json.dumps(asdict(position))})


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what a checkpoint file holds.

    Raises:
        RunError: If it is missing or damaged.
    """
    tensors, metadata = read_tensors(path), read_metadata(path)
    if _KEY not in metadata:
        raise _unfit(path, f"it has no {_KEY}")
    return Checkpoint(path, tensors, metadata[_KEY])


def restore_checkpoint(
    checkpoint: Checkpoint,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    like: tuple[Tensor, ...],
    idle_weights: bool = False,
) -> tuple[Position, tuple[Tensor, ...], Chances, Window]:
    """Put a checkpoint into `model` and `optimizer`; return the rest of it.

    Args:
        checkpoint: The checkpoint.
        model: Takes the weights.
        optimizer: Takes the moments.
        like: States of the shapes that the checkpoint's must have.
        idle_weights: Whether a weight may have had no gradient so far.

    Raises:
        RunError: If it is damaged, or of another model.
    """
    tensors = checkpoint.tensors
    try:
        position = Position(**json.loads(checkpoint.position))
        _require(type(position.step) is int and position.step >= 0, f"its step is {position.step!r}")
        _require(type(position.best_loss) is float, f"its best loss is {position.best_loss!r}")
        _require(isinstance(position.best_metrics, dict), f"its best metrics are {position.best_metrics!r}")
        model.load_state_dict(_part(tensors, "model."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
        parameters = len(list(model.parameters()))
        missing = position.step and (not moments if idle_weights else len(moments) < parameters)
        _require(not missing and moments.keys() <= set(range(parameters)), "moments are missing")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        own = _part(tensors, "random.")
        chances = Chances(tensors["random"], tuple(own[str(rank)] for rank in range(len(own))))
        for each in (chances.shared, *chances.own):
            torch.Generator().set_state(each)
        window = Window(list(map(float, tensors["window.losses"])), list(map(float, tensors["window.norms"])))
        states = _part(tensors, "state.")
        state = tuple(states[str(i)] for i in range(len(states)))
        _require([each.shape for each in state] == [each.shape for each in like], "its states have other shapes")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _unfit(checkpoint.path, last_line(error)) from error
    return position, state, chances, window


def _unfit(path: Path, reason: str) -> RunError:
    return RunError(f"{path} is damaged or of another model: {reason}; train anew in another folder")


def _require(condition: bool, message: str) -> None:  # noqa: FBT001, it is the one thing asked
    if not condition:
        raise ValueError(message)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
