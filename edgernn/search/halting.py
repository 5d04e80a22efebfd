"""Halting: when a trial has fallen so far behind that it need not come to its end."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from edgernn.training import Progress

MARKS: Final = (0.25, 0.5, 0.75)
"""The shares of the budget at which trials are compared."""

LEAST_PEERS: Final = 3
"""Fewer trials than that at a mark say nothing of another."""

Losses = Mapping[str, float]
"""The best validation loss at each mark, in nats."""


class Halting:
    """Compares a trial's validation loss at some marks with that of trials whose step is no slower. Mutable.

    Attributes:
        losses: The best validation loss at each mark so far.
        reason: Why the trial should stop; empty while it should not.
    """

    def __init__(self, losses: Losses, peers: Callable[[], Sequence[Losses]], record: Callable[[Losses], None]) -> None:
        """Begin, or go on.

        Args:
            losses: The losses at the marks that are passed.
            peers: Returns the losses of the trials that it is compared with.
            record: Called with all losses at a new mark.
        """
        self.losses = dict(losses)
        self.reason = ""
        self._peers = peers
        self._record = record

    def see(self, progress: Progress) -> None:
        """Look at a trial after a step."""
        for mark in MARKS:
            name = f"{mark:.0%}"
            if name in self.losses or progress.spent < mark or progress.valid_loss == float("inf"):
                continue
            self.losses[name] = progress.valid_loss
            self._record(self.losses)
            self.reason = self.reason or behind(name, progress.valid_loss, self._peers())


def behind(mark: str, loss: float, peers: Sequence[Losses]) -> str:
    """Return why a trial should stop at a mark: its loss is worse than the median; nothing while there are few.

    >>> behind("25%", 2.0, [{"25%": 1.8}, {"25%": 1.9}, {"25%": 2.2}])
    'at 25% of its budget its loss, 2.000, was behind the median of 3 trials that are no slower, 1.900'
    >>> behind("25%", 1.8, [{"25%": 1.8}, {"25%": 1.9}, {"25%": 2.2}]), behind("25%", 9.0, [])
    ('', '')
    """
    found = [each[mark] for each in peers if mark in each]
    if len(found) < LEAST_PEERS or loss <= median(found):
        return ""
    return (
        f"at {mark} of its budget its loss, {loss:.3f}, was behind the median of {len(found)} trials that are no "
        f"slower, {median(found):.3f}"
    )
