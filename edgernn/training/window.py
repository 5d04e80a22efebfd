"""Window: losses and gradient norms since the last validation."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class Window:
    """Losses and gradient norms since the last validation. Mutable.

    Attributes:
        losses: The loss of each step, in nats per token.
        norms: The gradient norm of each step, before clipping.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def add(self, loss: float, norm: float) -> None:
        """Take in one step."""
        self.losses.append(loss)
        self.norms.append(norm)

    def summary(self, clip_norm: float) -> dict[str, float]:
        """Return the mean loss, the spread of the gradient norms, and how often clipping acted.

        Norms that stay far above `clip_norm` show exploding gradients, norms near zero vanishing ones.
        """
        norms = np.array(self.norms)
        return {
            "train_loss": float(np.mean(self.losses)),
            "grad_norm_min": float(norms.min()),
            "grad_norm_median": float(np.median(norms)),
            "grad_norm_max": float(norms.max()),
            "clipped_share": float(np.mean(norms > clip_norm)),
        }
