"""The rules: one file per family of operators that have a meaning along time.

A rule is a function of the walk and a node of the original. It returns what is known of the node, having
written its step, or None where the operator does not touch time and may be copied as it is.
"""

from collections.abc import Mapping
from typing import Final

from torch._ops import OpOverload

from edgernn_export.lifting.rules import (
    convolution,
    cumulative,
    frames,
    joining,
    pooling,
    recurrent,
    reduction,
    shapes,
)
from edgernn_export.lifting.walk import Rule

RULES: Final[Mapping[OpOverload, Rule]] = {
    **convolution.RULES,
    **cumulative.RULES,
    **frames.RULES,
    **joining.RULES,
    **pooling.RULES,
    **recurrent.RULES,
    **reduction.RULES,
    **shapes.RULES,
}
