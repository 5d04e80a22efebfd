"""Finite numbers: what JSON can hold."""

import math


def finite(value: object) -> object:
    """Return a JSON value in which None stands for NaN and infinity.

    >>> finite({"snr_db": [math.inf, 35.0]})
    {'snr_db': [None, 35.0]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
