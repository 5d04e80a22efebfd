"""ncnn: the step converted by pnnx, its states handed from one extractor to the next."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from edgernn.bench.case import LAYERS, Case, Logits, Material, Precision, Tokens
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.stock_export import StockModelInputs
from edgernn.models import RecurrentLMStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

_REDUCED = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_packed",
    "use_bf16_storage",
    "use_int8_inference",
)
"""Options that would compute in less than float32."""


class NcnnPeer(Peer):
    """The faster of recurrent layers and plain operators, in float32."""

    name: ClassVar[str] = "ncnn"
    packages: ClassVar[tuple[str, ...]] = ("ncnn", "pnnx")

    def missing(self, case: Case, precision: Precision) -> str | None:
        return super().missing(case, precision) or ("it has no batch" if case.batch > 1 else None)

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, it has one
        case, model, stock = material.case, material.model, StockModelInputs.of(material.model, material.case.batch)
        example = (torch.zeros(1, dtype=torch.int64), *model.init(1))
        plain = _convert(RecurrentLMStep(model), example, material.folder / "plain.pt")
        fused = _convert(stock.model, stock.example, material.folder / "fused.pt")
        return fastest(
            [lambda: _NcnnStep(plain, case, (case.hidden,)), lambda: _NcnnStep(fused, case, (LAYERS, case.hidden))], 1
        )


def _convert(module: "nn.Module", example: "Sequence[Tensor]", path: Path) -> Path:
    """Return the network's files without their suffixes, made if they are not there yet."""
    target = path.with_suffix("")
    if not target.with_suffix(".ncnn.param").exists():
        import pnnx

        pnnx.export(module, str(path), tuple(example), fp16=False)
    return target


class _NcnnStep:
    """The step of a network. Mutable."""

    def __init__(self, path: Path, case: Case, state: tuple[int, ...]) -> None:
        import ncnn

        self._net = ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute = False
        options.num_threads = case.threads
        for name in _REDUCED:
            setattr(options, name, False)
        if self._net.load_param(f"{path}.ncnn.param") or self._net.load_model(f"{path}.ncnn.bin"):
            raise ValueError("ncnn could not load what pnnx wrote")
        self._token = np.zeros(1, np.int32)
        self._given = ncnn.Mat(self._token)
        self._count = len(self._net.input_names()) - 1
        zeros = np.zeros(state, np.float32)
        self._states: list[ncnn.Mat] = [ncnn.Mat(zeros).clone() for _ in range(self._count)]

    def __call__(self, tokens: Tokens) -> Logits:
        """Take a step."""
        self._token[...] = tokens
        extractor = self._net.create_extractor()
        extractor.input("in0", self._given)
        for i, state in enumerate(self._states, start=1):
            extractor.input(f"in{i}", state)
        self._states = [extractor.extract(f"out{i}")[1] for i in range(1, self._count + 1)]
        return np.array(extractor.extract("out0")[1], np.float32).reshape(1, -1)
