"""edgernn's runtime: load a step model, keep its state, stream tokens or frames.

It needs numpy and onnxruntime, and nothing else.
"""

from edgernn_runtime.bundle import Bundle as Bundle
from edgernn_runtime.bundle import load_bundle as load_bundle
from edgernn_runtime.bundle_spec import BundleSpec as BundleSpec
from edgernn_runtime.bundle_spec import Link as Link
from edgernn_runtime.bundle_spec import Stage as Stage
from edgernn_runtime.codecs import ByteCodec as ByteCodec
from edgernn_runtime.codecs import CharacterCodec as CharacterCodec
from edgernn_runtime.codecs import Codec as Codec
from edgernn_runtime.codecs import ImageCodec as ImageCodec
from edgernn_runtime.codecs import LabelCodec as LabelCodec
from edgernn_runtime.codecs import SeriesCodec as SeriesCodec
from edgernn_runtime.codecs import TextCodec as TextCodec
from edgernn_runtime.engine import Engine as Engine
from edgernn_runtime.engine import Executor as Executor
from edgernn_runtime.engine import Placement as Placement
from edgernn_runtime.errors import EdgeRNNError as EdgeRNNError
from edgernn_runtime.model import Model as Model
from edgernn_runtime.model import load as load
from edgernn_runtime.noise import uniforms as uniforms
from edgernn_runtime.pool import AsyncPool as AsyncPool
from edgernn_runtime.pool import AsyncStream as AsyncStream
from edgernn_runtime.pool import AsyncText as AsyncText
from edgernn_runtime.pool import Listener as Listener
from edgernn_runtime.pool import NotFiniteError as NotFiniteError
from edgernn_runtime.pool import PoolStream as PoolStream
from edgernn_runtime.pool import StreamPool as StreamPool
from edgernn_runtime.sampling import GREEDY as GREEDY
from edgernn_runtime.sampling import Sampler as Sampler
from edgernn_runtime.spec import Spec as Spec
from edgernn_runtime.state import State as State
from edgernn_runtime.stream import Stream as Stream

__version__ = "0.1.0"
