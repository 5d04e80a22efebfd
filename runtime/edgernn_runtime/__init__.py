"""edgernn's runtime: load a step model, keep its state, stream tokens or frames.

It needs numpy and onnxruntime, and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from edgernn_runtime.codecs import ByteCodec as ByteCodec
from edgernn_runtime.codecs import CharacterCodec as CharacterCodec
from edgernn_runtime.codecs import Codec as Codec
from edgernn_runtime.codecs import ImageCodec as ImageCodec
from edgernn_runtime.codecs import LabelCodec as LabelCodec
from edgernn_runtime.codecs import SeriesCodec as SeriesCodec
from edgernn_runtime.codecs import SymbolCodec as SymbolCodec
from edgernn_runtime.codecs import TextCodec as TextCodec
from edgernn_runtime.engine import Engine as Engine
from edgernn_runtime.engine import Executor as Executor
from edgernn_runtime.engine import Placement as Placement
from edgernn_runtime.engines.opening import EngineName as EngineName
from edgernn_runtime.errors import EdgeRNNError as EdgeRNNError
from edgernn_runtime.model import Model as Model
from edgernn_runtime.model import load as load
from edgernn_runtime.noise import uniforms as uniforms
from edgernn_runtime.sampling import GREEDY as GREEDY
from edgernn_runtime.sampling import Sampler as Sampler
from edgernn_runtime.spec import Spec as Spec
from edgernn_runtime.state import State as State
from edgernn_runtime.stream import Stream as Stream

if TYPE_CHECKING:
    from edgernn_runtime.beam import BeamSearch as BeamSearch
    from edgernn_runtime.beam import Hypothesis as Hypothesis
    from edgernn_runtime.beam import beam_search as beam_search
    from edgernn_runtime.bundle import Bundle as Bundle
    from edgernn_runtime.bundle import load_bundle as load_bundle
    from edgernn_runtime.bundle_spec import BundleSpec as BundleSpec
    from edgernn_runtime.bundle_spec import Link as Link
    from edgernn_runtime.bundle_spec import Stage as Stage
    from edgernn_runtime.pool import AsyncPool as AsyncPool
    from edgernn_runtime.pool import AsyncStream as AsyncStream
    from edgernn_runtime.pool import AsyncText as AsyncText
    from edgernn_runtime.pool import Listener as Listener
    from edgernn_runtime.pool import NotFiniteError as NotFiniteError
    from edgernn_runtime.pool import PoolStream as PoolStream
    from edgernn_runtime.pool import StreamPool as StreamPool
    from edgernn_runtime.transducer import Transducer as Transducer
    from edgernn_runtime.transducer import Transduction as Transduction

__version__ = "0.1.0"

_LATER: Final = {
    "AsyncPool": "pool",
    "AsyncStream": "pool",
    "AsyncText": "pool",
    "BeamSearch": "beam",
    "Bundle": "bundle",
    "BundleSpec": "bundle_spec",
    "Hypothesis": "beam",
    "Link": "bundle_spec",
    "Listener": "pool",
    "NotFiniteError": "pool",
    "PoolStream": "pool",
    "Stage": "bundle_spec",
    "StreamPool": "pool",
    "Transducer": "transducer",
    "Transduction": "transducer",
    "beam_search": "beam",
    "load_bundle": "bundle",
}
"""What a single stream needs nothing of, by the module that has it: its import would cost a cold start 25 ms."""


def __getattr__(name: str) -> object:
    """Return a public name whose module is imported when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all names, those that come later included."""
    return sorted([*globals(), *_LATER])
