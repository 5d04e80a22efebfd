"""The sampler at the end of a step graph: from logits and noise to the next token.

It chooses as `edgernn_runtime.Sampler` does, from the same noise. The first token whose cumulative probability
reaches the noise is the first maximum of the smaller of the two, so that no comparison, cast or sum is needed, and no
rounding of the total can choose a token without probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgernn_runtime.engine import Engine
from edgernn_runtime.errors import ExportError, ParityError
from edgernn_runtime.graph_sampler import COLDEST, CUMULATIVE, NEXT_TOKEN, NOISE, TEMPERATURE, TOP_K, TOP_P
from edgernn_runtime.model import Model
from edgernn_runtime.noise import uniforms
from edgernn_runtime.sampling import GRAIN, GREEDY, Sampler
from edgernn_runtime.spec import Spec, TensorSpec

Sampling = Literal["temperature", "filters"]
"""What a graph's sampler has: a temperature, or top-k and top-p as well."""

CHECKED_STEPS: Final = 256

PREFIX: Final = "sampler."
"""How the names of a sampler's nodes begin."""

_NEAR: Final = 1e-5
"""How far a uniform lies from the edge between two tokens that rounding may decide, at most."""

_TYPES: Final = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
_Node = tuple[str, str, str, Mapping[str, int]]
"""Operator, inputs, outputs and attributes of a node."""

_ACROSS: Final[Mapping[str, int]] = {"axis": 1}


def _distribution(cumulative: str) -> tuple[_Node, ...]:
    """Return the nodes from logits to cumulative probabilities of a name."""
    return (
        ("Max", "temperature coldest", "divisor", {}),
        ("Div", "logits divisor", "scaled", {}),
        ("Softmax", "scaled", "probabilities", _ACROSS),
        ("CumSum", "probabilities axis", cumulative, {}),
    )


_NODES: Final[Mapping[Sampling, Sequence[_Node]]] = {
    # in the order of the vocabulary
    "temperature": (
        *_distribution("cumulative"),
        ("Min", "cumulative noise", "reached", {}),
        ("ArgMax", "reached", "next_token", {"axis": 1, "keepdims": 0}),
    ),
    # from the most probable token down, among those that top-k and top-p keep
    "filters": (
        ("ReduceMax", "top_k first", "largest_k", {"keepdims": 0}),
        ("Max", "largest_k one", "size", {}),
        ("TopK", "all_logits size", "logits order", _ACROSS),
        *_distribution("ranked"),
        ("Sub", "top_k one", "last_k", {}),
        ("GatherElements", "ranked last_k", "mass_k", _ACROSS),
        ("Mul", "mass_k top_p", "mass_p", {}),
        ("Min", "ranked mass_p", "reached_p", {}),
        ("ArgMax", "reached_p", "last", {"axis": 1, "keepdims": 1}),
        ("GatherElements", "ranked last", "cumulative", _ACROSS),
        ("Mul", "cumulative noise", "wanted", {}),
        ("Min", "ranked wanted", "reached", {}),
        ("ArgMax", "reached", "rank", {"axis": 1, "keepdims": 1}),
        ("GatherElements", "order rank", "chosen", _ACROSS),
        ("Squeeze", "chosen one", "next_token", {}),
    ),
}
_CONSTANTS: Final[Mapping[str, NDArray[np.generic]]] = {
    "coldest": np.array([COLDEST], np.float32),
    "axis": np.array(1, np.int64),
    "one": np.array([1], np.int64),
    "first": np.array([0], np.int64),
}


def add_sampler(model: onnx.ModelProto, spec: Spec, sampling: Sampling) -> Spec:
    """Put a sampler behind the logits of a step graph, in place.

    Args:
        model: The graph of one step; its metadata stay as they are.
        spec: Its Spec.
        sampling: What the sampler has.

    Returns:
        The Spec with the sampler's inputs and outputs.

    Raises:
        ExportError: If the model generates no tokens.
    """
    check_samples(spec)
    inputs, outputs = _interface(spec, sampling)
    nodes = _nodes(sampling, spec)
    used = {name for node in nodes for name in node.input}
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, PREFIX + name) for name, array in _CONSTANTS.items() if PREFIX + name in used
    )
    model.graph.input.extend(map(_value, inputs))
    model.graph.output.extend(map(_value, outputs))
    return replace(spec, inputs=(*spec.inputs, *inputs), outputs=(*spec.outputs, *outputs))


