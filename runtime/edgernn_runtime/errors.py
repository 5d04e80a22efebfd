"""Every error that edgernn raises on purpose, in one tree.

```
EdgeRNNError
|-- ModelFileError (OSError)           a model file cannot be read, or is no ONNX model
|   `-- SpecError (ValueError)         its Spec is missing, newer than this code, or not its graph's
|-- InputError (ValueError)            a token, frame, prompt or setting that a model cannot take
|   `-- NotFiniteError                 the output of some streams of a pool is not finite (edgernn_runtime.pool)
|-- StateError (ValueError)            a state of another model, shape or dtype
|-- ProviderError (RuntimeError)       an execution provider is unknown, missing or only partly used
|-- EngineError (RuntimeError)         the engine failed in a step, or cannot run here
|-- StreamError (RuntimeError)         a stream that is closed, or that another thread is stepping
|   `-- PoolFullError                  a pool that takes no more streams
|-- OutputError (OSError)              a result could not be written
|   `-- OutputExistsError (FileExistsError)   the target exists and may not be replaced
|-- DataError (ValueError)             training or validation data that cannot be used
|-- RunError (OSError)                 a run folder is missing, broken or of another kind
|-- TrainingError (RuntimeError)       training cannot go on: NaN or infinite, or another process is lost
|-- ExportError (RuntimeError)         a module cannot become a step model
|   `-- ParityError                    the step model does not compute what its source computes
|-- CompileError (RuntimeError)        C code was not compiled: no compiler for the target, or it failed
|-- QuantizationError (RuntimeError)   nothing was quantized, or the model cannot be
|-- MissingExtraError (ImportError)    an optional part of edgernn is not installed
`-- GateError                          it ran, and a limit that the caller set was exceeded
```

Each is also the built-in error that a caller would expect, so `except OSError` around a load works
without knowing this module.
"""


class EdgeRNNError(Exception):
    """The base of every error raised on purpose."""


class ModelFileError(EdgeRNNError, OSError):
    """A model file cannot be read, or is no ONNX model."""


class SpecError(ModelFileError, ValueError):
    """A Spec is missing, malformed, newer than this code, or disagrees with its graph."""


class InputError(EdgeRNNError, ValueError):
    """A token, frame, prompt or setting that the model cannot take."""


class StateError(EdgeRNNError, ValueError):
    """A state that belongs to another model, or has another shape or dtype."""


class ProviderError(EdgeRNNError, RuntimeError):
    """An execution provider is unknown, missing, or did not take every node it was asked to."""


class EngineError(EdgeRNNError, RuntimeError):
    """The engine failed while it computed a step, or cannot run on this machine."""


class StreamError(EdgeRNNError, RuntimeError):
    """A stream that is closed, or that another thread is stepping."""


class PoolFullError(StreamError):
    """A pool that takes no more streams."""


class OutputError(EdgeRNNError, OSError):
    """A result could not be written: the disk is full, read-only, or the folder is missing."""


class OutputExistsError(OutputError, FileExistsError):
    """The target exists and the caller did not allow replacing it."""


class DataError(EdgeRNNError, ValueError):
    """Training or validation data that cannot be used."""


class RunError(EdgeRNNError, OSError):
    """A run folder is missing, broken, or does not fit what was asked of it."""


class TrainingError(EdgeRNNError, RuntimeError):
    """Training cannot go on: a loss or a gradient is NaN or infinite, or another process is lost."""


class ExportError(EdgeRNNError, RuntimeError):
    """A module cannot become a step model."""


class LiftError(ExportError):
    """A module over sequences has no step form, or none that could be found."""


class ParityError(ExportError):
    """A step model does not compute what its source computes."""


class CompileError(EdgeRNNError, RuntimeError):
    """C code could not be compiled: no compiler for the target was found, or the one that was failed."""


class QuantizationError(EdgeRNNError, RuntimeError):
    """Nothing was quantized, or the model cannot be quantized."""


class MissingExtraError(EdgeRNNError, ImportError):
    """An optional part of edgernn is needed and not installed."""


class GateError(EdgeRNNError):
    """A limit that the caller set was exceeded."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something, else the name of its type.

    >>> first_line(ValueError())
    'ValueError'
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException) -> str:
    r"""Return the last line of an error's message that says something, else the name of its type.

    >>> last_line(ValueError("several things:\n  this one"))
    'this one'
    """
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
