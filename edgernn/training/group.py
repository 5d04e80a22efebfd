"""Group: the processes that train one run together, which torchrun starts; one alone is a group of its own."""

import atexit
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from edgernn.tasks.share import Share
from edgernn_runtime.errors import TrainingError, last_line

STEP_SECONDS: Final = 300.0
"""How long a process waits for another in a training step before it takes it for lost."""

_PATIENCE: Final = timedelta(days=7)
_FAILED: Final = "failed"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Processes that train one run together, each on its share of every batch. The first one owns the run folder.

    Every method but `tells` and `reaching` is called by all processes, in the same order.

    Attributes:
        rank: This process, from 0.
        size: The processes.
        again: The command that goes on with the run.
    """

    rank: int = 0
    size: int = 1
    again: str = ""
    _store: PrefixStore | None = field(default=None, repr=False)
    _patient: distributed.ProcessGroup | None = field(default=None, repr=False)

    @classmethod
    def from_torchrun(cls, again: str) -> "Group":
        """Return the group that torchrun has started this process in, connected by gloo; one alone without torchrun.

        Args:
            again: The command that goes on with the run, for the error when a process is lost.

        Raises:
            TrainingError: If the others do not appear.
        """
        if not distributed.is_available() or not distributed.is_torchelastic_launched():
            return ALONE
        if int(os.environ["WORLD_SIZE"]) == 1:
            return ALONE
        limit = timedelta(seconds=STEP_SECONDS)
        with _reaching(again):
            store, rank, size = next(iter(rendezvous("env://", timeout=limit)))
            distributed.init_process_group(
                "gloo", store=PrefixStore("gloo", store), rank=rank, world_size=size, timeout=limit
            )
            atexit.register(_leave)
            patient = distributed.new_group(timeout=_PATIENCE)
        return cls(rank, size, again, PrefixStore("edgernn", store), patient)

    @property
    def first(self) -> bool:
        """Whether this process validates, writes and prints."""
        return self.rank == 0

    def share(self) -> Share:
        """Return what this process trains on; all draw from a copy of torch's random state."""
        if self.size == 1:
            return Share()
        chance = torch.Generator()
        chance.set_state(torch.get_rng_state())
        return Share(self.rank, self.size, chance, _averaged)

    def parallel(self, module: nn.Module, *, idle_weights: bool) -> nn.Module:
        """Return a module whose gradients are the means over the processes; its weights become those of the first.

        Args:
            module: Returns a loss.
            idle_weights: Whether a step may leave weights without a gradient.
        """
        if self.size == 1:
            return module
        with self.reaching():
            return nn.parallel.DistributedDataParallel(module, find_unused_parameters=idle_weights)

    def total(self, *values: float) -> tuple[float, ...]:
        """Return the sum of each value over the processes, the same in all of them."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64)
        with self.reaching():
            distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def from_first(self, value: T) -> T:
        """Return the value that the first process has, however long it takes to come."""
        if self.size == 1:
            return value
        values: list[Any] = [value]
        with self.reaching():
            distributed.broadcast_object_list(values, src=0, group=self._patient)
        found: T = values[0]
        return found

    def gathered(self, value: T) -> list[T]:
        """Return the value of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self.reaching():
            distributed.all_gather_object(values, value, group=self._patient)
        return values

    def reaching(self) -> contextlib.AbstractContextManager[None]:
        """Turn the loss of another process in what is done with gradients into a TrainingError that says so."""
        return _reaching(self.again)

    def tells(self) -> bool:
        """Return whether this process should say what ended it: it is the first that asks."""
        if self._store is None:
            return True
        with contextlib.suppress(RuntimeError):
            return int(self._store.add(_FAILED, 1)) == 1
        return True


ALONE: Final = Group()
"""One process."""


@contextlib.contextmanager
def _reaching(again: str) -> Iterator[None]:
    """Turn the errors of a process that cannot reach the others into a TrainingError that says how to go on."""
    try:
        yield
    except RuntimeError as error:
        if "find_unused_parameters" in str(error):
            raise TrainingError(
                "a step left weights without a gradient, which several processes must know: let the task say "
                "idle_weights = True, or train it in one process, without torchrun"
            ) from error
        lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if isinstance(error, TrainingError) or not lost:
            raise
        reason = last_line(error).partition(". This is typically")[0].rpartition("] ")[2]
        raise TrainingError(
            f"another process of the group has ended or cannot be reached ({reason}); the last checkpoint, if there is "
            f"one, is whole; go on with: {again}"
        ) from error


class _Average(torch.autograd.Function):
    """The mean over the processes, whose gradient is passed on as it is."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:  # noqa: ANN401, torch's own
        """Return the mean."""
        mean = value.clone()
        distributed.all_reduce(mean)
        return mean.div_(distributed.get_world_size())

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401, torch's own
        """Return the gradient as it is."""
        return gradient


def _averaged(value: Tensor) -> Tensor:
    mean: Tensor = _Average.apply(value)  # type: ignore[no-untyped-call]
    return mean


def _leave() -> None:
    with contextlib.suppress(RuntimeError, AssertionError, ValueError):
        distributed.destroy_process_group()
