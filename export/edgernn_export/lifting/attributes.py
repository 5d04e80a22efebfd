"""State in attributes: what a module writes into itself becomes an argument that it returns.

torch's exporter drops such state, most of it without a word. Here one call is made and every attribute that it
changed is found by identity and version; a wrapper then sets these attributes from arguments and returns them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgernn_export.lifting.example import Argument, Axis, Example
from edgernn_export.lifting.sources import ModuleSource
from edgernn_runtime.errors import LiftError, first_line
from edgernn_runtime.spec import Dtype

ATTRIBUTES: Final = "attributes"

_OWN: Final = frozenset(vars(nn.Module())) | {"training"}
_PLAIN: Final = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a submodule that a call changes.

    Attributes:
        path: Its path from the module, `encoder.h`.
        owner: The submodule.
        name: Its name there.
        value: What it holds before the first call: a tensor, or tensors in a tree, or None.
        tree: How what it holds after a call nests.
        axes: The axes of each tensor that it then holds, the batch named.
        dtypes: Their dtypes.
    """

    path: str
    owner: nn.Module
    name: str
    value: object
    tree: pytree.TreeSpec
    axes: tuple[tuple[Axis, ...], ...]
    dtypes: tuple[Dtype, ...]

    def write(self, value: object) -> None:
        """Set the attribute."""
        if self.name in self.owner._buffers:
            self.owner._buffers[self.name] = cast("Tensor", value)
        else:
            self.owner.__dict__[self.name] = value

    def read(self) -> object:
        """Return what the attribute holds."""
        return getattr(self.owner, self.name)

    def reset(self) -> None:
        """Set the attribute to what it held before the first call."""
        self.write(pytree.tree_map_only(Tensor, torch.clone, self.value))

    def leaves(self) -> list[str]:
        """Return the paths of the tensors that it holds."""
        paths = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(self.tree.num_leaves)), self.tree))[0]
        names = [".".join(str(getattr(key, "idx", getattr(key, "key", key))) for key in path) for path, _ in paths]
        return [f"{self.path}.{name}" if name else self.path for name in names]


class Functional(nn.Module):
    """A module whose changing attributes are arguments and results. Mutable, as the module is."""

    def __init__(self, module: nn.Module, attributes: tuple[Attribute, ...]) -> None:
        """Wrap a module."""
        super().__init__()
        self.module = module
        self._states = attributes

    def forward(self, attributes: dict[str, Tensor], **arguments: object) -> dict[str, object]:
        """Call the module with its attributes set; return its outputs, and the attributes after the call."""
        for state in self._states:
            tensors = [attributes[name].clone() for name in state.leaves()]
            state.write(pytree.tree_unflatten(tensors, state.tree))
        output = self.module(**arguments)
        after: dict[str, Tensor] = {}
        for state in self._states:
            after.update(zip(state.leaves(), pytree.tree_leaves(state.read()), strict=True))
            state.reset()
        return {"output": output, ATTRIBUTES: after}


@dataclass(frozen=True, slots=True)
class AttributeSource(ModuleSource):
    """A module that changes its attributes, called with whole sequences from its initial state."""

    attributes: tuple[Attribute, ...] = ()
    count: int = 0

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs; what follows the module's own arguments are states, which begin as it has them."""
        for attribute in self.attributes:
            attribute.reset()
        try:
            own = tensors[: len(tensors) - self.count] if self.count else tensors
            return ModuleSource.run(self, own)
        finally:
            for attribute in self.attributes:
                attribute.reset()


