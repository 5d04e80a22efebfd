"""Formats: how one weight matrix is stored, and what a precision stores where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from edgernn_export.quantization.blocks import Bits
from edgernn_export.quantization.source import Source

Precision = Literal["int8", "int4", "int8-portable", "fp16", "mixed"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Codes of few bits, with a scale and a zero point for each block.

    Attributes:
        bits: Bits of a weight.
        block: Weights along the input that share a scale.
    """

    bits: Bits
    block: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"int{self.bits}"


@dataclass(frozen=True, slots=True)
class Portable:
    """Eight bits and one scale for each output, between standard operators: QuantizeLinear and DequantizeLinear."""

    name: Literal["int8-portable"] = "int8-portable"


@dataclass(frozen=True, slots=True)
class Half:
    """Half precision, made single precision again when the model is loaded."""

    name: Literal["fp16"] = "fp16"


Format = Blocked | Portable | Half
Plan = Mapping[str, Format]
"""The formats of weight matrices by name; those that are not named stay float32."""

INT8: Final = Blocked(8, 128)
INT4: Final = Blocked(4, 128)

_SMALL_SHARE: Final = 1 / 8


def plan_of(precision: Precision, source: Source) -> Plan:
    """Return what a precision stores where.

    int4 keeps tables, and products that no state depends on, in int8 where those are a small share of the weights:
    errors there go straight into the output, and the bytes hardly count. So are stages that quality is not measured of.

    Args:
        precision: The precision; not `mixed`, which is searched.
        source: The model.
    """
    weights = source.weights
    if precision != "int4":
        forms: Mapping[Precision, Format] = {"int8-portable": Portable(), "fp16": Half()}
        return dict.fromkeys(weights, forms.get(precision, INT8))
    products = {name: each.array.size for name, each in weights.items() if each.kind == "product"}
    heads = {name: size for name, size in products.items() if not weights[name].leads_to_state}
    spared = set(heads) if sum(heads.values()) <= _SMALL_SHARE * sum(products.values()) else set()
    coarse = {name for name in products if name not in spared and source.judged(name)}
    return {name: INT4 if name in coarse else INT8 for name in weights}
