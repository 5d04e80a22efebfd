"""Ctrl-C and terminations, as a question that a loop asks rather than an exception anywhere in it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

EXIT_INTERRUPT: Final = 130


_NUMBERS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Yield a list that holds a signal's number once Ctrl-C or a termination asks the work to end."""
    previous = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        yield note_interruptions()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def note_interruptions() -> list[int]:
    """Return a list that holds a signal's number once one has come, to the end of the process: none ends it at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    for number in _NUMBERS:
        signal.signal(number, note)
    return received
