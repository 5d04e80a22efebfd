"""The stock road to ONNX: torch's own export of one step of the sequence module, the state as inputs and outputs."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.bench.case import Material
from edgernn.cells import to_torch
from edgernn.models import RecurrentLM

_OPSET: Final = 20


class StockModel(nn.Module):
    """A language model as one writes it in torch, whose caller carries the state."""

    def __init__(self, model: RecurrentLM) -> None:
        """Take the weights of a model."""
        super().__init__()
        self.embedding, self.head = model.embedding, model.head
        self.rnn = to_torch(model.stack).eval()

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the logits `[1, batch, vocabulary]` and the next state `[layers, batch, hidden]`.

        Args:
            token: int64 `[1, batch]`.
            state: `h`, and `c` where the cell has one, float32 `[layers, batch, hidden]`.
        """
        y, after = self.rnn(self.embedding(token), state if len(state) > 1 else state[0])
        return (self.head(y), *(after if isinstance(after, tuple) else (after,)))


@dataclass(frozen=True, slots=True)
class StockModelInputs:
    """A stock model, and what is fed to it first.

    Attributes:
        model: The module.
        example: Tokens and states, all zeros.
        states: The names of the states.
    """

    model: StockModel
    example: tuple[Tensor, ...]
    states: Sequence[str]

    @classmethod
    def of(cls, model: RecurrentLM, batch: int) -> "StockModelInputs":
        """Return the stock form of a model, for a batch."""
        stock = StockModel(model).eval()
        states = ("h", "c") if isinstance(stock.rnn, nn.LSTM) else ("h",)
        zeros = [torch.zeros(model.config.layers, batch, model.config.hidden) for _ in states]
        return cls(stock, (torch.zeros(1, batch, dtype=torch.int64), *zeros), states)


def stock_export(material: Material) -> Path:
    """Return the model's file as torch writes it for the case's batch, made if it is not there yet."""
    path = material.folder / f"stock.{material.case.batch}.onnx"
    return path if path.exists() else export_stock(material.model, path, batch=material.case.batch)


def export_stock(model: RecurrentLM, path: Path, *, batch: int = 1) -> Path:
    """Write a model as torch does it, for a batch, and return the path."""
    stock = StockModelInputs.of(model, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stock.model,
            stock.example,
            path,
            input_names=["token", *stock.states],
            output_names=["logits", *(f"next_{name}" for name in stock.states)],
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path
