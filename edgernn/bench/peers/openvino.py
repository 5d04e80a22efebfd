"""OpenVINO on its native API: two requests with bound tensors that alternate between two sets of states."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgernn.bench.case import Case, Logits, Material, Precision, Tokens
from edgernn.bench.fastest import fastest
from edgernn.bench.peer import Peer, Step
from edgernn.bench.peers.step_model import fixed_file
from edgernn.bench.peers.stock_export import stock_export

if TYPE_CHECKING:
    import openvino


class OpenVinoPeer(Peer):
    """The faster of the stock export and the graph that edgernn exports; int8 weights by NNCF, in the latter."""

    name: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino", "nncf")
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "int8")

    def open(self, material: Material, precision: Precision) -> Step:
        case, plain = material.case, str(fixed_file(material))
        if precision == "int8":
            return _BoundStep(plain, case, compressed=True)
        stock = str(stock_export(material))
        return fastest([lambda: _BoundStep(plain, case), lambda: _BoundStep(stock, case)], case.batch)


class _BoundStep:
    """The step of an ONNX file. Mutable."""

    def __init__(self, path: str, case: Case, *, compressed: bool = False) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        if compressed:
            import nncf

            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": case.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(model, "CPU", settings)
        shapes = {each.any_name: tuple(each.shape) for each in compiled.inputs}
        tokens = shapes.pop("token")
        self._token = np.zeros(tokens, np.int64)
        self._logits = np.zeros(tuple(compiled.output("logits").shape), np.float32)
        self._rows = self._logits.reshape(case.batch, -1)
        self._sets = [{name: np.zeros(shape, np.float32) for name, shape in shapes.items()} for _ in range(2)]
        self._runs = [self._request(compiled, *order) for order in (self._sets, self._sets[::-1])]
        self._current = 0

    def __call__(self, tokens: Tokens) -> Logits:
        """Take a step."""
        self._token.reshape(-1)[...] = tokens
        self._runs[self._current]()
        self._current = 1 - self._current
        return self._rows

    def _request(
        self, compiled: "openvino.CompiledModel", read: Mapping[str, Logits], written: Mapping[str, Logits]
    ) -> Callable[[], object]:
        """Return a function that infers with this object's arrays bound."""
        import openvino
        from openvino._pyopenvino import InferRequest

        request = compiled.create_infer_request()
        next_states = {f"next_{name}": array for name, array in written.items()}
        bound = {"token": self._token, "logits": self._logits, **read, **next_states}
        for name, array in bound.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        infer = InferRequest.infer  # the public wrapper spends a microsecond on inputs that are bound already
        return lambda: infer(request, {}, share_outputs=True, decode_strings=False)
