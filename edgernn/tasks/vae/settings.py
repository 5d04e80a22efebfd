"""What a run of the vae task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import CellName, Setting, Settings


@dataclass(frozen=True, kw_only=True)
class VaeSettings(Settings):
    """What a VAE run is told."""

    data: Annotated[Path | None, Setting("A folder of pictures; without it, scikit-learn's handwritten digits.")] = None
    width: Annotated[int, Setting("Pixels in a row, that pictures are scaled to.", least=2, most=256)] = 8
    height: Annotated[int, Setting("Rows, that pictures are scaled to.", least=2, most=256)] = 8
    levels: Annotated[
        int, Setting("Greys that are told apart; more make the latent say more of a picture.", least=1, most=256)
    ] = 4
    latent: Annotated[int, Setting("Numbers in the latent.", least=1, most=4096)] = 12
    latent_at: Annotated[
        Literal["begin", "every"], Setting("The decoder takes the latent as its initial state, or at every step too.")
    ] = "every"
    kl_warmup: Annotated[
        float, Setting("Share of the budget in which the divergence comes to count fully.", least=0, most=1)
    ] = 0.2
    free_bits: Annotated[
        float, Setting("Nats of divergence that each number of the latent has for nothing.", least=0)
    ] = 0.02
    cell: CellName = "gru"
    hidden: int = 192
    layers: int = 1
    dropout: float = 0.0
    batch: int = 64
    learning_rate: float = 2e-3
