"""Windows: pieces of the training part, at random offsets, each batch a pure function of the step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgernn.tasks.series.frames import Frames
from edgernn.tasks.share import Share


@dataclass(frozen=True, slots=True)
class Window:
    """A batch of pieces of a series.

    Attributes:
        inputs: float32 `[time, batch, columns]`.
        targets: The values that follow, float32 `[time, batch, columns]`, NaN where one does not count.
        known_steps: How many steps have a target, which the loss is the mean over.
    """

    inputs: Tensor
    targets: Tensor
    known_steps: float

    def part(self, share: Share) -> "Window":
        """Return one process's pieces; they count as many steps each as there are in the mean over the processes."""
        inputs, targets = share.of(self.inputs, 1), share.of(self.targets, 1)
        return Window(inputs, targets, self.known_steps / share.ranks)


class Windows:
    """The windows of a run. Their first `warm` steps only fill the state, and have no targets."""

    def __init__(self, frames: Frames, *, batch: int, length: int, warm: int, hidden: float, seed: int) -> None:
        """Cut windows of `warm + length` steps, or of all there are if they are fewer.

        Args:
            frames: The training part.
            batch: Windows of a step.
            length: Steps with targets.
            warm: Steps before them.
            hidden: The share of the inputs that are replaced by NaN, others in every window.
            seed: Seed of the offsets and of what is hidden.
        """
        self._inputs = torch.from_numpy(frames.inputs)
        self._targets = torch.from_numpy(frames.targets)
        self._size = min(warm + length, len(frames))
        self._batch, self._warm, self._hidden, self._seed = batch, warm, hidden, seed

    def at(self, step: int) -> Window:
        """Return what step `step` of the run trains on."""
        last = len(self._inputs) - self._size
        rng = np.random.default_rng([self._seed, step])
        offsets = rng.integers(last + 1, size=self._batch)
        positions = torch.from_numpy(offsets) + torch.arange(self._size)[:, None]  # [time, batch]
        targets = self._targets[positions]
        targets[: self._warm] = torch.nan
        inputs = self._inputs[positions]
        if self._hidden:
            inputs[torch.from_numpy(rng.random(inputs.shape) < self._hidden)] = torch.nan
        return Window(inputs, targets, float(known_steps(targets)))


def known_steps(targets: Tensor) -> Tensor:
    """Return how many steps have a target in some column, at least 1, for targets `[..., columns]`."""
    return (~targets.isnan()).any(-1).sum().clamp(min=1)
