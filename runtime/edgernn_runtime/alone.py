"""Alone: one call at a time, and an error for a second one instead of waiting."""

import threading
from collections.abc import Callable
from types import TracebackType

from edgernn_runtime.errors import StreamError


class Alone:
    """A context in which only one call can be."""

    __slots__ = ("_acquire", "_refusal", "_settle", "leave")

    def __init__(self, refusal: str, settle: Callable[[], None] | None = None) -> None:
        """Let the first one in.

        Args:
            refusal: The message of the error for a second one.
            settle: Called whenever the context is entered, to settle what was put off.
        """
        lock = threading.Lock()
        self._acquire = lock.acquire
        self._refusal = refusal
        self._settle = settle
        self.leave = lock.release

    def __enter__(self) -> None:
        """Come in, and settle.

        Raises:
            StreamError: If another call is inside.
        """
        self.enter()
        if self._settle is None:
            return
        try:
            self._settle()
        except BaseException:
            self.leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave."""
        self.leave()

    def enter(self) -> None:
        """Come in and settle nothing; `leave` must follow.

        Raises:
            StreamError: If another call is inside.
        """
        if not self._acquire(False):  # noqa: FBT003, a keyword costs as much as the call
            raise StreamError(self._refusal)
