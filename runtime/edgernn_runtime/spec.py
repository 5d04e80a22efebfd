"""Spec: what a model file says of itself.

The Spec is the contract between the exporter and every runtime: the names, shapes and roles of a step
graph's tensors, which output state becomes which input state, and what makes the model generative.
The format is described field by field in `docs/format.md`; `spec_json` reads and writes it.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.codecs import (
    ByteCodec,
    CharacterCodec,
    Codec,
    ImageCodec,
    LabelCodec,
    MelCodec,
    SeriesCodec,
    SymbolCodec,
    TextCodec,
)
from edgernn_runtime.distributions import PARAMETER_AXES
from edgernn_runtime.errors import SpecError
from edgernn_runtime.graph_sampler import CUMULATIVE, DTYPES, NEXT_TOKEN, TOP_K, GraphSampler

BATCH: Final = "batch"
FLUSH: Final = "flush"
"""The input, a control, that is 1 once the sequence has ended and outputs that lag behind are asked for."""

Role = Literal["token", "frame", "condition", "latent", "control", "noise", "logits", "params", "cumulative"]
Distribution = Literal["categorical", "bernoulli", "gaussian", "logistic_mixture", "none"]
BatchMode = Literal["dynamic", 1]
Axis = int | str

Dtype = Literal["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a step graph.

    Attributes:
        name: The tensor's name in the graph.
        dtype: The name of a numpy dtype.
        shape: The axes; axis 0 is the batch: `"batch"` where it is dynamic, else 1.
        role: What the tensor means.
        size: For integers, the number that they lie below, from 0 on; None if it is not known.
        frames: Elements along time in one step; axis 1 counts them where there are several.
    """

    name: str
    dtype: Dtype
    shape: tuple[Axis, ...]
    role: Role
    size: int | None = None
    frames: int = 1

    def sized(self, batch: int) -> tuple[int, ...]:
        """Return the shape for a batch of `batch`."""
        return sized(self.shape, batch)

    def zero(self) -> NDArray[np.generic]:
        """Return zeros of one batch row, as a stream's step takes them: for a token, token 0."""
        return np.zeros(self.sized(1)[1:], self.dtype)


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One tensor that is carried from step to step.

    Attributes:
        input: The graph input that takes the state.
        output: The graph output that gives the next one.
        dtype: The name of a numpy dtype.
        shape: The axes; axis 0 is the batch.
        initial: The values at reset of one batch row, flattened; None for zeros.
    """

    input: str
    output: str
    dtype: Dtype
    shape: tuple[Axis, ...]
    initial: tuple[float, ...] | None = None

    def sized(self, batch: int) -> tuple[int, ...]:
        """Return the shape for a batch of `batch`."""
        return sized(self.shape, batch)

    def initial_array(self, batch: int) -> NDArray[np.generic]:
        """Return the state at reset, a new array of `sized(batch)`."""
        shape = self.sized(batch)
        if self.initial is None:
            return np.zeros(shape, self.dtype)
        row = np.array(self.initial, self.dtype).reshape(shape[1:])
        return np.broadcast_to(row, shape).copy()


@dataclass(frozen=True, slots=True)
class Feedback:
    """Which output, sampled, becomes which input of the next step.

    Attributes:
        output: The name of the output that is sampled.
        input: The name of the input that takes the sample.
        start: The token that begins a stream without a prompt, or the number that fills its first frame; None if
            there is none.
    """

    output: str
    input: str
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """What the exporter measured between the step model and its source.

    Attributes:
        steps: The number of steps compared.
        max_abs: The largest absolute difference in any output.
    """

    steps: int
    max_abs: float


@dataclass(frozen=True, slots=True)
class Producer:
    """What wrote the file: versions of edgernn and torch, and the graph's ONNX opset."""

    edgernn: str
    torch: str
    opset: int


_TOKENS: Final = ("int64", "int32")

