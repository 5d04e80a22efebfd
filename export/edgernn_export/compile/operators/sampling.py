"""The sampler at the end of a graph: one call in place of its nodes, whose shapes depend on top-k."""

from typing import Final

from edgernn_export.compile.builder import Builder
from edgernn_export.compile.program import C_TYPES
from edgernn_runtime.graph_sampler import CUMULATIVE, NEXT_TOKEN, NOISE, TEMPERATURE, TOP_K, TOP_P
from edgernn_runtime.spec import Spec

GROUP_TOKENS: Final = 16
"""Of how many tokens the kernel `rank_tokens` keeps the best one."""


def bind_sampler(builder: Builder, spec: Spec) -> None:
    """Bind the outputs of a graph's sampler.

    Args:
        builder: The program, up to the logits.
        spec: A Spec with a sampler.
    """
    sampler = spec.graph_sampler
    assert sampler is not None  # noqa: S101, the caller has seen to it
    count = sampler.vocabulary
    names = [NOISE, TEMPERATURE, TOP_K, TOP_P] if sampler.filters else [NOISE, TEMPERATURE]
    operands = {name: builder.stored(builder.tensor(name)) for name in names}
    operands["logits"] = builder.stored(builder.tensor(spec.main_output.name))
    operands["cumulative"] = builder.scratch((1, 1 if sampler.filters else count), "float32", "cumulative")
    operands["token"] = builder.scratch((1,), "int64", "chosen")
    writes = ["cumulative", "token"]
    if sampler.filters:
        groups = -(-count // GROUP_TOKENS)
        operands["keys"] = builder.scratch((groups * GROUP_TOKENS,), "int32", "keys")
        operands["heap"] = builder.scratch((groups,), "int64", "heap")
        operands["tokens"] = builder.scratch((count,), "int32", "tokens")
        operands["ranked"] = builder.scratch((count,), "float32", "ranked")
        writes += ["keys", "heap", "tokens", "ranked"]
        given = f"{{{NOISE}}}, {{{TEMPERATURE}}}, {{{TOP_K}}}, {{{TOP_P}}}, {{keys}}, {{heap}}, {{tokens}}, {{ranked}}"
        call = f"sample_filters({{logits}}, {given}, {{cumulative}}, {{token}}, {count});"
    else:
        call = f"sample_temperature({{logits}}, {{{NOISE}}}, {{{TEMPERATURE}}}, {{cumulative}}, {{token}}, {count});"
    dtypes = {"token": "int64", "keys": "int32", "heap": "int64", "tokens": "int32", TOP_K: "int64"}
    builder.call(call, operands, writes=writes, kernels=[call.partition("(")[0]], dtypes=dtypes)
    builder.bind(CUMULATIVE, operands["cumulative"])
    token, dtype = operands["token"], spec.main_input.dtype
    if dtype != "int64":
        token = builder.pointwise(f"({C_TYPES[dtype]}){{0}}", token, dtype=dtype, name="token")
    builder.bind(NEXT_TOKEN, token)
