"""The stock road: ONNX Runtime's own dynamic quantizer over torch's own ONNX export of a stateful model."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgernn_export.likelihood import log_sum_exp


def stock_quantize(path: Path) -> Path:
    """Quantize a model with `quantize_dynamic`, to signed weights; inferred shapes are cleared, or it fails."""
    model = onnx.load(path)
    del model.graph.value_info[:]
    bare, target = path.with_suffix(".bare.onnx"), path.with_suffix(".int8.onnx")
    onnx.save(model, bare)
    quantize_dynamic(bare, target, weight_type=QuantType.QInt8)
    bare.unlink()
    return target


def operators(path: Path) -> dict[str, int]:
    """Return how many nodes of each operator a graph has, those that move data aside."""
    moved = ("Constant", "Shape", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Split", "Gather")
    return dict(Counter(node.op_type for node in onnx.load(path).graph.node if node.op_type not in moved))


def stepper(path: Path) -> Callable[[int], NDArray[np.float32]]:
    """Return a function that steps a token through a model and carries its state, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    given = [each.name for each in session.get_inputs()]
    states = [np.zeros([int(axis) for axis in each.shape], np.float32) for each in session.get_inputs()[1:]]

    def step(token: int) -> NDArray[np.float32]:
        feeds = dict(zip(given, [np.array([[token]]), *states], strict=True))
        logits, *states[:] = session.run(None, feeds)
        return np.asarray(logits)[0, 0]

    return step


def stock_perplexity(path: Path, tokens: NDArray[np.int64]) -> float:
    """Return the perplexity per token of a text."""
    step = stepper(path)
    nats = 0.0
    for token, target in pairwise(tokens):
        logits = step(int(token)).astype(np.float64)
        nats += float(log_sum_exp(logits) - logits[target])
    return float(np.exp(nats / (len(tokens) - 1)))
