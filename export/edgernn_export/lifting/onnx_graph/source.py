"""Lifting an ONNX file over sequences: the graph as it is in ONNX Runtime is what the step is proved against."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from onnx import ModelProto
from torch import Tensor

from edgernn_export.lifting.onnx_graph.values import Host
from edgernn_runtime.errors import EngineError, ModelFileError, first_line


class OnnxSource:
    """An ONNX model over whole sequences, computed by ONNX Runtime. Immutable."""

    def __init__(self, model: ModelProto, path: Path, names: Sequence[str], fixed: Mapping[str, Host]) -> None:
        """Open a model.

        Args:
            model: The model.
            path: The file that it came from.
            names: The inputs that the tensors of `run` are for, in order.
            fixed: Values of the other inputs.

        Raises:
            ModelFileError: If ONNX Runtime cannot open it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelFileError(f"{path} cannot be opened by ONNX Runtime: {first_line(error)}") from error
        self._path, self._names, self._fixed = path, tuple(names), dict(fixed)

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs for one tensor per argument.

        Raises:
            EngineError: If the model does not take them.
        """
        feeds = {name: tensor.numpy() for name, tensor in zip(self._names, tensors, strict=True)}
        try:
            results = self._session.run(None, {**feeds, **self._fixed})
        except Exception as error:
            raise EngineError(f"ONNX Runtime could not run {self.name}: {first_line(error)}") from error
        return [torch.from_numpy(np.array(each)) for each in results]
