"""Candidates: the forms of a model that a tuning tries, and the ways to run them."""

import os
from dataclasses import dataclass

from edgernn_export.tuning.forms import Form
from edgernn_export.tuning.native import NativeForms
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.opening import EngineName
from edgernn_runtime.profiling import Latency


@dataclass(frozen=True, slots=True)
class Setting:
    """A form, and how it is run.

    Attributes:
        form: The form.
        threads: Threads inside one operator.
        spinning: Whether idle threads keep a core busy while they wait for the next step.
        native: What compiles the form, for native code; None for ONNX Runtime.
    """

    form: Form
    threads: int
    spinning: bool
    native: NativeForms | None = None

    @property
    def engine(self) -> EngineName:
        """What computes the steps."""
        return "onnxruntime" if self.native is None else "native"

    def opened(self) -> Engine:
        """Return an engine of the form, run so."""
        if self.native is not None:
            return self.native.opened(self.form.source, self.form.contents)
        return self.form.opened(threads=self.threads, spinning=self.spinning)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting that was timed at batch 1.

    Attributes:
        setting: The setting.
        latency: The latency of its step, in microseconds; None for a form that is not kept, and so was not timed.
    """

    setting: Setting
    latency: Latency | None


def settings_of(form: Form, native: NativeForms | None = None) -> tuple[Setting, ...]:
    """Return the ways to run a form here.

    They are one thread, and more as far as there are cores, idle ones asleep or not; and native code, where something
    compiles it.
    """
    counts = [count for count in (2, 4, 8, 16) if count <= cores()]
    more = [Setting(form, count, spinning) for count in counts for spinning in (False, True)]
    compiled = [] if native is None else [Setting(form, 1, spinning=False, native=native)]
    return (Setting(form, 1, spinning=False), *more, *compiled)


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
