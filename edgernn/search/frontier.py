"""Frontier: the trials that no other beats in both loss and speed, and the one that is chosen."""

from collections.abc import Sequence

from edgernn.search.notes import Note


def complete(notes: Sequence[Note]) -> list[Note]:
    """Return the trials that came to their end."""
    return [each for each in notes if each.ending == "complete"]


def frontier(notes: Sequence[Note]) -> list[Note]:
    """Return the trials that no other beats, fastest first: none is as fast and better, or as good and faster."""
    best: list[Note] = []
    for each in sorted(complete(notes), key=lambda note: (note.step_us, note.valid_loss, note.number)):
        if not best or each.valid_loss < best[-1].valid_loss:
            best.append(each)
    return best


def choice(notes: Sequence[Note], max_step_us: float | None) -> Note | None:
    """Return the trial of the lowest loss whose step takes no longer than allowed; None if there is none."""
    allowed = [each for each in frontier(notes) if max_step_us is None or each.step_us <= max_step_us]
    return allowed[-1] if allowed else None


def default_of(notes: Sequence[Note]) -> Note | None:
    """Return the trial of the default settings; None if it came to no end."""
    return next((each for each in complete(notes) if each.default), None)
