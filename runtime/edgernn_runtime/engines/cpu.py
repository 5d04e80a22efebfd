"""The features of this CPU, by the names that Linux gives them in `/proc/cpuinfo`."""

import hashlib
import os
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_FIELDS: Final = (b"flags", b"Features")
"""What the line of features begins with, on x86 and on Arm."""


def cpu_features(source: Path = _CPUINFO) -> frozenset[str] | None:
    """Return the features of this CPU, such as `avx2`; None where the system does not say.

    Args:
        source: What to read them from; of several cores, the first counts.
    """
    try:
        with source.open("rb", buffering=4096) as file:  # the rest costs a big machine milliseconds
            for line in file:
                name, _, value = line.partition(b":")
                if name.strip() in _FIELDS:
                    return frozenset(value.decode("ascii", errors="replace").split())
    except OSError:
        return None
    return None


def cpu_key() -> str:
    """Return 16 hexadecimal digits that differ between CPUs of other features, or of another architecture."""
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    features = sorted(cpu_features() or ())
    return hashlib.sha256(" ".join([machine, *features]).encode()).hexdigest()[:16]
