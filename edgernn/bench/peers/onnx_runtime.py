"""ONNX Runtime on the stock export, its inputs, outputs and two sets of states bound once.

The only file outside the runtime and the lifter that makes a session: a stock graph has its layers where a step
model has its batch, so the runtime does not take it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgernn.bench.case import VOCABULARY, Case, Logits, Material, Precision, Tokens
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.stock_export import stock_export
from edgernn_runtime.engine import Array
from edgernn_runtime.errors import QuantizationError


class OnnxRuntimePeer(Peer):
    """The stock export with `LSTM` or `GRU` operators; int8 is what ONNX Runtime's dynamic quantizer makes of it."""

    name: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "int8")

    def missing(self, case: Case, precision: Precision) -> str | None:
        if precision == "int8" and case.cell == "gru":
            return "quantize_dynamic leaves a GRU in float32"
        return super().missing(case, precision)

    def open(self, material: Material, precision: Precision) -> Step:
        path = stock_export(material)
        case = material.case
        return _BoundStep(path if precision == "float32" else stock_quantize(path), case.batch, case.threads)


def stock_quantize(path: Path) -> Path:
    """Return a stock model in int8, made if it is not there yet.

    Constants are folded first, or the quantizer finds no weights; inferred shapes are cleared, or it fails
    (onnxruntime#25890).

    Raises:
        QuantizationError: If no recurrent operator was quantized.
    """
    target = path.with_suffix(".int8.onnx")
    if target.exists():
        return target
    bare, folded = path.with_suffix(".bare.onnx"), path.with_suffix(".folded.onnx")
    _without_shapes(path, bare)
    quant_pre_process(bare, folded, skip_symbolic_shape=True)
    _without_shapes(folded, bare)
    quantize_dynamic(bare, target, weight_type=QuantType.QInt8)
    bare.unlink()
    folded.unlink()
    if not any(node.op_type == "DynamicQuantizeLSTM" for node in onnx.load(target).graph.node):
        raise QuantizationError("quantize_dynamic quantized no recurrent operator")
    return target


def _without_shapes(source: Path, target: Path) -> None:
    model = onnx.load(source)
    del model.graph.value_info[:]
    onnx.save(model, target)


class _BoundStep:
    """The step of a stock file; two bindings alternate between two sets of states. Mutable."""

    def __init__(self, path: Path, batch: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = {each.name: each.shape for each in session.get_inputs() if each.name != "token"}
        self._token = np.zeros((1, batch), np.int64)
        self._logits = np.zeros((1, batch, VOCABULARY), np.float32)
        self._row: Logits = self._logits[0]
        self._sets = [{name: np.zeros(shape, np.float32) for name, shape in names.items()} for _ in range(2)]
        self._bindings = [self._binding(session, *order) for order in (self._sets, self._sets[::-1])]
        self._run = session._sess.run_with_iobinding
        self._options = onnxruntime.RunOptions()
        self._current = 0

    def __call__(self, tokens: Tokens) -> Logits:
        """Take a step."""
        self._token[0] = tokens
        self._run(self._bindings[self._current], self._options)
        self._current = 1 - self._current
        return self._row

    def _binding(
        self, session: onnxruntime.InferenceSession, read: Mapping[str, Logits], written: Mapping[str, Logits]
    ) -> object:
        """Return a binding of this object's arrays, which it does not keep alive."""
        binding = session.io_binding()
        bound: dict[str, Array] = {"token": self._token, **read}
        for name, array in bound.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        results = {"logits": self._logits, **{f"next_{name}": array for name, array in written.items()}}
        for name, array in results.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding._iobinding
