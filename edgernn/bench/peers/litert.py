"""LiteRT: the step converted by litert-torch, computed by XNNPACK; quantized by ai-edge-quantizer's dynamic recipes."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from edgernn.bench.case import VOCABULARY, Case, Logits, Material, Precision, Tokens
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.models import RecurrentLMStep


class LiteRtPeer(Peer):
    """The faster of an interpreter and a compiled model whose buffers alternate between two sets of states."""

    name: ClassVar[str] = "litert"
    packages: ClassVar[tuple[str, ...]] = ("ai_edge_litert", "litert_torch", "ai_edge_quantizer")
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "int8", "int4")

    def open(self, material: Material, precision: Precision) -> Step:
        path, case = _model_file(material, precision), material.case
        return fastest([lambda: _InterpreterStep(path, case), lambda: _CompiledStep(path, case)], case.batch)


def _model_file(material: Material, precision: Precision) -> Path:
    """Return the model as LiteRT takes it, made if it is not there yet."""
    path = material.folder / f"model.{material.case.batch}.{precision}.tflite"
    if path.exists():
        return path
    if precision == "float32":
        import litert_torch

        batch = material.case.batch
        example = (torch.zeros(batch, dtype=torch.int64), *material.model.init(batch))
        litert_torch.convert(RecurrentLMStep(material.model), example).export(str(path))
        return path
    from ai_edge_quantizer import quantizer, recipe

    made = recipe.dynamic_wi8_afp32() if precision == "int8" else recipe.dynamic_wi4_afp32()
    quantizer.Quantizer(str(_model_file(material, "float32")), made).quantize().export_model(str(path))
    return path


class _InterpreterStep:
    """The step in an interpreter, whose states are copied from its outputs to its inputs. Mutable."""

    def __init__(self, path: Path, case: Case) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=case.threads)
        self._interpreter.allocate_tensors()
        names = self._interpreter.get_signature_list()["serving_default"]
        runner = self._interpreter.get_signature_runner("serving_default")
        given, found = runner.get_input_details(), runner.get_output_details()
        self._token, *states = [self._interpreter.tensor(given[name]["index"]) for name in sorted(names["inputs"])]
        self._logits, *after = [self._interpreter.tensor(found[name]["index"]) for name in sorted(names["outputs"])]
        self._states = list(zip(states, after, strict=True))
        for state in states:
            state()[...] = 0

    def __call__(self, tokens: Tokens) -> Logits:
        """Take a step."""
        self._token()[...] = tokens
        self._interpreter.invoke()
        for state, after in self._states:
            state()[...] = after()
        found: Logits = self._logits().copy()  # a view would forbid the next step
        return found


class _CompiledStep:
    """The step in a compiled model. Mutable."""

    def __init__(self, path: Path, case: Case) -> None:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_options import CpuOptions
        from ai_edge_litert.options import Options

        options = Options(cpu_options=CpuOptions(num_threads=case.threads))
        self._model = CompiledModel.from_file(str(path), options=options)
        self._token, *states = self._model.create_input_buffers(0)
        self._logits, *after = self._model.create_output_buffers(0)
        for state in states:
            state.write(np.zeros((case.batch, case.hidden), np.float32))
        self._orders = [
            ([self._token, *read], [self._logits, *written]) for read, written in ((states, after), (after, states))
        ]
        self._current = 0

    def __call__(self, tokens: Tokens) -> Logits:
        """Take a step."""
        read, written = self._orders[self._current]
        self._current = 1 - self._current
        self._token.write(tokens.astype(np.int32))
        self._model.run_by_index(0, read, written)
        logits: Logits = self._logits.read(tokens.size * VOCABULARY, np.float32).reshape(tokens.size, VOCABULARY)
        return logits
