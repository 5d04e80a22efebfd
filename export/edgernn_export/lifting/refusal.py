"""Refusals: why a module has no step form, where it is in the module, and what can be done."""

import re
from typing import Final

from torch import fx

from edgernn_export.lifting.nodes import operator_name
from edgernn_runtime.errors import LiftError

_LINE: Final = re.compile(r'File "([^"]+)", line (\d+)')
_LIBRARY: Final = ("/torch/", "<")


def refusal(node: fx.Node, reason: str, remedy: str = "") -> LiftError:
    """Return the error for an operator of the original: its place, the operator, the reason, the remedy."""
    text = f"{place(node)}: {operator_name(node)} {reason}"
    return LiftError(f"{text}; {remedy}" if remedy else text)


def module_path(node: fx.Node) -> str:
    """Return the path of the submodule that a node comes from; empty for the module itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()), ("",))[0] if stack else ""
    return re.sub(r"@\d+$", "", str(path)).removeprefix("module.")


def place(node: fx.Node) -> str:
    """Return the module path and the source line of a node, as far as they are known."""
    path = module_path(node) or "the module"
    lines = list(_LINE.findall(node.meta.get("stack_trace") or ""))
    own = [(file, line) for file, line in lines if not any(part in file for part in _LIBRARY)]
    if not own:
        return path
    file, line = own[-1]
    return f"{path} ({file.rsplit('/', 1)[-1]}:{line})"
