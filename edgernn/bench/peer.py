"""Peer: something that can take a step of the model, in a form that is timed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from typing import ClassVar

from edgernn.bench.case import Case, Logits, Material, Precision, Tokens

Step = Callable[[Tokens], Logits]
"""Takes tokens int64 `[batch]` and returns logits float32 `[batch, 128]`; keeps the state, zeros at first.

The logits may be a view of a buffer that the next step overwrites.
"""


class Peer(ABC):
    """A runtime in its best known form: bound tensors, no allocation, the given number of threads.

    Attributes:
        name: What it is called on the command line and in records.
        packages: The packages that it imports, beyond those that edgernn needs itself.
        precisions: The precisions that it has.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[tuple[Precision, ...]] = ("float32",)

    def missing(self, case: Case, precision: Precision) -> str | None:  # noqa: ARG002, some peers look at them
        """Return why a case cannot be measured here; None if it can."""
        absent = [package for package in self.packages if find_spec(package) is None]
        return f"{', '.join(absent)} not installed" if absent else None

    @abstractmethod
    def open(self, material: Material, precision: Precision) -> Step:
        """Return a new step from state zero; whatever it raises counts as this peer's failure."""
