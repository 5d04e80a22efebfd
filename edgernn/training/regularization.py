"""Penalties on weights, and the groups that decay."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def weight_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are regularized: matrices, not biases."""
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


def penalty(weights: Iterable[Tensor], *, l1: float, l2: float) -> Tensor:
    """Return `l1 * sum |w| + l2 * sum w^2` over all weights, a scalar."""
    total = torch.zeros(())
    for weight in weights:
        if l1:
            total = total + l1 * weight.abs().sum()
        if l2:
            total = total + l2 * weight.square().sum()
    return total


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameter groups of AdamW: matrices decay, biases do not."""
    matrices = weight_matrices(model)
    chosen = {id(parameter) for parameter in matrices}
    biases = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
