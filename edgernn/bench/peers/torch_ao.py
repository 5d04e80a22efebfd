"""torch.ao: dynamic quantization of the sequence module and the head to int8."""

from typing import ClassVar

import torch
from torch import nn

from edgernn.bench.case import Logits, Material, Precision, Tokens
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.stock_export import StockModelInputs


class TorchAoPeer(Peer):
    """`torch.ao.quantization.quantize_dynamic` over `nn.LSTM`, `nn.GRU` and `nn.Linear`."""

    name: ClassVar[str] = "torch-ao"
    precisions: ClassVar[tuple[Precision, ...]] = ("int8",)

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, it has one
        stock = StockModelInputs.of(material.model, material.case.batch)
        quantized = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            stock.model, {nn.LSTM, nn.GRU, nn.Linear}, dtype=torch.qint8
        )
        state = list(stock.example[1:])

        @torch.inference_mode()
        def step(tokens: Tokens) -> Logits:
            logits, *state[:] = quantized(torch.from_numpy(tokens).unsqueeze(0), *state)
            return logits[0].numpy()  # type: ignore[no-any-return]

        return step
