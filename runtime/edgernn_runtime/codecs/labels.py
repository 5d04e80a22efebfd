"""The codec of decisions: what the outputs of a classifier stand for."""

from dataclasses import dataclass
from typing import ClassVar

from edgernn_runtime.errors import SpecError


@dataclass(frozen=True, slots=True)
class LabelCodec:
    """One label for each logit of a classifier.

    Attributes:
        labels: The labels, in the order of the logits.

    Raises:
        SpecError: If there is none, or one is there twice.
    """

    labels: tuple[str, ...]
    kind: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        """Check the labels."""
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise SpecError(f"codec.labels must be there and differ, got {list(self.labels)}")

    @property
    def size(self) -> int:
        """The number of labels."""
        return len(self.labels)
