"""The codec of speech: frames of a mel spectrogram with pitch, and how they are taken from sound."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import SpecError

PITCH_FEATURES: Final = 2
"""Numbers of a frame behind its bands: the logarithm of the pitch, and whether there is one."""

FLOOR: Final = 1e-5
"""The smallest magnitude of a band that is told from silence."""


@dataclass(frozen=True, slots=True)
class MelCodec:
    """Frames of speech: natural logarithms of the magnitudes of mel bands, the pitch, and whether there is one.

    Attributes:
        rate_hz: Samples a second.
        hop: Samples from one frame to the next.
        window: Samples that a frame is taken from, in the middle of which its hop lies.
        bands: Mel bands, from 0 Hz to half the rate.

    Raises:
        SpecError: If one of them is not positive, or the window is smaller than the hop.
    """

    rate_hz: int = 16_000
    hop: int = 200
    window: int = 1_024
    bands: int = 80
    kind: ClassVar[str] = "mel"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.rate_hz, self.hop, self.bands) < 1 or self.window < self.hop:
            raise SpecError(
                f"codec must have positive rate_hz, hop and bands, and a window of a hop at least, got {self}"
            )

    @property
    def size(self) -> int:
        """Numbers in a frame."""
        return self.bands + PITCH_FEATURES

    def filters(self) -> NDArray[np.float32]:
        """Return the weight of each frequency in each band, float32 `[bands, window // 2 + 1]`.

        Triangles of equal area on the scale of Slaney (1998), as `librosa.filters.mel` makes them.
        """
        bins = np.linspace(0, self.rate_hz / 2, self.window // 2 + 1)
        edges = _to_hz(np.linspace(0, _to_mel(np.array(self.rate_hz / 2)), self.bands + 2))
        rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
        fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
        area = 2 / (edges[2:] - edges[:-2])
        filters: NDArray[np.float32] = (np.maximum(0, np.minimum(rise, fall)) * area[:, None]).astype(np.float32)
        return filters


def _to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(hz < 1_000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1_000) / np.log(6.4))


def _to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1_000 * np.exp((mel - 15) * np.log(6.4) / 27))
