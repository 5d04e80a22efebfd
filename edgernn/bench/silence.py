"""Silence: keeping what exporters, compilers and other runtimes say off the terminal."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, log records below an error, and what native code writes; what goes wrong comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), ExitStack() as streams:
            warnings.simplefilter("ignore")
            for descriptor in (1, 2):
                streams.enter_context(_dropped(descriptor))
            yield
    finally:
        logging.disable(before)


@contextmanager
def _dropped(descriptor: int) -> Iterator[None]:
    """Send what is written to a descriptor nowhere."""
    _flush()
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
