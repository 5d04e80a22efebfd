"""Compiling: a step model becomes C99 that needs no runtime on the device."""

from edgernn_export.compile.c_compiler import find_compiler as find_compiler
from edgernn_export.compile.compiler import Compiled as Compiled
from edgernn_export.compile.compiler import compile_model as compile_model
from edgernn_export.compile.targets import TARGETS as TARGETS
from edgernn_export.compile.targets import Target as Target
from edgernn_export.compile.targets import find_target as find_target
from edgernn_export.compile.toolchain import Built as Built
from edgernn_export.compile.toolchain import build_library as build_library
from edgernn_export.compile.toolchain import build_object as build_object
