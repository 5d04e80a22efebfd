"""Importing: what `package.module:attribute` names."""

import importlib
import os
import sys

from edgernn_runtime.errors import EdgeRNNError, InputError, last_line


def import_named(name: str, *, error: type[EdgeRNNError] = InputError) -> object:
    """Return what `package.module:attribute` names; the current folder is searched first, as `python -m` does.

    Args:
        name: What to import.
        error: What to raise.

    Raises:
        EdgeRNNError: Of the type `error`, if it cannot be imported.
    """
    place, _, attribute = name.partition(":")
    if not place or not attribute:
        raise error(f"{name!r} must read package.module:attribute")
    if os.getcwd() not in sys.path:  # noqa: PTH109, as a string
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: object = importlib.import_module(place)
    except Exception as reason:
        raise error(f"{place} cannot be imported: {type(reason).__name__}: {last_line(reason)}") from reason
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise error(f"{place} has no {attribute}")
        found = getattr(found, part)
    return found
