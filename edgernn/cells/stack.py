"""Stack: several cells on top of each other, and their exchange of weights with torch."""

import functools
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn

from edgernn.cells.cell import Cell, State, TorchCell
from edgernn.cells.elman import Elman
from edgernn.cells.gru import GRU
from edgernn.cells.lstm import LSTM

CELLS: Final[Mapping[str, Callable[[int, int], Cell]]] = {
    "elman": Elman,
    "elman-relu": lambda inputs, hidden: Elman(inputs, hidden, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
}
"""Makers of cells by name; each takes the input size and the hidden size."""

Form = Callable[[Tensor, State], tuple[Tensor, State]]
"""One of the forms in which a cell computes: `step` or `scan`."""

Lowering = Literal["cell", "fused"]
"""What a layer becomes in a step graph: plain products and activations, or one recurrent operator."""

_WEIGHTS: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def make_cell(name: str, input_size: int, hidden_size: int) -> Cell:
    """Return a new cell.

    Raises:
        KeyError: If no cell has that name.
    """
    return CELLS[name](input_size, hidden_size)


class Stack(nn.Module):
    """Cells on top of each other, with dropout between them. It has the contract of a cell.

    Attributes:
        cells: The cells, from the input up.
        lowering: What `step` computes with; with `fused`, cells that torch has scan one step. It is no part of
            what a step computes, and `edgernn.cells.lowering.lower` sets it.
    """

    lowering: Lowering = "cell"

    def __init__(self, cells: list[Cell], *, dropout: float = 0.0) -> None:
        """Stack `cells`; in training, `dropout` is the share of each layer's outputs set to zero."""
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout = nn.Dropout(dropout)

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The cells, typed."""
        return cast("tuple[Cell, ...]", tuple(self.cells))

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the state tensors, as `<layer>.<name>`."""
        return tuple(f"{i}.{name}" for i, cell in enumerate(self.layers) for name in cell.state_names)

    def init(self, batch: int) -> State:
        """Return the state at reset, all layers in order, tensors `[batch, ...]`."""
        return tuple(tensor for cell in self.layers for tensor in cell.init(batch))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the top output `[batch, hidden]` and the next state of one step; see `Cell.step`."""
        return self._climb([self._step_of(cell) for cell in self.layers], x, state)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the top outputs `[time, batch, hidden]` and the last state; see `Cell.scan`."""
        return self._climb([cell.scan for cell in self.layers], x, state)

    def _climb(self, forms: list[Form], x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what the layers give on top of each other, each computed by its form."""
        states = iter(state)
        after: list[Tensor] = []
        for i, (cell, form) in enumerate(zip(self.layers, forms, strict=True)):
            x, layer_state = form(self._between(x, i), tuple(next(states) for _ in cell.state_names))
            after += layer_state
        return x, tuple(after)

    def _step_of(self, cell: Cell) -> Form:
        return cell.fused_step if self.lowering == "fused" and isinstance(cell, TorchCell) else cell.step

    def _between(self, x: Tensor, layer: int) -> Tensor:
        dropped: Tensor = self.dropout(x) if layer else x
        return dropped


def make_stack(cell: str, input_size: int, hidden_size: int, *, layers: int, dropout: float = 0.0) -> Stack:
    """Return a stack of new cells of one kind, the first of which takes `input_size` features.

    Raises:
        KeyError: If no cell has that name.
    """
    sizes = [input_size, *[hidden_size] * (layers - 1)]
    return Stack([make_cell(cell, size, hidden_size) for size in sizes], dropout=dropout)


def from_torch(rnn: nn.RNNBase) -> Stack:
    """Return the stack that computes what `rnn` computes, with copies of its weights.

    Args:
        rnn: An `nn.RNN`, `nn.LSTM` or `nn.GRU`, one direction, no projection.

    Raises:
        ValueError: If the module is bidirectional or has a projection.
    """
    if rnn.bidirectional or rnn.proj_size:
        raise ValueError("a stack of cells has one direction and no projection")
    name = {"RNN_TANH": "elman", "RNN_RELU": "elman-relu", "LSTM": "lstm", "GRU": "gru"}[rnn.mode]
    stack = make_stack(name, rnn.input_size, rnn.hidden_size, layers=rnn.num_layers, dropout=rnn.dropout)
    with torch.no_grad():
        for i, cell in enumerate(_torch_cells(stack)):
            for weight in _WEIGHTS:
                target = getattr(cell.kernel, f"{weight}_l0")
                source = getattr(rnn, f"{weight}_l{i}", None)
                target.copy_(torch.zeros_like(target) if source is None else source)
    return stack


def to_torch(stack: Stack) -> nn.RNNBase:
    """Return an `nn.RNN`, `nn.LSTM` or `nn.GRU` with copies of the stack's weights.

    Raises:
        ValueError: If a layer is none of torch's, or they differ in kind or hidden size.
    """
    cells = _torch_cells(stack)
    first = cells[0].kernel
    if any(cell.kernel.mode != first.mode or cell.kernel.hidden_size != first.hidden_size for cell in cells):
        raise ValueError("a torch module has layers of one kind and one hidden size")
    kinds: Mapping[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
    kind = kinds.get(first.mode, functools.partial(nn.RNN, nonlinearity=first.mode.removeprefix("RNN_").lower()))
    rnn = kind(first.input_size, first.hidden_size, num_layers=len(cells), dropout=stack.dropout.p)
    with torch.no_grad():
        for i, cell in enumerate(cells):
            for weight in _WEIGHTS:
                getattr(rnn, f"{weight}_l{i}").copy_(getattr(cell.kernel, f"{weight}_l0"))
    return rnn


def _torch_cells(stack: Stack) -> list[TorchCell]:
    cells = [cell for cell in stack.layers if isinstance(cell, TorchCell)]
    if len(cells) < len(stack.layers):
        raise ValueError("the stack has a cell that torch does not have")
    return cells
