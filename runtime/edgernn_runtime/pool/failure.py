"""What a pool raises when the output of some of its streams is not finite."""

from typing import TYPE_CHECKING

from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgernn_runtime.pool.pool_stream import PoolStream

    Result = tuple[PoolStream, int | NDArray[np.float32]]


class NotFiniteError(InputError):
    """The output of some streams is not finite, so nothing can be chosen; the pool has closed these, and no other.

    Attributes:
        streams: Those streams.
        results: What the same step of the pool chose for all the others, as `StreamPool.step` returns it.
    """

    def __init__(self, streams: "list[PoolStream]", results: "list[Result]") -> None:
        """Keep both."""
        super().__init__(
            f"the model's output is not finite in {len(streams)} of {len(streams) + len(results)} streams, "
            "which are closed now; the others went on, and the error's results have what they chose"
        )
        self.streams = tuple(streams)
        self.results = results
