"""The operators that compiled models have: for each, how it becomes expressions, views or calls of kernels.

A new operator is an entry in one of these files' tables, and where it needs one, a kernel in `kernels/`.
"""

from collections.abc import Mapping
from typing import Final

from edgernn_export.compile.builder import Operator
from edgernn_export.compile.operators import (
    convolutions,
    lookups,
    pointwise,
    products,
    quantization,
    recurrent,
    reductions,
    shapes,
)

OPERATORS: Final[Mapping[str, Operator]] = {
    **pointwise.OPERATORS,
    **shapes.OPERATORS,
    **products.OPERATORS,
    **lookups.OPERATORS,
    **reductions.OPERATORS,
    **convolutions.OPERATORS,
    **recurrent.OPERATORS,
    **quantization.OPERATORS,
}
"""By operator type, with the domain in front where it is not ONNX's own."""
