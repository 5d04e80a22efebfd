"""What the lifter knows of a tensor of the original while it walks through it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from torch import Tensor, fx


class Kind(Enum):
    """How a tensor of the original varies along the sequence."""

    CONSTANT = "the same for every input"
    STATIC = "known before the first step: an argument without time, or an explicit state"
    STREAM = "has time as an axis"
    RUNNING = "known at the end of the sequence: in a step, the value for the sequence so far"


@dataclass(frozen=True, slots=True)
class Place:
    """Where time lies in a tensor: within `axis`, whose size is `outer * length * inner`."""

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def folded(self) -> bool:
        """Whether the axis holds more than time."""
        return self.outer > 1 or self.inner > 1


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the original, and the node of the step graph that computes its part in one step.

    Step s computes the elements `s * count + shift` to `s * count + shift + count - 1` along time. A
    positive shift means that the elements before were there before the first input, as padding is; a
    negative one that the tensor looks ahead and lags behind its input.

    Attributes:
        node: The node of the step graph; for a tensor with several outputs, the whole.
        sample: What the original computes there for the example.
        kind: How it varies along the sequence.
        time: Where time lies in it; for streams only.
        count: Elements along time that a step computes.
        shift: The element that step 0 computes first.
    """

    node: fx.Node
    sample: Tensor
    kind: Kind
    time: Place | None = None
    count: int = 1
    shift: int = 0

    @property
    def length(self) -> int:
        """Elements along time in the sample."""
        assert self.time is not None  # noqa: S101, for streams only
        return self.sample.shape[self.time.axis] // (self.time.outer * self.time.inner)

    @property
    def where(self) -> Place:
        """Where time lies in it, for a stream."""
        assert self.time is not None  # noqa: S101, for streams only
        return self.time


@dataclass(frozen=True, slots=True)
class Moment:
    """A tensor that was computed from single frames, as in a Python loop over time.

    Attributes:
        sample: What the original computes there for the example.
        latest: The latest frame that it was computed from.
    """

    sample: Tensor
    latest: int


@dataclass(frozen=True, slots=True)
class Clock:
    """A constant that counts along time, as `arange` does: `start + slope * index`.

    Attributes:
        sample: The original's constant.
        axis: Its axis of time; all others have one element.
        start: The element of index 0.
        slope: The difference of two neighbours.
    """

    sample: Tensor
    axis: int
    start: float
    slope: float


Known = Value | Moment | Clock | tuple["Value | Moment | Clock", ...]
"""What can be known of a node; a tuple for one with several outputs."""

NEVER: Final = -1
"""The latest frame of what was computed from none."""