def check_samples(spec: Spec) -> None:
    """Check that a model can have a sampler; ExportError if it generates no tokens."""
    if not spec.vocabulary:
        raise ExportError("only a model that generates tokens can sample in its graph, and this one does not")


def check_sampler(engine: Engine, sampling: Sampling, *, seed: int = 0) -> None:
    """Check a graph's sampler against the runtime's along a stream that it generates.

    Args:
        engine: The model, opened.
        sampling: What its sampler has.
        seed: The seed of the noise.

    Raises:
        ParityError: If they choose different tokens where no rounding explains it.
    """
    samplers = [Sampler(0.7), Sampler(1.3), GREEDY]
    if sampling == "filters":
        samplers += [Sampler(0.9, top_k=3), Sampler(1.0, top_p=0.8), Sampler(1.1, top_k=5, top_p=0.9)]
    stream = Model(engine).stream(seed=seed, sampler=samplers[0])
    stream.prefill([engine.spec.feedback.start or 0] if engine.spec.feedback else [0])
    noise, ranked = uniforms(seed, 0, CHECKED_STEPS), sampling == "filters"
    for step in range(CHECKED_STEPS):
        sampler = stream.sampler = samplers[step % len(samplers)]
        found = next(stream.generate(1, stop=()))
        logits = np.asarray(stream.output(engine.spec.main_output.name), np.float32)
        expected = sampler.sample(logits, float(noise[step]), ranked=ranked)
        if found == expected:
            continue
        if _edge(logits, sampler, float(noise[step]), (found, expected), ranked=ranked) > _NEAR:
            raise ParityError(f"the graph chose token {found} at step {step}, its logits and noise give {expected}")


def _edge(
    logits: NDArray[np.float32], sampler: Sampler, uniform: float, tokens: tuple[int, int], *, ranked: bool
) -> float:
    """Return how far the uniform lies from the farthest edge between two tokens; 0 where rounding decides otherwise."""
    if logits[tokens[0]] == logits[tokens[1]]:
        return 0.0
    if sampler.temperature == 0:
        return float("inf")
    every = np.sort(replace(sampler, top_p=1.0).probabilities(logits))[::-1].cumsum(dtype=np.float64)
    if sampler.top_p < 1 and np.abs(every / every[-1] - sampler.top_p).min() <= _NEAR:
        return 0.0
    order = np.argsort(-logits, kind="stable") if ranked else np.arange(logits.size)
    cumulative = sampler.probabilities(logits)[order].cumsum(dtype=np.float64)
    first, last = sorted(int(np.flatnonzero(order == token)[0]) for token in tokens)
    return float(np.abs(cumulative[first:last] / cumulative[-1] - uniform - GRAIN).max())


def _interface(spec: Spec, sampling: Sampling) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Return the inputs and the outputs that a sampler adds."""
    tokens, logits = spec.main_input, spec.main_output
    one = (tokens.shape[0], 1)
    inputs = [TensorSpec(NOISE, "float32", one, "noise"), TensorSpec(TEMPERATURE, "float32", one, "control")]
    if sampling == "filters":
        inputs += [TensorSpec(TOP_K, "int64", one, "control"), TensorSpec(TOP_P, "float32", one, "control")]
    outputs = [
        TensorSpec(NEXT_TOKEN, tokens.dtype, tokens.shape, "token", size=spec.vocabulary),
        TensorSpec(CUMULATIVE, "float32", one if sampling == "filters" else logits.shape, "cumulative"),
    ]
    return inputs, outputs


def _nodes(sampling: Sampling, spec: Spec) -> list[onnx.NodeProto]:
    """Return the nodes of a sampler; names of what is only the sampler's begin with `sampler.`."""
    names = {name: name for name in (NOISE, TEMPERATURE, TOP_K, TOP_P, NEXT_TOKEN, CUMULATIVE)}
    names["all_logits" if sampling == "filters" else "logits"] = spec.main_output.name

    def named(text: str) -> list[str]:
        return [names.get(name, PREFIX + name) for name in text.split()]

    nodes = []
    for operator, inputs, outputs, attributes in _NODES[sampling]:
        node = helper.make_node(operator, named(inputs), named(outputs), PREFIX + outputs.split()[0])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        nodes.append(node)
    if spec.main_input.dtype != "int64":
        nodes[-1].output[0] = f"{PREFIX}token"
        cast = helper.make_node("Cast", [f"{PREFIX}token"], [NEXT_TOKEN], to=_TYPES[spec.main_input.dtype])
        nodes.append(cast)
    return nodes


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], list(tensor.shape))
