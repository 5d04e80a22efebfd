"""Elman layers of torch as the ONNX operator RNN, which torch's exporter takes apart; it keeps LSTM and GRU."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, fx

_ACTIVATIONS: Final = {torch.ops.aten.rnn_tanh.input: "Tanh", torch.ops.aten.rnn_relu.input: "Relu"}
_BIDIRECTIONAL: Final = 7


def elman_operators(graph: fx.Graph, *, opset: int) -> dict[object, Callable[..., object]]:
    """Return a decomposition into RNN operators for each kind of Elman layer in `graph` that has one direction."""
    calls = [node for node in graph.nodes if node.target in _ACTIVATIONS]
    other = {node.target for node in calls if node.args[_BIDIRECTIONAL]}
    return {target: _rnn(_ACTIVATIONS[target], opset) for target in {node.target for node in calls} - other}


def _rnn(activation: str, opset: int) -> Callable[..., tuple[Tensor, Tensor]]:
    def scan(  # noqa: PLR0917, the arguments of aten.rnn_tanh.input
        x: Tensor,
        state: Tensor,
        weights: Sequence[Tensor],
        has_biases: bool,  # noqa: FBT001
        layers: int,
        _dropout: float,
        _train: bool,  # noqa: FBT001
        _bidirectional: bool,  # noqa: FBT001
        batch_first: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        y = x.transpose(0, 1) if batch_first else x  # [time, batch, input]
        count, after = len(weights) // layers, []
        for layer in range(layers):
            w, r, *biases = weights[layer * count : (layer + 1) * count]
            b = torch.cat(biases).unsqueeze(0) if has_biases else None
            h = state[layer : layer + 1]  # [1, batch, hidden]
            inputs = (y, w.unsqueeze(0), r.unsqueeze(0), b, None, h)
            shapes = ((y.shape[0], 1, *h.shape[1:]), h.shape)
            y, last = torch.onnx.ops.symbolic_multi_out(
                "::RNN",
                inputs,
                {"hidden_size": r.shape[1], "activations": [activation]},
                dtypes=(x.dtype, x.dtype),
                shapes=shapes,
                version=opset,
            )
            y = y.squeeze(1)
            after.append(last)
        return y.transpose(0, 1) if batch_first else y, torch.cat(after)

    return scan
