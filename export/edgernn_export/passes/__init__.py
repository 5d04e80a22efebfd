"""Graph passes: one rewrite of a step graph per file.

A pass takes a model, changes it in place and returns whether it changed anything. Each keeps what the
graph computes, up to the rounding of sums that it reorders, and each works alone; together, in the order
of `PASSES`, they turn what torch exports into the fewest nodes that compute the step.
"""

from collections.abc import Callable
from typing import Final

import onnx_ir as ir
from onnx_ir.passes import common

from edgernn_export.passes.drop_sequence_axis import drop_sequence_axis
from edgernn_export.passes.fold_biases import fold_biases
from edgernn_export.passes.merge_gates import merge_gates
from edgernn_export.passes.merge_products import merge_products
from edgernn_export.passes.split_gemm import split_gemm
from edgernn_export.passes.token_table import token_table

Pass = Callable[[ir.Model], bool]

PASSES: Final[tuple[Pass, ...]] = (
    drop_sequence_axis,
    split_gemm,
    token_table,
    fold_biases,
    merge_products,
    merge_gates,
)


def optimize(model: ir.Model) -> tuple[str, ...]:
    """Run every pass on `model`, tidy up, and return the names of the passes that changed something."""
    changed = tuple(each.__name__ for each in PASSES if each(model))
    tidy(model)
    return changed


def tidy(model: ir.Model) -> None:
    """Drop what nothing uses, doc strings, and the exporter's notes (which hold paths of this machine)."""
    for each in (
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
        common.NameFixPass(),
    ):
        each(model)
