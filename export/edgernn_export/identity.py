"""Hashes that say which weights a model has."""

import hashlib
from typing import TYPE_CHECKING

import onnx

from edgernn_runtime.spec import Spec
from edgernn_runtime.spec_json import identity_json

if TYPE_CHECKING:
    from torch import nn


def weights_sha256(module: "nn.Module") -> str:
    """Return the SHA-256 of a module's parameters and buffers: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def model_id(spec: Spec, model: onnx.ModelProto) -> str:
    """Return the SHA-256 of the Spec, without its parity figures, and of the graph's weights."""
    digest = hashlib.sha256(identity_json(spec).encode())
    for tensor in sorted(model.graph.initializer, key=lambda each: each.name):
        digest.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}\n".encode())
        digest.update(onnx.numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()
