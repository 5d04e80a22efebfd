"""Share: which rows of every training batch a process trains on, where several train one run together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Draw(Protocol):
    """What draws random numbers: `torch.randn`, `torch.rand` and their like."""

    def __call__(self, size: tuple[int, ...], /, *, generator: "Generator | None") -> "Tensor":
        """Return a tensor of a size."""


@dataclass(frozen=True, slots=True)
class Share:
    """The rows of every batch that one process of several trains on: a contiguous piece, as long as everyone's.

    A process alone has all of them, and every method then gives what there would be without it.

    Attributes:
        rank: The process, from 0.
        ranks: The processes.
        chance: What numbers are drawn from for whole batches, in step in all processes; torch's own for one alone.
        average: What takes the mean of a tensor over the processes.
    """

    rank: int = 0
    ranks: int = 1
    chance: "Generator | None" = None
    average: "Callable[[Tensor], Tensor] | None" = None

    def rows(self, count: int) -> slice:
        """Return this process's rows of a batch of `count`.

        Raises:
            InputError: If they cannot be divided.
        """
        if count % self.ranks:
            raise InputError(
                f"a batch of {count} cannot be divided among {self.ranks} processes; use a --batch that is a multiple "
                f"of {self.ranks}, or another --nproc-per-node"
            )
        size = count // self.ranks
        return slice(self.rank * size, (self.rank + 1) * size)

    def of(self, whole: "Tensor", axis: int) -> "Tensor":
        """Return this process's part of a tensor of the whole batch, whose rows lie along `axis`."""
        rows = self.rows(whole.shape[axis])
        return whole if self.ranks == 1 else whole.narrow(axis, rows.start, rows.stop - rows.start).contiguous()

    def draw(self, draw: Draw, *size: int, axis: int) -> "Tensor":
        """Return random numbers for this process's rows: its part of those that one process would draw for all.

        Args:
            draw: Draws them, such as `torch.randn`.
            size: The shape for the rows of this process.
            axis: The axis of the rows.
        """
        whole = tuple(length * (self.ranks if i == axis else 1) for i, length in enumerate(size))
        return self.of(draw(whole, generator=self.chance), axis)

    def mean(self, value: "Tensor") -> "Tensor":
        """Return the mean of a tensor over the processes, for what is no mean over rows afterwards.

        Gradients flow to this process's own part, so that their mean over the processes is the whole gradient.
        """
        return value if self.average is None else self.average(value)


WHOLE: Final = Share()
"""All rows."""
