"""edgernn's translator: a recurrent module in, a self-describing streaming step model out.

The names load on first use: `export` needs torch, and reading, comparing or quantizing a model file does
not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edgernn_export.bundle_exporter import StagedModules as StagedModules
    from edgernn_export.bundle_exporter import export_bundle as export_bundle
    from edgernn_export.drift.report import VerifyReport as VerifyReport
    from edgernn_export.exporter import ExportReport as ExportReport
    from edgernn_export.exporter import export as export
    from edgernn_export.lifting.files import lift_onnx as lift_onnx
    from edgernn_export.lifting.files import lift_program as lift_program
    from edgernn_export.lifting.files import onnx_module as onnx_module
    from edgernn_export.lifting.lifted_step import LiftedStep as LiftedStep
    from edgernn_export.lifting.lifter import LiftOptions as LiftOptions
    from edgernn_export.lifting.lifter import lift as lift
    from edgernn_export.quantization.quantizer import QuantizeReport as QuantizeReport
    from edgernn_export.quantization.quantizer import quantize as quantize
    from edgernn_export.recording import Recording as Recording
    from edgernn_export.step import StepModule as StepModule
    from edgernn_export.torch_engine import TorchEngine as TorchEngine
    from edgernn_export.tuning.report import TuneReport as TuneReport
    from edgernn_export.tuning.tuner import tune as tune
    from edgernn_export.verification import verify as verify

_HOMES: Final = {
    "ExportReport": "exporter",
    "LiftOptions": "lifting.lifter",
    "LiftedStep": "lifting.lifted_step",
    "QuantizeReport": "quantization.quantizer",
    "Recording": "recording",
    "StagedModules": "bundle_exporter",
    "StepModule": "step",
    "TorchEngine": "torch_engine",
    "TuneReport": "tuning.report",
    "VerifyReport": "drift.report",
    "export": "exporter",
    "export_bundle": "bundle_exporter",
    "lift": "lifting.lifter",
    "lift_onnx": "lifting.files",
    "lift_program": "lifting.files",
    "onnx_module": "lifting.files",
    "quantize": "quantization.quantizer",
    "tune": "tuning.tuner",
    "verify": "verification",
}


def __getattr__(name: str) -> object:
    """Return a public name from the file that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
