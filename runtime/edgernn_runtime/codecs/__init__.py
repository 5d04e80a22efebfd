"""Codecs: how what a model takes and gives becomes text, pictures, series or labels.

A codec is immutable, and part of a model's Spec: it says what the model's numbers mean.
"""

from edgernn_runtime.codecs.image import ImageCodec as ImageCodec
from edgernn_runtime.codecs.labels import LabelCodec as LabelCodec
from edgernn_runtime.codecs.mel import MelCodec as MelCodec
from edgernn_runtime.codecs.series import SeriesCodec as SeriesCodec
from edgernn_runtime.codecs.symbols import SymbolCodec as SymbolCodec
from edgernn_runtime.codecs.text import UNKNOWN as UNKNOWN
from edgernn_runtime.codecs.text import ByteCodec as ByteCodec
from edgernn_runtime.codecs.text import CharacterCodec as CharacterCodec
from edgernn_runtime.codecs.text import TextCodec as TextCodec

Codec = CharacterCodec | ByteCodec | SymbolCodec | ImageCodec | SeriesCodec | LabelCodec | MelCodec
