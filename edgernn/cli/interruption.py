"""Ctrl-C and terminations, as a question that a loop asks rather than an exception anywhere in it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

EXIT_INTERRUPT: Final = 130


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Yield a list that holds a signal's number once Ctrl-C or a termination asks the work to end."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