UNEXPORTED: Final = Producer(edgernn="", torch="", opset=0)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a model file says of itself.

    Attributes:
        inputs: The graph's inputs that are not states.
        outputs: The graph's outputs that are not states.
        states: The states, in the order in which a snapshot stores them.
        producer: What wrote the file; the exporter fills this in, like all that follows from weights.
        source_sha256: SHA-256 of the source's weights.
        distribution: How the feedback output parametrises what is sampled.
        feedback: What makes the model generative; None for a model that only listens.
        codec: What its numbers mean: how tokens become text, or values pictures, series or labels; None if unknown.
        batch: `"dynamic"`, or 1 for a graph that takes no more.
        rate_hz: Frames a second, for signals; None elsewhere.
        frames_per_step: Frames that one step takes.
        delay_steps: Steps by which outputs lag behind their inputs.
        precision: `float32`, `int8`, `int4`, `int8-portable`, `fp16` or `mixed`: how weights are stored.
        lowering: Which operators a cell became: `cell`, plain ones, or `fused`, LSTM, GRU and RNN.
        weight_bytes: Bytes of weights that one step reads at batch 1.
        parity: What the exporter measured; no part of the model's identity.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...]
    producer: Producer = UNEXPORTED
    source_sha256: str = ""
    distribution: Distribution = "none"
    feedback: Feedback | None = None
    codec: Codec | None = None
    batch: BatchMode = "dynamic"
    rate_hz: float | None = None
    frames_per_step: int = 1
    delay_steps: int = 0
    precision: str = "float32"
    lowering: str = "cell"
    weight_bytes: int = 0
    parity: Parity | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.rate_hz is not None:
            object.__setattr__(self, "rate_hz", float(self.rate_hz))  # so that its JSON reads back as it was
        _check(self)

    @property
    def vocabulary(self) -> int:
        """The number of tokens of a generative token model; 0 for other models."""
        if self.feedback is None or self.distribution != "categorical":
            return 0
        return int(self.main_output.shape[-1])

    @property
    def text_codec(self) -> TextCodec | None:
        """The codec, if it is one of text."""
        return self.codec if isinstance(self.codec, CharacterCodec | ByteCodec | SymbolCodec) else None

    @property
    def end(self) -> int | None:
        """The token that ends what is generated; None if the codec has none."""
        return self.codec.end if isinstance(self.codec, SymbolCodec) and self.vocabulary else None

    @property
    def main_input(self) -> TensorSpec:
        """The input that a stream feeds at each step: the fed-back one, else the first that is no noise."""
        if self.feedback is not None:
            return self.input(self.feedback.input)
        return next((tensor for tensor in self.inputs if tensor.role != "noise"), self.inputs[0])

    @property
    def main_output(self) -> TensorSpec:
        """The output that a stream returns: the fed-back one, else the first."""
        return self.outputs[0] if self.feedback is None else self.output(self.feedback.output)

    @property
    def graph_sampler(self) -> GraphSampler | None:
        """The sampler that the graph ends with; None if it ends with what the model computes."""
        if not any(tensor.role == "token" for tensor in self.outputs):
            return None
        filters = any(tensor.name == TOP_K for tensor in self.inputs)
        return GraphSampler(int(self.main_output.shape[-1]), filters=filters)

    @property
    def unsampled(self) -> "Spec":
        """The Spec of what the model computes, without the tensors of a sampler in its graph."""
        sampler = self.graph_sampler
        if sampler is None:
            return self
        return replace(
            self,
            inputs=tuple(tensor for tensor in self.inputs if tensor.name not in sampler.inputs),
            outputs=tuple(tensor for tensor in self.outputs if tensor.name not in sampler.outputs),
        )

    @property
    def side_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs beside the main one that a caller sets; a sampler's are not among them, and no noise."""
        main = self.main_input
        return tuple(tensor for tensor in self.unsampled.inputs if tensor != main and tensor.role != "noise")

    @property
    def noise_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that take the uniforms of a model that draws in its graph; a sampler's is not among them."""
        return tuple(tensor for tensor in self.unsampled.inputs if tensor.role == "noise")

    @property
    def draws_tokens(self) -> bool:
        """Whether tokens are drawn from its logits, and its graph draws nothing itself."""
        return self.vocabulary > 0 and self.graph_sampler is None and not self.noise_inputs

    def input(self, name: str) -> TensorSpec:
        """Return the input called `name`; KeyError if there is none."""
        return {tensor.name: tensor for tensor in self.inputs}[name]

    def output(self, name: str) -> TensorSpec:
        """Return the output called `name`; KeyError if there is none."""
        return {tensor.name: tensor for tensor in self.outputs}[name]


def flush_input(spec: Spec) -> str | None:
    """Return the name of the input that tells a step that the sequence has ended; None if it has none."""
    return next((each.name for each in spec.inputs if each.name == FLUSH and each.role == "control"), None)