def find_attributes(
    module: nn.Module, example: Example, lengths: Sequence[int], batches: tuple[int, int]
) -> tuple[Attribute, ...]:
    """Return the attributes that a call changes.

    Args:
        module: The module.
        example: Its arguments.
        lengths: Numbers of frames, of which the first is used that the module takes.
        batches: Two batches; where they differ in an attribute, its batch lies.

    Raises:
        LiftError: If the module cannot be called, or changes an attribute that is no tensor.
    """
    before = dict(_attributes(module))
    kept = {key: pytree.tree_map_only(Tensor, torch.clone, value) for key, value in before.items()}
    runs = []
    for batch in batches:
        prints = {key: _print(value) for key, value in _attributes(module)}
        _call(module, example, batch, lengths)
        after = dict(_attributes(module))
        changed = {key for key, value in after.items() if prints.get(key) != _print(value)}
        runs.append({key: pytree.tree_map_only(Tensor, torch.clone, after[key]) for key in changed})
        modules = dict(module.named_modules())
        for path, name in changed:
            owner = modules[path]
            original = kept.get((path, name))
            if name in owner._buffers:
                owner._buffers[name] = cast("Tensor", pytree.tree_map_only(Tensor, torch.clone, original))
            else:
                owner.__dict__[name] = pytree.tree_map_only(Tensor, torch.clone, original)
    first, second = runs
    return tuple(_attribute(module, key, kept.get(key), first[key], second.get(key)) for key in sorted(first))


def with_attributes(example: Example, attributes: tuple[Attribute, ...]) -> Example:
    """Return the example of `Functional`: the module's own arguments, and then the attributes."""
    described = {
        name: Argument(f"{ATTRIBUTES}.{name}", dtype, axes)
        for attribute in attributes
        for name, dtype, axes in zip(attribute.leaves(), attribute.dtypes, attribute.axes, strict=True)
    }
    own = pytree.tree_unflatten(list(range(len(example.arguments))), example.tree)
    numbers = {name: len(example.arguments) + i for i, name in enumerate(described)}
    leaves, tree = pytree.tree_flatten({**own, ATTRIBUTES: numbers})
    pool = [*example.arguments, *described.values()]
    return Example(tuple(pool[i] for i in leaves), tree)


def _call(module: nn.Module, example: Example, batch: int, lengths: Sequence[int]) -> None:
    errors = []
    for frames in lengths if example.timed else lengths[:1]:
        try:
            with torch.no_grad():
                module.eval()(**example.call(example.random(batch, frames, seed=0)))
        except Exception as error:  # noqa: BLE001, the module's own code may raise anything
            errors.append(error)
        else:
            return
    lines = "; ".join(example.lines())
    name = type(module).__name__
    raise LiftError(f"{name} fails when it is called with {lines}: {first_line(errors[0])}") from errors[0]


def _attributes(module: nn.Module) -> Iterator[tuple[tuple[str, str], object]]:
    for path, owner in module.named_modules():
        for name, value in (*vars(owner).items(), *owner._buffers.items()):
            if name not in _OWN:
                yield (path, name), value


def _print(value: object) -> object:
    """Return what changes when a value does: identity and version of tensors, plain values themselves."""
    leaves = pytree.tree_leaves(value)
    return tuple(
        (id(leaf), leaf._version) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
        if isinstance(leaf, (Tensor, *_PLAIN))
    )


def _attribute(module: nn.Module, key: tuple[str, str], before: object, after: object, other: object) -> Attribute:
    path, name = key
    full = ".".join(part for part in key if part)
    leaves, tree = pytree.tree_flatten(after)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise LiftError(
            f"{full} changes with every call and is no tensor ({type(after).__name__}): a graph would freeze it; "
            "make it a tensor, registered as a buffer"
        )
    others = pytree.tree_leaves(other)
    axes = tuple(
        tuple("B" if a != b else a for a, b in zip(one.shape, two.shape, strict=True))
        for one, two in zip(leaves, others, strict=True)
    )
    dtypes = tuple(cast("Dtype", str(leaf.dtype).removeprefix("torch.")) for leaf in leaves)
    owner = dict(module.named_modules())[path]
    return Attribute(full, owner, name, before, tree, cast("tuple[tuple[Axis, ...], ...]", axes), dtypes)


def initial_of(attributes: tuple[Attribute, ...]) -> Mapping[str, Tensor | None]:
    """Return the initial value of each state by argument name; None where the attribute is None at first."""
    found: dict[str, Tensor | None] = {}
    for attribute in attributes:
        leaves = pytree.tree_leaves(attribute.value)
        for i, name in enumerate(attribute.leaves()):
            leaf = leaves[i] if i < len(leaves) else None
            found[f"{ATTRIBUTES}.{name}"] = leaf if isinstance(leaf, Tensor) else None
    return found
