"""Task: what a model is trained for: its data, its model, its loss and metric, and what it becomes on a device."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.settings import Json, Settings
from edgernn.tasks.share import WHOLE, Share
from edgernn_runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgernn_export import Recording, StagedModules, StepModule

Facts = dict[str, Json]
"""What a model must know of its data to be made again, such as the alphabet; kept in the run folder."""

MODEL = "model"
"""The key of the recording of the whole model."""

Part = Literal["train", "valid"]
"""What is trained on, or what is held out."""


def sha256_of(*parts: NDArray[np.generic] | str) -> str:
    """Return the SHA-256 of arrays, shapes included, and texts, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        text = part if isinstance(part, str) else f"{part.dtype}{part.shape}"
        digest.update(f"{len(text)} {text}".encode())
        if not isinstance(part, str):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


class Data(ABC):
    """What a task trains on and is judged by. Batches are pure functions of the step, so a resumed run reads the same.

    Attributes:
        facts: What the model must know of the data.
        sha256: SHA-256 of all of it, in hexadecimal.
        summary: How much there is, as in `418,000 tokens to train on, 46,500 to validate`.
        warnings: What the user should know of it, a sentence each.
        rows: The rows of every training batch, where those that `loss` trains on are those of `share` alone; None
            where several processes cannot divide them.
        share: Which rows are this process's; all of them, unless several processes train together.
    """

    facts: Facts
    sha256: str
    summary: str
    warnings: tuple[str, ...] = ()
    rows: int | None = None
    share: Share = WHOLE

    @abstractmethod
    def recordings(self, part: Part) -> "Mapping[str, Recording]":
        """Return what exported models are fed: `MODEL` for the model, or a stage by its name, the same of both parts.

        Args:
            part: `valid` for what is held out, which they are measured on; `train` for an extract of what they were
                trained on, at most `CALIBRATION_STEPS` steps, which quantization calibrates on.
        """


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model does on held-out data.

    Attributes:
        loss: What training minimises, in nats per unit of the task; the best one is kept.
        metrics: Further figures by name.
    """

    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


S = TypeVar("S", bound=Settings)
D = TypeVar("D", bound=Data)
M = TypeVar("M", bound="nn.Module")


class Task(ABC, Generic[S, D, M]):
    """What a model is trained for. A subclass is found by its entry point in the group `edgernn.tasks`.

    Attributes:
        name: What `edgernn train` calls it.
        summary: One sentence for `edgernn tasks`.
        quantity: What the loss counts, as in `nats`.
        unit: What it is counted per, as in `token`.
        betas: How much AdamW keeps of the moments of the gradient at each step.
        idle_weights: Whether a step may leave weights without a gradient; several processes must know.
        settings: The class of its settings.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    quantity: ClassVar[str] = "nats"
    unit: ClassVar[str] = "step"
    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)
    idle_weights: ClassVar[bool] = False
    settings: type[S]

    @property
    def loss_unit(self) -> str:
        """What the loss is in, as in `nats per token`."""
        return f"{self.quantity} per {self.unit}"

    @abstractmethod
    def read(self, settings: S) -> D:
        """Return the data; `DataError` if it cannot be used."""

    @abstractmethod
    def model(self, settings: S, facts: Facts) -> M:
        """Return a new model, from torch's random state."""

    @abstractmethod
    def loss(
        self, model: M, data: D, *, step: int, state: "tuple[Tensor, ...]", spent: float
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        """Return the loss of a training step, a scalar, and what is carried to the next step.

        Where the data name their rows, it is that of the rows of `data.share`: over the processes, the mean of what
        they return must be the loss of the whole batch. What is carried then has the rows along its first axis.

        Args:
            model: The model.
            data: What `read` returned.
            step: The number of the step, from 0.
            state: What the step before carried; what `begin` returned at first.
            spent: The share of the budget that is spent, 0 to 1.
        """

    @abstractmethod
    def evaluate(self, model: M, data: D) -> Evaluation:
        """Return how well the model does on what is held out; it is in evaluation mode."""

    def begin(self, model: M, settings: S) -> "tuple[Tensor, ...]":  # noqa: ARG002, a subclass may need them
        """Return what the first training step is given to carry; nothing where steps are independent."""
        return ()

    def export(self, model: M, settings: S, facts: Facts) -> "StepModule | StagedModules":  # noqa: ARG002, likewise
        """Return what the trained model is on a device: one step module, or several and what passes between them.

        A model that is a step module itself is returned as it is.

        Raises:
            ExportError: If it is none.
        """
        if not hasattr(model, "spec"):
            raise ExportError(
                f"{type(model).__name__} is no StepModule: it has no spec; {self.name} must make one of it"
            )
        return cast("StepModule", model)


AnyTask = Task[Settings, Data, "nn.Module"]
