"""Case: what is measured side by side, and the model and the tokens that every peer gets."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.models import ModelConfig, RecurrentLM
from edgernn_runtime.errors import InputError

Precision = Literal["float32", "int8", "int4"]
Tokens = NDArray[np.int64]
Logits = NDArray[np.float32]

CELLS: Final = ("lstm", "gru")
PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "int8", "int4")
LAYERS: Final = 2
VOCABULARY: Final = 128

_SEED: Final = 0
_RECURRENT_GAIN: Final = 1.5
_HEAD_GAIN: Final = 6.0


@dataclass(frozen=True, slots=True)
class Case:
    """A model and how it is stepped; all peers of a case take turns in one run.

    Attributes:
        cell: A name of `CELLS`.
        hidden: Features of the embedding and of both layers.
        batch: Rows of a step.
        threads: Threads inside one operator.

    Raises:
        InputError: If the cell is unknown or a number is not positive.
    """

    cell: str
    hidden: int
    batch: int
    threads: int

    def __post_init__(self) -> None:
        """Check the values."""
        if self.cell not in CELLS:
            raise InputError(f"no cell is called {self.cell}; there are {', '.join(CELLS)}")
        for name in ("hidden", "batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")

    def __str__(self) -> str:
        """Return the case as one reads it."""
        return f"{self.cell} {self.hidden}, batch {self.batch}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True, slots=True)
class Material:
    """What a peer makes its step of.

    Attributes:
        case: The case.
        model: The model in torch.
        folder: Where files made of the model are kept, so that cases of one model share them.
    """

    case: Case
    model: RecurrentLM
    folder: Path


def cases(cells: Iterable[str], hidden: Iterable[int], batch: Iterable[int], threads: Iterable[int]) -> list[Case]:
    """Return every combination, those of one model in a row; arguments and errors as `Case` has them."""
    return [Case(*each) for each in product(cells, hidden, batch, threads)]


def make_model(cell: str, hidden: int) -> RecurrentLM:
    """Return the model of a cell and size: random weights, scaled so that states are lively and gates differ."""
    generator = torch.Generator().manual_seed(_SEED)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = RecurrentLM(ModelConfig(cell, VOCABULARY, hidden, layers=LAYERS)).eval()
    with torch.no_grad():
        for weight in model.stack.parameters():
            if weight.ndim == 1:
                weight.normal_(generator=generator)
            else:
                weight.mul_(_RECURRENT_GAIN)
        model.head.weight.mul_(_HEAD_GAIN)
    return model


def make_tokens(steps: int, batch: int) -> Tokens:
    """Return random tokens, int64 `[steps, batch]`."""
    return np.random.default_rng(_SEED).integers(0, VOCABULARY, (steps, batch))
