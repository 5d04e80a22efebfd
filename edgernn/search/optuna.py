"""Optuna, which is optional: imported where it is used, and kept from writing to the terminal."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgernn_runtime.errors import MissingExtraError


def check_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        MissingExtraError: If it is not.
    """
    try:
        import optuna  # noqa: F401, PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("a search needs Optuna; install edgernn[search]") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's messages and warnings from the terminal: what matters of them is said by the search itself."""
    from optuna import logging  # noqa: PLC0415, likewise
    from optuna.exceptions import ExperimentalWarning  # noqa: PLC0415, likewise

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ExperimentalWarning)
            warnings.filterwarnings("ignore", module="optuna")
            yield
    finally:
        logging.set_verbosity(before)
