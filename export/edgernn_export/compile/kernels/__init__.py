"""Kernels in C, one a file, pasted into the source of a model that needs them."""

import re
from importlib.resources import files
from typing import Final

_NEEDS: Final = {
    **dict.fromkeys(("take", "take_elements", "take_int8", "take_int4"), ("row_index",)),
    **dict.fromkeys(("exp_f32", "sigmoid_f32"), ("exp_inside_f32",)),
    **dict.fromkeys(("softmax", "log_softmax"), ("exp_f32", "reduce_max", "reduce_sum")),
    "sample_temperature": ("softmax", "cumulative_sum", "first_reaching_f32"),
    "sample_filters": ("softmax", "cumulative_sum", "first_reaching_f32", "rank_tokens"),
    "rank_tokens": ("ordered_bits",),
}
"""What a kernel calls."""


KERNEL_FUNCTIONS: Final = frozenset(
    name
    for file in files(__name__).iterdir()
    if file.name.endswith(".c")
    for name in re.findall(r"^static [^;={]*?\b(\w+)\([^()]*\) \{", file.read_text(), re.MULTILINE)
)
"""The names that the kernels take."""


def kernel_text(names: set[str]) -> str:
    """Return the kernels of these names, and those that they call, in an order in which C takes them."""
    known: dict[str, str] = {}

    def add(name: str) -> None:
        for need in _NEEDS.get(name, ()):
            add(need)
        known.setdefault(name, files(__name__).joinpath(f"{name}.c").read_text())

    for name in sorted(names):
        add(name)
    return "\n".join(known.values())
