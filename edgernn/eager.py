"""One step of a text model in torch eager, in the forms that people write: what step models are measured against."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.cells import TorchCell, to_torch
from edgernn.models import RecurrentLM

Step = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Takes tokens int64 `[batch]` and returns logits, float32 `[batch, vocabulary]`; the state is kept inside."""


def eager_steps(model: RecurrentLM) -> Mapping[str, Step]:
    """Return the model's step in torch, by the name of its form: torch's cells, or its sequence module.

    The model's cells must be torch's. Both forms run in inference mode, from zeros, at the batch of the first
    step; which one is faster depends on the cell, the batch and the machine.
    """
    return {"cells": _cells_step(model), "module": _module_step(model)}


def eager_steppers(model: RecurrentLM) -> Mapping[str, Callable[[int], None]]:
    """Return functions to be timed, by the name of the form: each call steps another token."""
    vocabulary = model.config.vocabulary
    tokens = [np.array([token], np.int64) for token in range(vocabulary)]

    def stepper(step: Step) -> Callable[[int], None]:
        def call(number: int) -> None:
            step(tokens[number * 31 % vocabulary])

        return call

    return {name: stepper(step) for name, step in eager_steps(model).items()}


def _cells_step(model: RecurrentLM) -> Step:
    cells = [_torch_cell(cell.kernel) for cell in model.stack.layers if isinstance(cell, TorchCell)]
    states: list[object] = [None for _ in cells]

    @torch.inference_mode()
    def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        x: Tensor = model.embedding(torch.from_numpy(tokens))
        for i, cell in enumerate(cells):
            states[i] = after = cell(x, states[i])
            x = after[0] if isinstance(after, tuple) else after
        return model.head(x).numpy()  # type: ignore[no-any-return]

    return step


def _module_step(model: RecurrentLM) -> Step:
    rnn = to_torch(model.stack).eval()
    state: object = None

    @torch.inference_mode()
    def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal state
        y, state = rnn(model.embedding(torch.from_numpy(tokens)).unsqueeze(0), state)
        return model.head(y[0]).numpy()  # type: ignore[no-any-return]

    return step


def _torch_cell(kernel: nn.RNNBase) -> nn.RNNCellBase:
    """Return torch's cell module with the weights of a one-layer sequence module."""
    sizes = kernel.input_size, kernel.hidden_size
    cell: nn.RNNCellBase
    if kernel.mode == "LSTM":
        cell = nn.LSTMCell(*sizes)
    elif kernel.mode == "GRU":
        cell = nn.GRUCell(*sizes)
    else:
        cell = nn.RNNCell(*sizes, nonlinearity=kernel.mode.removeprefix("RNN_").lower())
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in kernel.state_dict().items()})
    return cell.eval()
