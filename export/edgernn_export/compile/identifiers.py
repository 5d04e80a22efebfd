"""Identifiers: names as C and C++ can have them."""

import re
from typing import Final

_KEYWORDS: Final = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while class new "
    "delete template typename this public private protected friend virtual operator namespace using try catch throw "
    "bool true false and or not xor bitand bitor compl export explicit mutable nullptr constexpr static_assert asm"
)
_LIBRARY: Final = (
    "exp log sin cos tan sqrt pow tanh sinh cosh floor ceil round index y0 y1 yn j0 j1 jn gamma main null infinity nan"
)
_OURS: Final = "state stream call result unit row column plane codes scales sums sum i offsets"
_RESERVED: Final = frozenset(f"{_KEYWORDS} {_LIBRARY} {_OURS}".split())
"""What C, C++, their library, and generated functions call something else."""

_TAKEN: Final = frozenset({"edgernn", "draw", "math", "string", "stdint", "stddef", "stdlib", "stdio"})
"""What functions and headers of others begin with."""

_LONGEST: Final = 40


def identifier(name: str) -> str:
    """Return a name as C can have it, in lower case.

    >>> identifier("layers.0.weight_ih.T")
    'layers_0_weight_ih_t'
    """
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()[:_LONGEST].strip("_") or "value"
    if plain[0].isdigit() or re.fullmatch(r"index_\d+", plain):
        return f"value_{plain}"
    return f"{plain}_value" if plain in _RESERVED else plain


def prefix(name: str) -> str:
    """Return what the functions of a model begin with.

    >>> prefix("model.int8"), prefix("edgernn")
    ('model_int8', 'edgernn_model')
    """
    plain = identifier(name)
    return f"{plain}_model" if plain in _TAKEN else plain