def sized(shape: tuple[Axis, ...], batch: int) -> tuple[int, ...]:
    """Return `shape` with its dynamic axis set to `batch`.

    >>> sized(("batch", 256), 3)
    (3, 256)
    """
    return tuple(batch if axis == BATCH else int(axis) for axis in shape)


def _check(spec: Spec) -> None:
    """Raise a SpecError that names the first field that does not fit the others."""
    if not spec.inputs or not spec.outputs:
        raise SpecError("a step model needs an input and an output")
    first = BATCH if spec.batch == "dynamic" else 1
    parts: list[TensorSpec | StateSpec] = [*spec.inputs, *spec.outputs, *spec.states]
    for part in parts:
        name = part.input if isinstance(part, StateSpec) else part.name
        rest = part.shape[1:]
        if part.shape[:1] != (first,) or not all(isinstance(axis, int) and axis > 0 for axis in rest):
            raise SpecError(f"{name}.shape must be {first!r} and then positive integers, got {list(part.shape)}")
    for state in spec.states:
        if state.dtype in ("float16", "float64"):
            raise SpecError(f"{state.input}.dtype must be float32, or an integer's or bool, got {state.dtype}")
        size = int(np.prod(state.sized(1)))
        if state.initial is not None and len(state.initial) != size:
            raise SpecError(f"{state.input}.initial must hold {size} numbers, got {len(state.initial)}")
    graph_inputs = [*(tensor.name for tensor in spec.inputs), *(state.input for state in spec.states)]
    graph_outputs = [*(tensor.name for tensor in spec.outputs), *(state.output for state in spec.states)]
    for names in (graph_inputs, graph_outputs):
        if len(set(names)) != len(names):
            raise SpecError(f"two tensors share a name: {', '.join(sorted(names))}")
    _check_numbers(spec)
    _check_feedback(spec)
    _check_sampler(spec)
    _check_codec(spec)


def _check_numbers(spec: Spec) -> None:
    for tensor in (*spec.inputs, *spec.outputs):
        if tensor.frames < 1 or (tensor.frames > 1 and tensor.shape[1:2] != (tensor.frames,)):
            raise SpecError(f"{tensor.name}.frames is {tensor.frames}, but its shape is {list(tensor.shape)}")
        if tensor.size is not None and (tensor.size < 1 or np.dtype(tensor.dtype).kind == "f"):
            raise SpecError(f"{tensor.name}.size must be positive, and for integers only, got {tensor.size}")
    for name, least in (("frames_per_step", 1), ("delay_steps", 0), ("weight_bytes", 0)):
        if getattr(spec, name) < least:
            raise SpecError(f"{name} must be {least} at least, got {getattr(spec, name)}")
    for tensor in spec.noise_inputs:
        if tensor.dtype != "float32" or len(tensor.shape) != 2 or tensor == spec.main_input:
            raise SpecError(
                f"{tensor.name} is noise, so it must be float32 of the batch and a number of uniforms, beside another "
                f"input, got {tensor.dtype}{list(tensor.shape)}"
            )
    if spec.rate_hz is not None and not 0 < spec.rate_hz < math.inf:
        raise SpecError(f"rate_hz must be positive and finite, got {spec.rate_hz}")


def _check_feedback(spec: Spec) -> None:
    feedback = spec.feedback
    if feedback is None:
        return
    if feedback.output not in {tensor.name for tensor in spec.outputs}:
        raise SpecError(f"feedback.output names {feedback.output}, which is no output")
    if feedback.input not in {tensor.name for tensor in spec.inputs}:
        raise SpecError(f"feedback.input names {feedback.input}, which is no input")
    if spec.distribution == "categorical":
        _check_tokens(spec, feedback)
    else:
        _check_frames(spec, feedback)


def _check_tokens(spec: Spec, feedback: Feedback) -> None:
    """Check a model whose tokens are drawn from its logits."""
    if len(spec.main_output.shape) != 2:
        raise SpecError(f"{feedback.output}.shape must be batch and vocabulary, got {list(spec.main_output.shape)}")
    if spec.main_output.dtype != "float32":
        raise SpecError(f"{feedback.output}.dtype must be float32, got {spec.main_output.dtype}")
    if spec.main_input.dtype not in _TOKENS or len(spec.main_input.shape) != 1:
        raise SpecError(f"{feedback.input} must be int64 or int32 of the batch alone, as tokens are")
    size = spec.vocabulary
    if spec.main_input.size not in (None, size):
        raise SpecError(f"{feedback.input}.size is {spec.main_input.size}, but {feedback.output} has {size} tokens")
    if feedback.start is not None and not 0 <= feedback.start < size:
        raise SpecError(f"feedback.start must lie in 0..{size - 1}, got {feedback.start}")


def _check_sampler(spec: Spec) -> None:
    """Check the tensors of a sampler in the graph against what the model takes and gives."""
    sampler = spec.graph_sampler
    if sampler is None:
        return
    if not spec.vocabulary:
        raise SpecError("a graph that samples must be a generative model of tokens")
    given = {tensor.name: tensor for tensor in spec.inputs}
    for name in sampler.inputs:
        if name not in given or given[name].shape[1:] != (1,) or given[name].dtype != DTYPES[name]:
            raise SpecError(f"a graph that samples needs the input {name}, {DTYPES[name]} of the batch and 1")
    for name in sampler.outputs:
        if name not in {tensor.name for tensor in spec.outputs}:
            raise SpecError(f"a graph that samples needs the output {name}")
    token, cumulative = spec.output(NEXT_TOKEN), spec.output(CUMULATIVE)
    if (token.dtype, token.shape) != (spec.main_input.dtype, spec.main_input.shape):
        raise SpecError(f"{NEXT_TOKEN} must be as {spec.main_input.name} is, got {token.dtype}{list(token.shape)}")
    if cumulative.dtype != "float32" or cumulative.shape[1:] not in ((1,), spec.main_output.shape[1:]):
        raise SpecError(f"{CUMULATIVE} must be float32 of the batch and the vocabulary or 1, got {cumulative.shape}")


def _check_frames(spec: Spec, feedback: Feedback) -> None:
    """Check a model whose frames are drawn from the parameters that it gives."""
    value, parameters = spec.main_input, spec.main_output
    if (value.dtype, parameters.dtype) != ("float32", "float32"):
        raise SpecError(
            f"{feedback.input} and {feedback.output} must be float32, got {value.dtype}, {parameters.dtype}"
        )
    axes = PARAMETER_AXES[spec.distribution]
    shape, behind = parameters.shape[: len(parameters.shape) - axes], parameters.shape[len(parameters.shape) - axes :]
    if shape != value.shape or behind[-1:] not in ((), ({1: 2, 2: 3}.get(axes),)):
        raise SpecError(
            f"{feedback.output}.shape must hold {spec.distribution} parameters of {feedback.input} "
            f"{list(value.shape)}, got {list(parameters.shape)}"
        )


def _check_codec(spec: Spec) -> None:
    """Check that the codec is one of as many tokens, labels, columns or pixels as the model has."""
    codec = spec.codec
    if codec is None:
        return
    if isinstance(codec, ImageCodec) and not spec.vocabulary:
        tensor = spec.main_output if spec.feedback is None else spec.main_input
        size = int(np.prod(tensor.sized(1)))
        if codec.pixels % size:
            raise SpecError(f"codec has {codec.pixels} pixels, which {tensor.name} of {size} does not fill")
        return
    if isinstance(codec, MelCodec):
        sizes = [each.sized(1)[1:] for each in (spec.main_input, spec.main_output)]
        if (codec.size,) not in sizes:
            raise SpecError(f"codec has frames of {codec.size} numbers, and neither main input nor main output has")
        return
    tensor, what = _described(spec, codec)
    size = tensor.size or (tensor.sized(1)[1:] or (1,))[-1]
    if codec.size != size:
        raise SpecError(f"codec has {codec.size} {what}, but {tensor.name} has {size}")
    if isinstance(codec, SymbolCodec) and spec.feedback is not None and spec.feedback.start != codec.begin:
        raise SpecError(f"feedback.start is {spec.feedback.start}, but codec.begin is {codec.begin}")


def _described(spec: Spec, codec: Codec) -> tuple[TensorSpec, str]:
    """Return the tensor whose numbers a codec describes, and what they are called."""
    if isinstance(codec, LabelCodec):
        return spec.main_output, "labels"
    if isinstance(codec, SeriesCodec):
        return spec.main_input, "columns"
    reads = spec.feedback is None and spec.main_input.size is not None
    return spec.main_input if reads else spec.main_output, "tokens"
